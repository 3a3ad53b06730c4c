"""From a scan's file to its mask's file, and what a person should know about it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.laterality import Arrangement, Sides, split_sides
from kidneyseg.ct.scans import check_hu, read_any
from kidneyseg.ct.volumes import write_mask
from kidneyseg.model.folder import Model
from kidneyseg.model.postprocessing import Postprocessing, clean_mask
from kidneyseg.model.prediction import PredictedSlices, predict_slices
from kidneyseg.model.uncertainty import VolumeSpread, measure_spread

NO_STEPS = Postprocessing()
Watch = Callable[[Iterator[PredictedSlices]], Iterator[PredictedSlices]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictionOptions:
    """What may be asked for beyond a plain mask."""

    flips: bool = False  # average with the slices mirrored left to right
    sides: bool = False  # 1 right, 2 left instead of 1 kidney
    postprocessing: Postprocessing = NO_STEPS
    n_passes: int = 0  # with dropout; 0: no spread


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedScan:
    """A mask that was written, in numbers and notes."""

    scan: Path
    mask: Path
    right_ml: float
    left_ml: float
    arrangement: Arrangement
    notes: tuple[str, ...]  # what a person should look at
    spread: VolumeSpread | None

    @property
    def volume_ml(self) -> float:
        """Both kidneys together."""
        return self.right_ml + self.left_ml

    def as_json(self) -> dict[str, Any]:
        """What programs read."""
        return {
            "scan": str(self.scan),
            "mask": str(self.mask),
            "volume_ml": self.volume_ml,
            "right_ml": self.right_ml,
            "left_ml": self.left_ml,
            "kidneys": self.arrangement.value,
            "notes": list(self.notes),
            "uncertainty": None if self.spread is None else self.spread.as_json(),
        }

    def in_words(self) -> str:
        """One line for a person."""
        return (
            f"{self.volume_ml:.0f} ml of kidney: right {self.right_ml:.0f} ml, "
            f"left {self.left_ml:.0f} ml: written to {self.mask}"
        )


def predict_scan(
    model: Model, scan: Path, mask: Path, options: PredictionOptions, watch: Watch = iter
) -> PredictedScan:
    """Predict a scan and write its mask; `watch` sees the batches pass.

    Raises DataError for a scan that cannot be read or cannot be HU.
    """
    volume = read_any(scan)
    geometry = volume.geometry
    values_note = check_hu(scan, volume, model.description.preprocessing.hu_window)
    spread = None
    if options.n_passes:
        spread = measure_spread(model, volume, options.n_passes, flips=options.flips)
    predicted = np.zeros(geometry.shape, np.uint8)
    for part in watch(predict_slices(model, volume, flips=options.flips)):
        predicted[part.first : part.first + len(part.mask)] = part.mask
    del volume  # its memory is needed from here on
    predicted = clean_mask(predicted, geometry, options.postprocessing)
    sides = split_sides(predicted, geometry)
    write_mask(mask, sides.mask if options.sides else predicted, geometry)
    return PredictedScan(
        scan=scan,
        mask=mask,
        right_ml=sides.right_ml,
        left_ml=sides.left_ml,
        arrangement=sides.arrangement,
        notes=tuple([values_note] if values_note else []) + tuple(_notes(predicted, sides)),
        spread=spread,
    )


def _notes(
    predicted: NDArray[np.uint8],  # (slices, rows, columns)
    sides: Sides,
) -> Iterator[str]:
    match sides.arrangement:
        case Arrangement.NONE:
            yield "no kidney was found: look at the scan"
            return
        case Arrangement.ONE:
            side = "right" if sides.right_ml > sides.left_ml else "left"
            yield f"one kidney, on the {side}: look at it"
        case Arrangement.JOINED:
            yield "the kidneys are joined: parted where what joins them is thinnest"
        case Arrangement.TWO:
            pass
    if predicted[0].any():
        yield f"kidney on the topmost of {len(predicted)} slices: part of it may be missing"
    if predicted[-1].any():
        yield f"kidney on the lowest of {len(predicted)} slices: part of it may be missing"
