"""The cases that a model is evaluated on: those of its own split, found again in a data folder."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case, list_cases
from kidneyseg.ct.development import split_selected
from kidneyseg.ct.label_sizes import SLICE_CLASSES_MM, TUMOR_CLASSES_ML, LabelSizeMemory
from kidneyseg.ct.selection import SelectedCases, select_cases
from kidneyseg.ct.shown_names import ShownNames, adopt_pseudonyms, find_shown_names
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

    case: Case  # under the name that is shown
    use: SplitPart  # training, validation or test: the split's; a model's own by `used_as`
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
    description: ModelDescription,
    environment: Environment,
    part: SplitPart,
    compared: ModelDescription | None = None,
) -> EvaluationCases:
    """Find the cases of a model's split in the environment's data folder.

    The folder is selected from and split again as the model's own settings say. Raises DataError
    where that does not give the model's data and split to the letter: another folder's cases might
    have been trained on; and for validation cases on which this model, or the one that it is
    compared with, was trained. Cases have pseudonyms where the environment or the model says so;
    raises SettingsError without the key of the model's.
    """
    if compared is not None:
        check_same_split(description, compared)
    for option, model in (("--model", description), ("--compare", compared)):
        if model is not None and model.refit is not None and part == SplitPart.VALIDATION:
            raise DataError(
                f"--split validation: {option} was trained on these cases, too; expected test"
            )
    environment = adopt_pseudonyms(environment, description.provenance.pseudonyms, "the model")
    machine = environment.data.model_dump(include=MACHINE_PATHS)
    settings = description.preprocessing.model_copy(update=machine)
    if settings.folder is None:
        raise DataError("no data folder: give --data, or data.folder in the environment")
    runs = Runs(environment.common.runs)
    make_folder(runs.folder, "common.runs")
    make_folder(runs.cache(environment), "data.cache")
    labelled = list_cases(settings.folder)
    names = find_shown_names(labelled, environment)
    cache = SliceCache(runs.cache(environment), names.own(settings))
    selected = select_cases(labelled, cache)
    split = split_selected(selected, settings)
    _check_same(description, split, settings)
    if part == SplitPart.TEST and not split.test:
        raise DataError(f"--split test: {NO_TEST}; expected training or validation")
    record_split(split, runs)
    return EvaluationCases(
        part=part,
        split=split,
        settings=settings,
        cases=tuple(_evaluated(part, split, selected, cache, names)),
    )


def used_as(case: EvaluatedCase, description: ModelDescription) -> SplitPart:
    """What a model used a case for: one that was refitted was trained on validation cases, too."""
    if description.refit is not None and case.use == SplitPart.VALIDATION:
        return SplitPart.TRAINING
    return case.use


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
    part: SplitPart,
    split: Split,
    selected: SelectedCases,
    cache: SliceCache,
    shown: ShownNames,
) -> Sequence[EvaluatedCase]:
    """The wanted cases by use, in the order of the names that are shown."""
    uses = {
        SplitPart.TRAINING: split.training,
        SplitPart.VALIDATION: split.validation,
        SplitPart.TEST: split.test,
    }
    names = {
        name: use
        for use, some in uses.items()
        if part in (use, SplitPart.ALL)
        for name in sorted(some, key=shown.of)
    }
    wanted = [selected.cases[name] for name in names]
    sizes = LabelSizeMemory(cache.folder / "label_sizes").of_cases(wanted)
    return [
        EvaluatedCase(
            case=replace(case.case, name=shown.of(case.case.name)),
            use=names[case.case.name],
            slice_mm=sizes[case.case.name].slice_mm,
            tumor_ml=sizes[case.case.name].tumor_ml(cache.settings),
        )
        for case in wanted
    ]
