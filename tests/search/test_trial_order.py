"""What passes between a worker and its training process comes back from JSON as it was."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.errors import PreparationError, last_lines
from kidneyseg.search.objective import Workplace
from kidneyseg.search.storage import Storage
from kidneyseg.search.trial_order import (
    AnyMessage,
    CaseFolder,
    EpochReport,
    Failed,
    Message,
    Resumed,
    TrialOrder,
)
from kidneyseg.training.setup import TrainingSetup

REPORT = EpochReport(
    epoch=2,
    is_last=True,
    dice=0.1 + 0.2,
    best_dice=1 / 3,
    training_losses=(math.pi, 1e-300, 5e-324),
    validation_losses=(1e300, 0.0, -0.0),
    learning_rate=1e-4,
    seconds=1.5,
    memory_bytes=2**40,
    skipped_steps=1,
    small_batch_size=4,
    evaluation_batch_size=16,
)


@pytest.mark.parametrize(
    "message",
    [
        Resumed(history=()),
        Resumed(history=(0.1 + 0.2, 1 / 3)),
        REPORT,
        Failed(reason="no", traceback='File "a.py"\n\u00e4\n'),
    ],
    ids=lambda message: message.kind,
)
def test_a_message_comes_back_from_its_json_to_the_last_bit(message: Message) -> None:
    found = AnyMessage.model_validate_json(message.model_dump_json()).root
    assert type(found) is type(message)
    assert repr(found) == repr(message)


@pytest.mark.parametrize("line", ["", "{}", '{"kind": "done"}', '{"kind": "epoch"}', "go on"])
def test_anything_else_is_no_message(line: str) -> None:
    with pytest.raises(ValidationError):
        AnyMessage.model_validate_json(line)


@pytest.fixture
def workplace(storage: Storage, build_workplace: Callable[..., Workplace]) -> Workplace:
    return build_workplace(storage)


def test_an_order_comes_back_from_its_json_and_gives_the_same_setup(
    workplace: Workplace, build_order: Callable[..., TrialOrder]
) -> None:
    order = build_order(workplace, workplace.study.optuna.ask())
    found = TrialOrder.model_validate_json(order.model_dump_json())
    assert found == order
    assert found.setup.fingerprint == order.setup.fingerprint


def test_its_setup_is_what_the_study_and_the_draw_say(
    workplace: Workplace, build_order: Callable[..., TrialOrder]
) -> None:
    order = build_order(workplace, workplace.study.optuna.ask())
    definition = workplace.study.definition
    assert order.setup == TrainingSetup(
        data=definition.data_settings(),
        network=definition.settings.network,
        training=definition.settings.training,
        evaluation=definition.settings.evaluation,
        hyperparameters=order.hyperparameters,
        seed=definition.seed,
        cases=definition.cases,
    )
    assert (order.hyperparameters.learning_rate, order.hyperparameters.beta) == (0.01, 0.5)
    assert order.hyperparameters.batch_size == 8  # fixed in the study


def test_it_names_the_cases_of_its_split_and_no_test_case(
    workplace: Workplace, build_order: Callable[..., TrialOrder]
) -> None:
    order = build_order(workplace, workplace.study.optuna.ask())
    split = workplace.cases.split
    assert tuple(case.name for case in order.training_cases) == split.training
    assert tuple(case.name for case in order.validation_cases) == split.validation
    assert not [name for name in split.test if name in order.model_dump_json()]


def test_a_case_is_opened_as_it_was_prepared(tiny_cases: DevelopmentCases) -> None:
    for case in tiny_cases.prepare():
        assert CaseFolder(name=case.name, folder=case.folder).open() == case


@pytest.mark.parametrize(
    ("manifest", "error"), [(None, FileNotFoundError), ('{"case": "Adam"}', PreparationError)]
)
def test_a_case_that_is_no_longer_whole_is_refused(
    tmp_path: Path, manifest: Any, error: type[Exception]
) -> None:
    if manifest is not None:
        (tmp_path / "manifest.json").write_text(manifest, encoding="utf-8")
    with pytest.raises(error) as caught:
        CaseFolder(name="a", folder=tmp_path).open()
    assert "Adam" not in last_lines(caught.value)  # nor a part of a name, which no one could find
