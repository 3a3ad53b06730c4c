"""What may be done beyond a plain mask: tried by `evaluate`, asked for with `predict`."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kidneyseg.ct.volumes import Volume
from kidneyseg.model.folder import Model
from kidneyseg.model.postprocessing import Postprocessing, clean_mask
from kidneyseg.model.prediction import predict_mask


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskSteps:
    """Steps from a scan to its mask, each off unless it is asked for."""

    flips: bool = False  # average with the slices mirrored left to right
    postprocessing: Postprocessing

    def mask(self, model: Model, scan: Volume[np.int16]) -> NDArray[np.uint8]:
        """The mask that `predict` writes with these steps, (slices, rows, columns); 1 is kidney."""
        predicted = predict_mask(model, scan, flips=self.flips)
        return clean_mask(predicted, scan.geometry, self.postprocessing)

    def as_json(self) -> dict[str, Any]:
        """What programs read."""
        return {
            "flips": self.flips,
            "opening_mm": self.postprocessing.opening_mm,
            "closing_mm": self.postprocessing.closing_mm,
            "min_ml": self.postprocessing.smallest_ml,
            "largest_two": self.postprocessing.largest_two,
        }

    def as_options(self) -> list[str]:
        """The options that ask for them, as given to `predict` and `evaluate`."""
        asked = {f"--{k.replace('_', '-')}": value for k, value in self.as_json().items() if value}
        return [name if value is True else f"{name} {value:g}" for name, value in asked.items()]


PLAIN = MaskSteps(postprocessing=Postprocessing())
