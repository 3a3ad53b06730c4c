"""Pixel weights of slices that every epoch judges anew: computed once, as far as memory goes."""

from collections.abc import Callable
from dataclasses import replace

from torch import Tensor

from kidneyseg.training.inputs import SliceInputs
from kidneyseg.training.slices_at_once import is_out_of_memory

KEPT_BYTES = 2**28  # at most, of one training: 10,485 slices of 80 x 80, 1,024 of 256 x 256


class KeptWeights:
    """Keeps the weights of a data set's first slices; those of the rest are computed every time.

    Slices are never changed between epochs, and a slice's weights are its own, however many slices
    go through the network at once.
    """

    def __init__(self, weigh: Callable[[SliceInputs], SliceInputs], n_slices: int) -> None:
        self._weigh = weigh
        self._n_slices = n_slices
        self._kept: Tensor | None = None  # (n, 1, H, W)
        self._n_known = 0  # from the first slice on

    def weighted(self, inputs: SliceInputs, first: int) -> SliceInputs:
        """Slices from the one of this number on, with their weights."""
        end = first + len(inputs.images)
        if self._kept is not None and end <= self._n_known:
            return replace(inputs, weights=self._kept[first:end])
        weighted = self._weigh(inputs)
        if weighted.weights is not None:
            self._keep(weighted.weights, first)
        return weighted

    def _keep(self, weights: Tensor, first: int) -> None:
        if self._kept is None:
            self._kept = self._room(weights)
        end = min(first + len(weights), len(self._kept))
        if first <= self._n_known < end:
            self._kept[first:end] = weights[: end - first]
            self._n_known = end

    def _room(self, weights: Tensor) -> Tensor:
        """Room for as many slices as are to be kept; for none where memory is too short for it."""
        n = min(self._n_slices, KEPT_BYTES // weights[0].nbytes)
        try:
            return weights.new_empty((n, *weights.shape[1:]))
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            return weights.new_empty((0, *weights.shape[1:]))
