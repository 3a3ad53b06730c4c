"""The cases that a model is evaluated on: those of its own split, found again in a data folder."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case, list_cases
from kidneyseg.ct.development import split_selected
from kidneyseg.ct.label_sizes import SLICE_CLASSES_MM, TUMOR_CLASSES_ML, LabelSizeMemory
from kidneyseg.ct.selection import SelectedCases, select_cases
from kidneyseg.ct.split_records import NO_TEST, record_split
from kidneyseg.ct.splits import Split
from kidneyseg.errors import DataError
from kidneyseg.evaluation.statistics import class_of
from kidneyseg.model.description import ModelDescription
from kidneyseg.runs import Runs, make_folder
from kidneyseg.settings import MACHINE_PATHS, DataSettings, Environment


class SplitPart(StrEnum):
    """A part of a split, or all of it."""

    TRAINING = "training"
    VALIDATION = "validation"
    TEST = "test"
    ALL = "all"

    @property
    def holds_test(self) -> bool:
        """Whether evaluating it is a look at the test set."""
        return self in (SplitPart.TEST, SplitPart.ALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluatedCase:
    """A case and what groups it with others."""

    case: Case
    use: SplitPart  # training, validation or test
    slice_mm: float
    tumor_ml: float

    @property
    def groups(self) -> dict[str, str]:
        """The class of its slice thickness and of its tumours' volume."""
        return {
            "slice thickness": class_of(self.slice_mm, SLICE_CLASSES_MM, "mm"),
            "tumour": class_of(self.tumor_ml, TUMOR_CLASSES_ML, "ml"),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationCases:
    """Cases of a model's own split; nothing of their scans is read yet."""

    part: SplitPart
    split: Split
    settings: DataSettings
    cases: tuple[EvaluatedCase, ...]


def find_evaluation_cases(
    description: ModelDescription, environment: Environment, part: SplitPart
) -> EvaluationCases:
    """Find the cases of a model's split in the environment's data folder.

    The folder is selected from and split again as the model's own settings say. Raises DataError
    where that does not give the model's data and split to the letter: another folder's cases might
    have been trained on.
    """
    if description.refit is not None and part == SplitPart.VALIDATION:
        raise DataError(
            "--split validation: the model was trained on these cases, too; expected test"
        )
    machine = environment.data.model_dump(include=MACHINE_PATHS)
    settings = description.preprocessing.model_copy(update=machine)
    if settings.folder is None:
        raise DataError("no data folder: give --data, or data.folder in the environment")
    runs = Runs(environment.common.runs)
    make_folder(runs.folder, "common.runs")
    make_folder(runs.cache(environment), "data.cache")
    cache = SliceCache(runs.cache(environment), settings)
    selected = select_cases(list_cases(settings.folder), cache)
    split = split_selected(selected, settings)
    _check_same(description, split, settings)
    if part == SplitPart.TEST and not split.test:
        raise DataError(f"--split test: {NO_TEST}; expected training or validation")
    record_split(split, runs)
    return EvaluationCases(
        part=part,
        split=split,
        settings=settings,
        cases=tuple(_evaluated(part, split, selected, cache)),
    )


def check_same_split(first: ModelDescription, second: ModelDescription) -> None:
    """Refuse to compare models of different splits or truths. Raises DataError."""
    for what, one, other in (
        ("data", first.provenance.data, second.provenance.data),
        ("split", first.provenance.split, second.provenance.split),
        ("kidney_labels", first.preprocessing.kidney_labels, second.preprocessing.kidney_labels),
    ):
        if one != other:
            raise DataError(
                f"--compare: the two models have not the same {what}; expected models trained on "
                "one data folder with one split: else one may know the other's test cases"
            )


def _check_same(description: ModelDescription, split: Split, settings: DataSettings) -> None:
    """Compare fingerprints of data and split with the model's."""
    provenance = description.provenance
    for what, own, found in (
        ("data", provenance.data, split.data),
        ("split", provenance.split, split.fingerprint),
    ):
        if own != found:
            raise DataError(
                f"{settings.folder}: its {what} is not the model's (fingerprint {found[:16]}, "
                f"expected {own[:16]}); name the folder that the model was trained on, unchanged"
                f"{_hint(what)}"
            )


def _hint(what: str) -> str:
    return " (and data.splits_file, if it had one)" if what == "split" else ""


def _evaluated(
    part: SplitPart, split: Split, selected: SelectedCases, cache: SliceCache
) -> Sequence[EvaluatedCase]:
    """The wanted cases, in the order of the split's names."""
    uses = {
        SplitPart.TRAINING: split.training,
        SplitPart.VALIDATION: split.validation,
        SplitPart.TEST: split.test,
    }
    names = {
        name: use for use, some in uses.items() if part in (use, SplitPart.ALL) for name in some
    }
    wanted = [selected.cases[name] for name in names]
    sizes = LabelSizeMemory(cache.folder / "label_sizes").of_cases(wanted)
    return [
        EvaluatedCase(
            case=case.case,
            use=names[case.case.name],
            slice_mm=sizes[case.case.name].slice_mm,
            tumor_ml=sizes[case.case.name].tumor_ml(cache.settings),
        )
        for case in wanted
    ]
