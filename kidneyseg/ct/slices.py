"""The prepared slices of a set of cases as one data set of slices of one size."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from kidneyseg.ct.cache import PreparedCase
from kidneyseg.ct.preparation import LABEL_SCALE

PADDING_HU = -1024  # air


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceBatch:
    """Some slices, as stored; `image_input` and `soft_labels` give what a network takes."""

    images: (
        Tensor  # (N, C, rows, columns) int16, HU; C neighbouring slices, the middle one labelled
    )
    labels: Tensor  # (N, rows, columns) uint8, share of kidney x LABEL_SCALE
    inside: Tensor  # (N, rows, columns) bool; False on padding
    volumes: Tensor  # (N,) int64, index of each slice's case

    def to(self, device: torch.device) -> "SliceBatch":
        """The same batch on another device."""
        return SliceBatch(
            images=self.images.to(device, non_blocking=True),
            labels=self.labels.to(device, non_blocking=True),
            inside=self.inside.to(device, non_blocking=True),
            volumes=self.volumes.to(device, non_blocking=True),
        )

    def soft_labels(self) -> Tensor:  # (N, 1, rows, columns) float32 in [0, 1]
        """The share of kidney in every pixel."""
        return self.labels.unsqueeze(1).float() / LABEL_SCALE


def image_input(
    images_hu: Tensor,  # (N, C, rows, columns), HU
    hu_window: tuple[float, float],
) -> Tensor:  # (N, C, rows, columns) float32 in [-1, 1]
    """Clip HU to the window and scale the window to [-1, 1]."""
    low, high = hu_window
    return images_hu.float().clamp(low, high).sub((low + high) / 2).div((high - low) / 2)


class SliceDataset(Dataset[SliceBatch]):
    """Slices of several cases, by number: slice number -> (case, slice of the case).

    `dataset[i]` is one slice as a batch of one; `dataset.batch(indices)` gathers many at once.
    Slices larger than `slice_size` are cropped about their centre, smaller ones padded with air.
    """

    def __init__(
        self,
        cases: Sequence[PreparedCase],
        slice_size: tuple[int, int],  # (rows, columns)
        input_slices: int = 1,  # neighbouring slices as channels; odd
    ) -> None:
        self.case_names = tuple(case.name for case in cases)
        self.slice_size = slice_size
        self.input_slices = input_slices
        self._images = [case.images() for case in cases]
        self._labels = [case.labels() for case in cases]
        counts = [len(images) for images in self._images]
        self._volume_of = np.repeat(np.arange(len(cases)), counts)
        self._position_of = np.concatenate([np.arange(n) for n in counts])
        pixels = np.array([images.size for images in self._images], dtype=np.float64)
        fractions = np.array([case.manifest.kidney_fraction for case in cases])
        self.kidney_fraction = float((fractions * pixels).sum() / pixels.sum())

    @property
    def volumes(self) -> Tensor:
        """(N,) int64: the index of every slice's case."""
        return torch.from_numpy(self._volume_of)

    def __len__(self) -> int:
        return len(self._volume_of)

    def __getitem__(self, index: int) -> SliceBatch:
        return self.batch([index])

    def batch(self, indices: Sequence[int]) -> SliceBatch:
        """Gather slices by number, in the order given."""
        n, (rows, columns), channels = len(indices), self.slice_size, self.input_slices
        images = np.full((n, channels, rows, columns), PADDING_HU, np.int16)
        labels = np.zeros((n, rows, columns), np.uint8)
        inside = np.zeros((n, rows, columns), np.bool_)
        for i, index in enumerate(indices):
            volume, position = self._volume_of[index], self._position_of[index]
            source, target = fitting_window(self._labels[volume].shape[1:], self.slice_size)
            labels[i][target] = self._labels[volume][position][source]
            inside[i][target] = True
            for channel, neighbour in enumerate(self._neighbours(volume, position)):
                images[i, channel][target] = self._images[volume][neighbour][source]
        return SliceBatch(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            inside=torch.from_numpy(inside),
            volumes=torch.from_numpy(self._volume_of[np.asarray(indices)]),
        )

    def _neighbours(self, volume: int, position: int) -> Sequence[int]:
        """Slices around `position`; the first and last slice of a case stand in beyond it."""
        reach = self.input_slices // 2
        last = len(self._images[volume]) - 1
        return [min(max(position + k, 0), last) for k in range(-reach, reach + 1)]


def fitting_window(
    shape: tuple[int, ...], slice_size: tuple[int, int]
) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
    """Where a slice of `shape` and one of `slice_size` overlap, centre on centre.

    Returns the window in the first and the window in the second.
    """
    pairs = [_overlap(n, size) for n, size in zip(shape, slice_size, strict=True)]
    return (pairs[0][0], pairs[1][0]), (pairs[0][1], pairs[1][1])


def _overlap(n: int, size: int) -> tuple[slice, slice]:
    length = min(n, size)
    first, second = (n - length) // 2, (size - length) // 2
    return slice(first, first + length), slice(second, second + length)
