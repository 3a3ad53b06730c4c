"""How sure a network is of a volume: passes with dropout kept on, and how far they spread.

The spread over passes, as a share of their mean, goes with how well a structure was found: Roy,
Conjeti, Navab, Wachinger, "Bayesian QuickNAT", arXiv 1811.09800, where it is the coefficient of
variation of a structure's volume.
"""

import statistics
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from kidneyseg.ct.volumes import Volume
from kidneyseg.errors import ModelError
from kidneyseg.model.folder import Model
from kidneyseg.model.prediction import predict_slices

LOOK_ABOVE = 0.05  # SD over mean; to be set anew by what one's own validation cases show
SEED = 0  # of the first pass; the next has the next


@dataclass(frozen=True, slots=True, kw_only=True)
class VolumeSpread:
    """The volume of kidney over passes with dropout."""

    volumes_ml: tuple[float, ...]  # of each pass

    @property
    def mean_ml(self) -> float:
        """The mean over the passes."""
        return statistics.fmean(self.volumes_ml)

    @property
    def sd_ml(self) -> float:
        """The standard deviation over the passes, of a sample (n - 1)."""
        return statistics.stdev(self.volumes_ml)

    @property
    def needs_a_look(self) -> bool:
        """Whether a person should look: the passes spread, or one of them found nothing."""
        return min(self.volumes_ml) == 0 or self.sd_ml > LOOK_ABOVE * self.mean_ml

    def as_json(self) -> dict[str, Any]:
        """What programs read."""
        return {
            "passes": len(self.volumes_ml),
            "mean_ml": self.mean_ml,
            "sd_ml": self.sd_ml,
            "lowest_ml": min(self.volumes_ml),
            "highest_ml": max(self.volumes_ml),
            "look": self.needs_a_look,
        }

    def in_words(self) -> str:
        """One line for a person."""
        lowest, highest = min(self.volumes_ml), max(self.volumes_ml)
        words = (
            f"volume over {len(self.volumes_ml)} passes with dropout: {self.mean_ml:.0f} ml, "
            f"SD {self.sd_ml:.1f} ml, range {lowest:.0f} to {highest:.0f} ml"
        )
        if not self.needs_a_look:
            return f"{words}: they agree (SD at most {LOOK_ABOVE:.0%} of the mean)"
        if lowest == 0:
            return f"{words}: look at this mask, a pass found no kidney"
        return f"{words}: look at this mask (SD above {LOOK_ABOVE:.0%} of the mean)"


def measure_spread(
    model: Model, scan: Volume[np.int16], n_passes: int, *, flips: bool = False
) -> VolumeSpread:
    """Measure a scan's volume of kidney in passes with dropout kept on.

    The same on every call; the program's own random numbers are left alone. Raises ModelError for a
    network without dropout, whose passes would not differ.
    """
    check_dropout(model)
    devices = [model.device] if model.device.type == "cuda" else []
    volumes = []
    with torch.random.fork_rng(devices), _dropout_kept_on(model.network):
        for number in range(n_passes):
            torch.manual_seed(SEED + number)
            parts = predict_slices(model, scan, flips=flips)
            n_voxels = sum(int(np.count_nonzero(part.mask)) for part in parts)
            volumes.append(n_voxels * scan.geometry.voxel_ml)
    return VolumeSpread(volumes_ml=tuple(volumes))


def check_dropout(model: Model) -> None:
    """Refuse a network that was trained without dropout. Raises ModelError."""
    dropout = model.description.hyperparameters.dropout
    if dropout == 0:
        raise ModelError(
            f"dropout = {dropout:g} in this model: passes would not differ; leave --uncertainty out"
        )


@contextmanager
def _dropout_kept_on(network: nn.Module) -> Iterator[None]:
    """Have dropout, and it alone, behave as in training."""
    layers = [layer for layer in network.modules() if isinstance(layer, nn.Dropout2d)]
    before = [layer.training for layer in layers]
    for layer in layers:
        layer.train()
    try:
        yield
    finally:
        for layer, was_training in zip(layers, before, strict=True):
            layer.train(was_training)
