"""Cases through a network and its masks through the measures, one case at a time."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.cases import CaseVolumes, read_case
from kidneyseg.ct.laterality import Side
from kidneyseg.ct.volumes import Volume
from kidneyseg.evaluation.cases import EvaluatedCase, EvaluationCases
from kidneyseg.evaluation.masks import BoxedMasks, cut_volumes
from kidneyseg.evaluation.matching import MatchedSides, match_sides
from kidneyseg.evaluation.measures import Measures, measure_masks
from kidneyseg.evaluation.slice_pictures import SlicePicture, extreme_slices
from kidneyseg.evaluation.training_resolution import training_dice
from kidneyseg.model.folder import Model
from kidneyseg.model.mask_steps import PLAIN, MaskSteps

KIDNEYS = "kidneys"  # both together
STRUCTURES = (KIDNEYS, "right", "left")


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseResult:
    """How good one model's mask of one case is."""

    case: EvaluatedCase
    measures: dict[str, Measures]  # by structure: whole volume, full resolution
    missed_kidneys: int
    false_kidneys: int
    training_dice: float  # the report's own way: training resolution, slices near the kidney
    best: tuple[SlicePicture, ...]  # slices, if pictures were asked for
    worst: tuple[SlicePicture, ...]


def evaluate_cases(
    models: Sequence[Model],
    found: EvaluationCases,
    steps: MaskSteps = PLAIN,
    *,
    pictures: bool = False,
) -> Generator[tuple[CaseResult, ...], None, None]:
    """Yield each case's results, one for every model; one scan is in memory at a time.

    Raises DataError for a case that cannot be read.
    """
    for case in found.cases:
        settings = found.settings
        volumes = read_case(case.case, settings.kidney_labels, settings.other_labels)
        yield tuple(_evaluate(model, case, volumes, steps, pictures=pictures) for model in models)


def measure_case(masks: BoxedMasks, sides: MatchedSides) -> dict[str, Measures]:
    """Measure both kidneys together, and the right and the left one apart."""
    right, left = (
        measure_masks(masks.of(sides.truth == side, sides.predicted == side)) for side in Side
    )
    return {KIDNEYS: measure_masks(masks), "right": right, "left": left}


def _evaluate(
    model: Model,
    case: EvaluatedCase,
    volumes: CaseVolumes,
    steps: MaskSteps,
    *,
    pictures: bool,
) -> CaseResult:
    scan = Volume(array=volumes.scan_hu, geometry=volumes.geometry)
    predicted = steps.mask(model, scan) > 0
    masks = cut_volumes(
        Volume(array=volumes.kidney, geometry=volumes.geometry),
        Volume(array=predicted, geometry=volumes.geometry),
    )
    sides = match_sides(masks)
    best, worst = _pictures(model, case, volumes, predicted) if pictures else ((), ())
    return CaseResult(
        case=case,
        measures=measure_case(masks, sides),
        missed_kidneys=sides.missed_kidneys,
        false_kidneys=sides.false_kidneys,
        training_dice=training_dice(model, volumes),
        best=best,
        worst=worst,
    )


def _pictures(
    model: Model, case: EvaluatedCase, volumes: CaseVolumes, predicted: NDArray[np.bool_]
) -> tuple[tuple[SlicePicture, ...], tuple[SlicePicture, ...]]:
    window = model.description.preprocessing.hu_window
    return extreme_slices(case.case.name, volumes, predicted, window)
