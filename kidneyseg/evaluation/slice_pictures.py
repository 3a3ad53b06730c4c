"""The slices on which a mask is best and worst, kept small until all cases are seen."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.cases import CaseVolumes

N_SLICES = 8  # on a picture
APART_MM = 12.0  # between two slices of a case: neighbours look alike
FRAME_MM = 15.0  # around kidney and prediction
SMALLEST_MM = 110.0  # a picture's side

Crop = tuple[slice, slice]


@dataclass(frozen=True, slots=True, kw_only=True)
class SlicePicture:
    """A part of a slice, square, with both masks."""

    case: str
    number: int  # of the slice, from 0, counted from above
    dice: float  # of this slice alone
    wrong_mm2: float  # area on which the masks differ
    grey: NDArray[np.uint8]  # (rows, columns)
    truth: NDArray[np.bool_]  # same shape
    predicted: NDArray[np.bool_]  # same shape
    pixel_mm: tuple[float, float]  # (row, column)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Scores:
    """Every slice's score."""

    numbers: NDArray[np.intp]  # of the slices with kidney or prediction
    dice: NDArray[np.float64]
    wrong_mm2: NDArray[np.float64]


def extreme_slices(
    case: str,
    volumes: CaseVolumes,
    predicted: NDArray[np.bool_],  # the volumes' shape
    hu_window: tuple[float, float],
) -> tuple[tuple[SlicePicture, ...], tuple[SlicePicture, ...]]:
    """The best and the worst slices of a case, each kind in order, some way from one another."""
    scores = _score(volumes, predicted)
    slice_mm = volumes.geometry.spacing_mm[0]
    worst_first = np.lexsort((-scores.wrong_mm2, scores.dice))
    chosen = (
        _spread(scores.numbers, order, math.ceil(APART_MM / slice_mm))
        for order in (worst_first[::-1], worst_first)
    )
    best, worst = (
        tuple(_picture(case, volumes, predicted, hu_window, scores, place) for place in places)
        for places in chosen
    )
    return best, worst


def best_of_all(pictures: Iterable[Sequence[SlicePicture]]) -> list[SlicePicture]:
    """The best slices of several cases, in order; of each case at most twice its share."""
    return _of_all(list(pictures), best=True)


def worst_of_all(pictures: Iterable[Sequence[SlicePicture]]) -> list[SlicePicture]:
    """The worst slices of several cases, in order; of each case at most twice its share."""
    return _of_all(list(pictures), best=False)


def _of_all(pictures: list[Sequence[SlicePicture]], *, best: bool) -> list[SlicePicture]:
    most = max(2, math.ceil(2 * N_SLICES / len(pictures)))
    each = [picture for some in pictures for picture in some[:most]]
    each.sort(key=lambda picture: (picture.dice, -picture.wrong_mm2), reverse=best)
    return each[:N_SLICES]


def _score(volumes: CaseVolumes, predicted: NDArray[np.bool_]) -> _Scores:
    pairs = zip(volumes.kidney, predicted, strict=True)
    counts = np.array(
        [[np.count_nonzero(t & p), np.count_nonzero(t), np.count_nonzero(p)] for t, p in pairs]
    )
    shared, total = counts[:, 0], counts[:, 1] + counts[:, 2]
    numbers = np.flatnonzero(total)
    pixel_mm2 = float(np.prod(volumes.geometry.spacing_mm[1:]))
    return _Scores(
        numbers=numbers,
        dice=2 * shared[numbers] / total[numbers],
        wrong_mm2=(total - 2 * shared)[numbers] * pixel_mm2,
    )


def _spread(numbers: NDArray[np.intp], order: NDArray[np.intp], apart: int) -> list[int]:
    """The first of an order that lie some slices apart."""
    taken: list[int] = []
    for place in order.tolist():
        if all(abs(int(numbers[place]) - int(numbers[other])) >= apart for other in taken):
            taken.append(place)
        if len(taken) == N_SLICES:
            break
    return taken


def _picture(
    case: str,
    volumes: CaseVolumes,
    predicted: NDArray[np.bool_],
    hu_window: tuple[float, float],
    scores: _Scores,
    place: int,
) -> SlicePicture:
    number = int(scores.numbers[place])
    low, high = hu_window
    _, row_mm, column_mm = volumes.geometry.spacing_mm
    truth, found = volumes.kidney[number], predicted[number]
    crop = _square(truth | found, (row_mm, column_mm))
    grey = (np.clip(volumes.scan_hu[number][crop], low, high) - low) * (255 / (high - low))
    return SlicePicture(
        case=case,
        number=number,
        dice=float(scores.dice[place]),
        wrong_mm2=float(scores.wrong_mm2[place]),
        grey=grey.astype(np.uint8),
        truth=truth[crop].copy(),
        predicted=found[crop].copy(),
        pixel_mm=(row_mm, column_mm),
    )


def _square(shown: NDArray[np.bool_], pixel_mm: tuple[float, float]) -> Crop:
    """A square, in millimetres, around what is shown, as far as the slice reaches."""
    places = [np.flatnonzero(shown.any(axis=axis)) for axis in (1, 0)]
    ends_mm = [(p[0] * mm, (p[-1] + 1) * mm) for p, mm in zip(places, pixel_mm, strict=True)]
    side_mm = max([SMALLEST_MM, *(last - first + 2 * FRAME_MM for first, last in ends_mm)])
    rows, columns = (
        _range((first + last) / 2, side_mm, mm, n)
        for (first, last), mm, n in zip(ends_mm, pixel_mm, shown.shape, strict=True)
    )
    return rows, columns


def _range(centre_mm: float, side_mm: float, pixel_mm: float, n: int) -> slice:
    length = min(n, round(side_mm / pixel_mm))
    first = round((centre_mm - side_mm / 2) / pixel_mm)
    first = min(max(first, 0), n - length)
    return slice(first, first + length)
