"""The prepared slices of a set of cases as one data set of slices of one size."""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from kidneyseg.ct.preparation import LABEL_SCALE
from kidneyseg.ct.prepared_cases import PreparedCase

PADDING_HU = -1024  # air
UPLOADED_AT_ONCE = 256  # slices

T = TypeVar("T", np.int16, np.uint8)


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
        """The same batch on another device. The host does not wait until it is there."""
        return SliceBatch(
            images=_sent(self.images, device),
            labels=_sent(self.labels, device),
            inside=_sent(self.inside, device),
            volumes=_sent(self.volumes, device),
        )

    def soft_labels(self) -> Tensor:  # (N, 1, rows, columns) float32 in [0, 1]
        """The share of kidney in every pixel."""
        return self.labels.unsqueeze(1).float() / LABEL_SCALE


def collate(batches: Sequence[SliceBatch]) -> SliceBatch:
    """Join batches in their order: the `collate_fn` of a DataLoader over a `SliceDataset`."""
    return SliceBatch(
        images=torch.cat([batch.images for batch in batches]),
        labels=torch.cat([batch.labels for batch in batches]),
        inside=torch.cat([batch.inside for batch in batches]),
        volumes=torch.cat([batch.volumes for batch in batches]),
    )


def _sent(tensor: Tensor, device: torch.device) -> Tensor:
    """A tensor on its way to a device: a GPU fetches by itself only from memory that is pinned."""
    if device.type == "cuda" and tensor.is_cpu:
        tensor = tensor.pin_memory()
    return tensor.to(device, non_blocking=True)


def image_input(
    images_hu: Tensor,  # (N, C, rows, columns), HU
    hu_window: tuple[float, float],
) -> Tensor:  # (N, C, rows, columns) float32 in [-1, 1]
    """Clip HU to the window and scale the window to [-1, 1]."""
    low, high = hu_window
    return images_hu.float().clamp(low, high).sub((low + high) / 2).div((high - low) / 2)


