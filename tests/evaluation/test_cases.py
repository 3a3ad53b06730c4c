"""The cases of an evaluation: those of the model's own split, and of no other."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.ct.development import find_development_cases
from kidneyseg.errors import DataError
from kidneyseg.evaluation.cases import (
    SplitPart,
    check_same_split,
    find_evaluation_cases,
    used_as,
)
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import ModelDescription, Refit, Validation
from kidneyseg.provenance import Provenance
from kidneyseg.settings import MACHINE_PATHS, CommonSettings, Environment


@pytest.fixture
def environment(environment_in: Callable[[Path], Environment], tmp_path: Path) -> Environment:
    return environment_in(tmp_path / "runs")


@pytest.fixture
def description(environment: Environment) -> ModelDescription:
    """A model of the tiny data's split."""
    split = find_development_cases(environment).split
    return ModelDescription(
        format=1,
        network=environment.network,
        preprocessing=environment.data.model_copy(update=dict.fromkeys(MACHINE_PATHS)),
        threshold=0.5,
        hyperparameters=Hyperparameters(),
        validation=Validation(epoch=1, dice=0.5, dice_of_case={}, loss=1.0, small_batch_size=4),
        provenance=Provenance(
            data=split.data,
            split=split.fingerprint,
            code="",
            versions={},
            seed=0,
            device="cpu",
            host="",
        ),
        weights_sha256="w" * 64,
    )


def names(description: ModelDescription, environment: Environment, part: SplitPart) -> list[str]:
    found = find_evaluation_cases(description, environment, part)
    return [each.case.name for each in found.cases]


def test_each_part_has_its_cases(description: ModelDescription, environment: Environment) -> None:
    split = find_development_cases(environment).split
    assert names(description, environment, SplitPart.TRAINING) == list(split.training)
    assert names(description, environment, SplitPart.VALIDATION) == list(split.validation)
    assert names(description, environment, SplitPart.TEST) == list(split.test)
    everything = names(description, environment, SplitPart.ALL)
    assert everything == [*split.training, *split.validation, *split.test]


def test_a_case_has_its_groups(description: ModelDescription, environment: Environment) -> None:
    (case,) = find_evaluation_cases(description, environment, SplitPart.VALIDATION).cases
    assert case.groups == {"slice thickness": "2 to 4 mm", "tumour": "below 10 ml"}


def test_the_models_own_settings_part_the_cases(
    description: ModelDescription, environment: Environment
) -> None:
    data = environment.data.model_copy(update={"split_seed": 9, "test_fraction": 0.5})
    other = environment.model_copy(update={"data": data})
    expected = names(description, environment, SplitPart.TEST)
    assert names(description, other, SplitPart.TEST) == expected


def test_a_test_set_of_no_case_is_refused_before_a_look(
    description: ModelDescription, environment: Environment, tmp_path: Path
) -> None:
    path = tmp_path / "splits_final.json"
    everyone = [f"case_{number:05d}" for number in range(5)]
    path.write_text(json.dumps([{"train": everyone[1:], "val": everyone[:1]}]), encoding="utf-8")
    data = environment.data.model_copy(update={"splits_file": path})
    common = CommonSettings(runs=tmp_path / "elsewhere")
    elsewhere = environment.model_copy(update={"data": data, "common": common})
    split = find_development_cases(elsewhere).split
    assert split.test == ()
    same = description.provenance.model_copy(update={"split": split.fingerprint})
    model = description.model_copy(update={"provenance": same})
    assert names(model, elsewhere, SplitPart.VALIDATION) == everyone[:1]
    with pytest.raises(DataError, match=r"--split test: data\.splits_file names all cases"):
        names(model, elsewhere, SplitPart.TEST)


@pytest.mark.parametrize(
    ("changes", "what"),
    [({"split_seed": 9}, "its split is not"), ({"exclude": ("case_00001",)}, "its data is not")],
)
def test_another_split_is_refused_and_not_written_down(
    description: ModelDescription, environment: Environment, changes: dict[str, object], what: str
) -> None:
    preprocessing = description.preprocessing.model_copy(update=changes)
    changed = description.model_copy(update={"preprocessing": preprocessing})
    before = sorted(environment.common.runs.glob("splits/*"))
    with pytest.raises(DataError, match=f"{what} the model's"):
        find_evaluation_cases(changed, environment, SplitPart.TEST)
    assert sorted(environment.common.runs.glob("splits/*")) == before


def test_a_refitted_model_is_not_validated_on_what_it_was_trained_on(
    description: ModelDescription, environment: Environment
) -> None:
    refitted = description.model_copy(update={"refit": Refit(study="s", n_seeds=2)})
    with pytest.raises(DataError, match="--model was trained on these cases, too"):
        find_evaluation_cases(refitted, environment, SplitPart.VALIDATION)
    with pytest.raises(DataError, match="--compare was trained on these cases, too"):
        find_evaluation_cases(description, environment, SplitPart.VALIDATION, refitted)
    found = find_evaluation_cases(description, environment, SplitPart.ALL, refitted)
    uses = [(used_as(case, description), used_as(case, refitted)) for case in found.cases]
    split = found.split
    assert uses == [
        *[(SplitPart.TRAINING, SplitPart.TRAINING)] * len(split.training),
        *[(SplitPart.VALIDATION, SplitPart.TRAINING)] * len(split.validation),
        *[(SplitPart.TEST, SplitPart.TEST)] * len(split.test),
    ]


@pytest.mark.parametrize("what", ["data", "split"])
def test_models_of_other_splits_are_not_compared(description: ModelDescription, what: str) -> None:
    check_same_split(description, description)
    provenance = description.provenance.model_copy(update={what: "0" * 64})
    other = description.model_copy(update={"provenance": provenance})
    with pytest.raises(DataError, match=f"have not the same {what}"):
        check_same_split(description, other)
