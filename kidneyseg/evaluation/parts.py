"""The connected parts of a mask: their sizes, where they lie, and a value for each of them."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct.anatomy import MOST_VOXELS
from kidneyseg.evaluation.masks import find_box


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskParts:
    """Parts connected by faces, numbered from 1; number 0 is the background.

    Of a box too large to number, every second pixel (or fourth, and so on) stands for the rest.
    """

    numbers: NDArray[np.int32]  # (slices, rows, columns) of the box, thinned by `step` in-plane
    step: int
    first: tuple[int, int, int]  # slice, row and column at which the box begins
    shape: tuple[int, ...]  # of the box, not thinned
    voxels: NDArray[np.int64]  # (parts + 1,), of full resolution; 0 for the background
    columns: NDArray[np.float64]  # (parts + 1,), centre of each, in the volume

    @property
    def place(self) -> tuple[slice, ...]:
        """Where the box lies, to index a volume."""
        return tuple(slice(f, f + n) for f, n in zip(self.first, self.shape, strict=True))

    def count_where(
        self,
        wanted: NDArray[np.bool_],  # the volume's shape
    ) -> NDArray[np.int64]:  # (parts + 1,) voxels of each part
        """Count each part's voxels among those wanted."""
        box = wanted[self.place][:, :: self.step, :: self.step]
        counts = _tally(self.numbers, box)
        counts *= self.step**2
        return counts

    def columns_of(self, part: int) -> NDArray[np.int64]:  # (columns of the box,)
        """Count a part's voxels in each column; the first column is the box's."""
        counts: NDArray[np.int64] = (self.numbers == part).sum(axis=(0, 1), dtype=np.int64)
        return counts.repeat(self.step)[: self.shape[2]]

    def paint(
        self,
        values: NDArray[np.uint8],  # (parts + 1,)
        mask: NDArray[np.bool_],  # the volume whose parts these are
        volume: NDArray[np.uint8],  # the same shape, written to
    ) -> None:
        """Write each part's value into its voxels, where it is not 0."""
        painted = values[self.numbers].repeat(self.step, axis=1).repeat(self.step, axis=2)
        painted = painted[:, : self.shape[1], : self.shape[2]]
        np.copyto(volume[self.place], painted, where=mask[self.place] & (painted > 0))


def find_mask_parts(mask: NDArray[np.bool_]) -> MaskParts:
    """Find the parts of a mask, (slices, rows, columns)."""
    box = find_box(mask)
    inside = mask[box]
    step = 1
    while inside[:, ::step, ::step].size > MOST_VOXELS:
        step *= 2
    thin = inside[:, ::step, ::step]
    numbers = np.zeros(thin.shape, np.int32)
    n_parts = ndimage.label(thin, output=numbers)
    voxels, centres = _sizes(numbers, n_parts)
    return MaskParts(
        numbers=numbers,
        step=step,
        first=(box[0].start, box[1].start, box[2].start),
        shape=inside.shape,
        voxels=voxels * step**2,
        columns=centres * step + box[2].start,
    )


def _sizes(
    numbers: NDArray[np.int32], n_parts: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Each part's number of voxels and its mean column."""
    voxels, sums = np.zeros(n_parts + 1, np.int64), np.zeros(n_parts + 1)
    columns = np.broadcast_to(np.arange(numbers.shape[2]), numbers.shape[1:]).ravel()
    for slice_ in numbers:  # one at a time: counting takes eight bytes a voxel
        flat = slice_.ravel()
        counts = np.bincount(flat)
        voxels[: len(counts)] += counts
        sums[: len(counts)] += np.bincount(flat, weights=columns)
    voxels[0] = 0
    return voxels, sums / np.maximum(voxels, 1)


def _tally(numbers: NDArray[np.int32], wanted: NDArray[np.bool_]) -> NDArray[np.int64]:
    counts = np.zeros(int(numbers.max(initial=0)) + 1, np.int64)
    for slice_, chosen in zip(numbers, wanted, strict=True):
        some = np.bincount(slice_[chosen])
        counts[: len(some)] += some
    counts[0] = 0
    return counts
