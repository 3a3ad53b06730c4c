"""The connected parts of a mask, found slice by slice: no volume of numbers is ever held.

Voxels are connected by faces. A scan of 1059 slices that is strewn with specks takes no more memory
than one slice and a few numbers for each of its parts.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage, sparse
from scipy.sparse.csgraph import connected_components

Mask = NDArray[np.bool_] | NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Components:
    """The connected parts of a mask, the largest first; of equals, the one that begins first."""

    n_voxels: NDArray[np.int64]  # (P,)
    centres: NDArray[np.float64]  # (P, 3): slice, row and column, as indices of the mask
    part_of_piece: NDArray[np.int64]  # (K,), the part of each connected piece of each slice

    def __len__(self) -> int:
        return len(self.n_voxels)


def find_components(
    mask: Mask,  # (slices, rows, columns), anything but 0 belongs to it
) -> Components:
    """Find the parts of a mask that faces connect."""
    sizes: list[NDArray[np.int64]] = []  # of the pieces of each slice
    sums: list[NDArray[np.float64]] = []  # (pieces, 3), of their voxels' indices
    pairs = [np.zeros((0, 2), np.int64)]  # pieces of neighbouring slices that touch
    before: NDArray[np.int64] | None = None
    for number, pieces in enumerate(_pieces(mask)):
        size, place = _measure(pieces, sum(map(len, sizes)), number)
        if before is not None:
            touching = (before >= 0) & (pieces >= 0)
            both = np.stack([before[touching], pieces[touching]], axis=1)
            pairs.append(np.unique(both, axis=0))
        sizes.append(size)
        sums.append(place)
        before = pieces
    return _join(np.concatenate(sizes), np.concatenate(sums), np.concatenate(pairs))


def relabel(
    mask: Mask,  # (slices, rows, columns), the one that `components` were found in
    components: Components,
    labels: NDArray[np.uint8],  # (P,), of each part
    out: NDArray[np.uint8] | None = None,  # (slices, rows, columns), where to write; else new
) -> NDArray[np.uint8]:  # (slices, rows, columns)
    """Give each voxel the label of its part; 0 outside the mask."""
    label_of_piece = np.append(labels[components.part_of_piece], 0).astype(np.uint8)
    result = np.empty(mask.shape, np.uint8) if out is None else out
    for slice_, pieces in zip(result, _pieces(mask), strict=True):
        slice_[...] = label_of_piece[pieces]  # the last, 0, for -1
    return result


def count_where(
    mask: Mask,  # (slices, rows, columns), the one that `components` were found in
    components: Components,
    wanted: NDArray[np.bool_],  # same shape
) -> NDArray[np.int64]:  # (P,)
    """Count each part's voxels among those that are wanted."""
    counts = np.zeros(len(components.part_of_piece), np.int64)
    for chosen, pieces in zip(wanted, _pieces(mask), strict=True):
        numbers = pieces[chosen & (pieces >= 0)]
        if numbers.size:
            first = int(numbers.min())  # a slice's own pieces follow each other
            some = np.bincount(numbers - first)
            counts[first : first + len(some)] = some
    of_part = np.bincount(components.part_of_piece, counts, minlength=len(components))
    return of_part.astype(np.int64)


def _pieces(mask: Mask) -> Iterator[NDArray[np.int64]]:
    """Yield each slice's pieces, numbered from 0 on through the mask; -1 outside."""
    first = 0
    for slice_ in mask:
        numbers, n_pieces = ndimage.label(slice_)
        yield np.where(numbers > 0, numbers.astype(np.int64) + (first - 1), -1)
        first += n_pieces


def _measure(
    pieces: NDArray[np.int64],  # (rows, columns)
    first: int,  # number of the slice's first piece
    slice_number: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Count the voxels of a slice's pieces, and sum their indices."""
    rows, columns = np.nonzero(pieces >= 0)
    numbers = pieces[rows, columns] - first
    sizes = np.bincount(numbers).astype(np.int64)
    sums = [
        sizes * float(slice_number),
        np.bincount(numbers, rows),
        np.bincount(numbers, columns),
    ]
    return sizes, np.stack(sums, axis=1).astype(np.float64)


def _join(
    sizes: NDArray[np.int64],  # (K,)
    sums: NDArray[np.float64],  # (K, 3)
    pairs: NDArray[np.int64],  # (M, 2)
) -> Components:
    """Put pieces that touch together into parts, in order of size."""
    links = sparse.coo_array(
        (np.ones(len(pairs), np.int8), (pairs[:, 0], pairs[:, 1])), (len(sizes), len(sizes))
    )
    n_parts, part_of_piece = connected_components(links, directed=False)
    n_voxels = np.bincount(part_of_piece, sizes, minlength=n_parts).astype(np.int64)
    totals = [np.bincount(part_of_piece, axis, minlength=n_parts) for axis in sums.T]
    _, first_piece = np.unique(part_of_piece, return_index=True)
    order = np.lexsort((first_piece, -n_voxels))
    rank = np.empty(n_parts, np.int64)
    rank[order] = np.arange(n_parts)
    return Components(
        n_voxels=n_voxels[order],
        centres=(np.stack(totals, axis=1) / np.maximum(n_voxels, 1)[:, None])[order],
        part_of_piece=rank[part_of_piece],
    )
