"""Which slices an epoch trains on, and in which order."""

from typing import Literal

import torch

from kidneyseg.ct.slices import SliceDataset

Sampling = Literal["uniform", "balanced"]


def epoch_order(slices: SliceDataset, sampling: Sampling) -> list[int]:
    """Slice numbers of one epoch, as many as there are slices, from torch's own random numbers.

    `uniform` is every slice once, in random order (the report's). `balanced` draws with replacement
    so that every volume is as likely as every other: thin slices would else outweigh thick ones.
    """
    if sampling == "uniform":
        return torch.randperm(len(slices)).tolist()
    counts = torch.bincount(slices.volumes)
    weights = 1.0 / counts[slices.volumes]
    drawn: list[int] = torch.multinomial(weights, len(slices), replacement=True).tolist()
    return drawn