class SliceDataset(Dataset[SliceBatch]):
    """Slices of several cases, by number: slice number -> (case, slice of the case).

    `dataset[i]` is one slice as a batch of one; `dataset.batch(indices)` gathers many at once. In
    torch's way: `DataLoader(dataset, batch_size=4, shuffle=True, collate_fn=collate)`.
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
        # Plain arrays over the maps: indexing a memmap makes a new memmap, which takes longer than
        # copying a slice.
        self._images = [case.images().view(np.ndarray) for case in cases]
        self._labels = [case.labels().view(np.ndarray) for case in cases]
        self._windows = [fitting_window(labels.shape[1:], slice_size) for labels in self._labels]
        counts = np.array([len(labels) for labels in self._labels])
        self._volume_of = np.repeat(np.arange(len(cases)), counts)
        self._first_of = np.repeat(np.cumsum(counts) - counts, counts)  # of the same case
        self._last_of = np.repeat(np.cumsum(counts) - 1, counts)
        self._numbers = np.arange(len(self._volume_of))
        self._stacks: _Stacks | None = None
        self._inside = np.zeros((len(cases), *slice_size), np.bool_)  # of each case
        for inside, (_, target) in zip(self._inside, self._windows, strict=True):
            inside[target] = True
        pixels = np.array([images.size for images in self._images], dtype=np.float64)
        fractions = np.array([case.manifest.kidney_fraction for case in cases])
        self.kidney_fraction = float((fractions * pixels).sum() / pixels.sum())

    @property
    def volumes(self) -> Tensor:
        """(N,) int64: the index of every slice's case."""
        return torch.from_numpy(self._volume_of)

    @property
    def n_bytes(self) -> int:
        """What images and labels of all slices take, padded to `slice_size`."""
        rows, columns = self.slice_size
        return len(self) * rows * columns * 3

    def __len__(self) -> int:
        return len(self._volume_of)

    def __getitem__(self, index: int) -> SliceBatch:
        return self.batch([index])

    def batch(self, indices: Sequence[int]) -> SliceBatch:
        """Gather slices by number, in the order given."""
        if self._stacks is not None:
            return self._stacks.gather(indices)
        wanted = self._numbers[np.asarray(indices, np.int64)]
        volumes = self._volume_of[wanted]
        size, reach = self.slice_size, self.input_slices // 2
        images = np.empty((len(wanted), self.input_slices, *size), np.int16)
        labels = np.empty((len(wanted), *size), np.uint8)
        first, last = self._first_of[wanted], self._last_of[wanted]
        self._copy(self._labels, wanted, labels, padding=0)
        for channel, step in enumerate(range(-reach, reach + 1)):
            neighbours = np.clip(wanted + step, first, last)  # the ends stand in beyond them
            self._copy(self._images, neighbours, images[:, channel], padding=PADDING_HU)
        return SliceBatch(
            images=torch.from_numpy(images),
            labels=torch.from_numpy(labels),
            inside=torch.from_numpy(self._inside[volumes]),
            volumes=torch.from_numpy(volumes),
        )

    def resident(self, device: torch.device) -> "SliceDataset":
        """The same data set with all slices on a GPU, where they fill at most half of its room.

        Else, and for the CPU, this very one: the maps in memory are what all workers share.
        """
        if device.type != "cuda" or 2 * self.n_bytes > torch.cuda.mem_get_info(device)[0]:
            return self
        return self.on(device)

    def on(self, device: torch.device) -> "SliceDataset":
        """The same data set with all slices on a device; batches are gathered there."""
        single = copy(self)
        single.input_slices, single._stacks = 1, None  # noqa: SLF001 - one of its own class
        images = torch.empty((len(self), *self.slice_size), dtype=torch.int16, device=device)
        labels = torch.empty((len(self), *self.slice_size), dtype=torch.uint8, device=device)
        for first in range(0, len(self), UPLOADED_AT_ONCE):
            part = slice(first, min(first + UPLOADED_AT_ONCE, len(self)))
            batch = single.batch(range(part.start, part.stop))
            images[part], labels[part] = batch.images[:, 0], batch.labels
        moved = copy(self)
        moved._stacks = _Stacks(  # noqa: SLF001 - one of its own class
            images=images,
            labels=labels,
            inside=torch.from_numpy(self._inside).to(device),
            volume_of=torch.from_numpy(self._volume_of).to(device),
            first_of=torch.from_numpy(self._first_of).to(device),
            last_of=torch.from_numpy(self._last_of).to(device),
            input_slices=self.input_slices,
        )
        return moved

    def _copy(
        self,
        arrays: Sequence[NDArray[T]],  # of each case (N, rows, columns)
        wanted: NDArray[np.int64],  # (n,) slice numbers
        copies: NDArray[T],  # (n, *slice_size)
        padding: int,
    ) -> None:
        """Copy slices, cropped or padded, into `copies`."""
        volumes = self._volume_of[wanted].tolist()
        positions = (wanted - self._first_of[wanted]).tolist()
        for place, volume, position in zip(copies, volumes, positions, strict=True):
            source, target = self._windows[volume]
            array = arrays[volume]
            if array.shape[1:] == self.slice_size:
                place[...] = array[position]
            else:
                place.fill(padding)
                place[target] = array[position][source]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Stacks:
    """All slices of a data set on one device."""

    images: Tensor  # (N, rows, columns) int16, HU
    labels: Tensor  # (N, rows, columns) uint8
    inside: Tensor  # (V, rows, columns) bool, of each case
    volume_of: Tensor  # (N,) int64, the case of each slice
    first_of: Tensor  # (N,) int64, the first slice of the same case
    last_of: Tensor  # (N,) int64
    input_slices: int

    def gather(self, indices: Sequence[int]) -> SliceBatch:
        """Gather slices by number, in the order given."""
        device, reach = self.images.device, self.input_slices // 2
        wanted = torch.tensor(indices, dtype=torch.int64).to(device, non_blocking=True)
        volumes = self.volume_of[wanted]
        neighbours = wanted[:, None] + torch.arange(-reach, reach + 1, device=device)
        first, last = self.first_of[wanted, None], self.last_of[wanted, None]
        return SliceBatch(
            images=self.images[neighbours.clamp(first, last)],
            labels=self.labels[wanted],
            inside=self.inside[volumes],
            volumes=volumes,
        )


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
