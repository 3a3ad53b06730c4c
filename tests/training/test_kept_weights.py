"""Weights that are kept: each computed once, the same bit for bit, no more than the bound."""

from dataclasses import replace

import pytest
import torch

from kidneyseg.training import kept_weights
from kidneyseg.training.inputs import SliceInputs
from kidneyseg.training.kept_weights import KeptWeights
from kidneyseg.training.pixel_weights import PixelWeighting

N_SLICES = 7
BYTES_OF_A_SLICE = 4 * 8 * 6


class CountedWeighting:
    """Weighs slices, and counts them."""

    def __init__(self) -> None:
        self.n = 0
        self._weighting = PixelWeighting(
            kidney_fraction=0.1, border_weight=4.0, border_sigma_px=1.0
        )

    def __call__(self, inputs: SliceInputs) -> SliceInputs:
        self.n += len(inputs.images)
        return replace(inputs, weights=self._weighting(inputs.labels, inputs.inside))


def all_slices() -> SliceInputs:
    labels = (torch.rand(N_SLICES, 1, 8, 6, generator=torch.Generator().manual_seed(0)) > 0.7) * 1.0
    return SliceInputs(
        images=torch.zeros_like(labels), labels=labels, inside=torch.ones_like(labels).bool()
    )


def gathered(kept: KeptWeights, at_once: int) -> torch.Tensor:
    """The weights of all slices, so many at once."""
    slices, found = all_slices(), []
    for first in range(0, N_SLICES, at_once):
        weights = kept.weighted(slices.part(first, first + at_once), first).weights
        assert weights is not None
        found.append(weights)
    return torch.cat(found)


def test_they_are_computed_once_however_many_slices_are_asked_for_at_once() -> None:
    weigh = CountedWeighting()
    kept = KeptWeights(weigh, N_SLICES)
    expected = CountedWeighting()(all_slices()).weights
    assert expected is not None
    for at_once in (3, 3, 2, 7, 1):
        assert torch.equal(gathered(kept, at_once), expected)
    assert weigh.n == N_SLICES


@pytest.mark.parametrize("n_kept", [0, 4, 6])
def test_beyond_the_bound_they_are_computed_every_time(
    monkeypatch: pytest.MonkeyPatch, n_kept: int
) -> None:
    monkeypatch.setattr(kept_weights, "KEPT_BYTES", n_kept * BYTES_OF_A_SLICE + 1)
    weigh = CountedWeighting()
    kept = KeptWeights(weigh, N_SLICES)
    expected = CountedWeighting()(all_slices()).weights
    assert expected is not None
    for _ in range(2):
        assert torch.equal(gathered(kept, at_once=2), expected)
    assert weigh.n == 2 * N_SLICES - n_kept
    assert kept._kept is not None
    assert kept._kept.nbytes == n_kept * BYTES_OF_A_SLICE


def test_slices_that_were_passed_over_are_not_taken_for_known() -> None:
    """Memory may run out in the middle, and what is begun anew begins at the first."""
    weigh = CountedWeighting()
    kept, slices = KeptWeights(weigh, N_SLICES), all_slices()
    expected = CountedWeighting()(slices).weights
    assert expected is not None
    kept.weighted(slices.part(4, 7), 4)
    assert torch.equal(gathered(kept, at_once=4), expected)
    assert weigh.n == 3 + N_SLICES


def test_where_memory_is_too_short_for_them_none_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    new_empty = torch.Tensor.new_empty

    def short(self: torch.Tensor, size: tuple[int, ...]) -> torch.Tensor:
        if size[0]:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return new_empty(self, size)

    monkeypatch.setattr(torch.Tensor, "new_empty", short)
    weigh = CountedWeighting()
    kept = KeptWeights(weigh, N_SLICES)
    expected = CountedWeighting()(all_slices()).weights
    assert expected is not None
    assert torch.equal(gathered(kept, 3), expected)
    assert torch.equal(gathered(kept, 3), expected)
    assert weigh.n == 2 * N_SLICES
