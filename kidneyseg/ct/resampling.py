"""Slices to training resolution by area, probabilities back to full resolution bilinearly.

Both ways are linear and separable, so both are two small matrices: one for rows, one for columns.
Grids share their centre. Labels averaged by area stay soft; hard labels alone would cap the Dice
that a perfect network could reach below the agreement between humans.
"""

from dataclasses import dataclass
from itertools import product
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from kidneyseg.settings import DataSettings

BLOCK_FACTORS = (
    1,
    2,
    3,
    4,
)  # of these, sums in whole numbers and float32 matrices agree bit by bit
LARGEST_INT16_FACTOR = 3  # nine values of at most 3071 HU fit into 16 bits
SLICES_AT_ONCE = 16  # brought into order and multiplied; they fit into a processor's cache
TILE = 32  # pixels

S = TypeVar("S", np.int16, np.uint8)


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One in-plane axis at full and at training resolution, centres aligned."""

    n_full: int  # pixels at full resolution
    n_training: int  # pixels at training resolution
    pitch: float  # size of a training pixel, in full-resolution pixels


def training_axes(
    shape: tuple[int, int],  # (rows, columns)
    spacing_mm: tuple[float, float],  # (row, column)
    settings: DataSettings,
) -> tuple[Axis, Axis]:
    """Return the row and the column axis that the settings ask for."""
    rows, columns = (
        _axis(n, _pitch(spacing, settings)) for n, spacing in zip(shape, spacing_mm, strict=True)
    )
    return rows, columns


def average_matrix(axis: Axis) -> NDArray[np.float32]:  # (n_training, n_full)
    """Weights of every full-resolution pixel in every training pixel; each row sums to 1.

    By overlap where training pixels are the larger ones, else by linear interpolation.
    """
    if axis.pitch < 1:
        return _linear(_centres(axis), axis.n_full)
    start = (_centres(axis) - axis.pitch / 2 + 0.5)[:, None]
    pixel = np.arange(axis.n_full)[None, :]
    overlap = np.minimum(start + axis.pitch, pixel + 1) - np.maximum(start, pixel)
    overlap = np.clip(overlap, 0, None)
    weights: NDArray[np.float32] = (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)
    return weights


def average(
    slices: NDArray[np.generic],  # (N, rows, columns) int16 or bool, in any memory layout
    axes: tuple[Axis, Axis],
    dtype: type[S],
    scale: int = 1,
) -> NDArray[S]:  # (N, rows_out, columns_out), contiguous
    """Average slices by area, times `scale`, rounded (halves to even)."""
    result = np.empty((len(slices), axes[0].n_training, axes[1].n_training), dtype)
    factor = _whole_factor(axes)
    if factor is not None:
        means = _block_sums(slices, factor).astype(np.float32) * np.float32(scale)
        means /= factor**2
        _copy(np.rint(means, out=means), result)
        return result
    rows, columns = (average_matrix(axis) for axis in axes)
    for first in range(0, len(slices), SLICES_AT_ONCE):
        some = slices[first : first + SLICES_AT_ONCE]
        in_order = np.empty(some.shape, np.float32)
        _copy(some, in_order)
        means = resample(in_order, rows, columns) * np.float32(scale)
        result[first : first + SLICES_AT_ONCE] = np.rint(means, out=means)
    return result


def interpolation_matrix(axis: Axis) -> NDArray[np.float32]:  # (n_full, n_training)
    """Bilinear weights that bring training pixels back to full resolution; rows sum to 1."""
    offset = (axis.n_full - 1) / 2
    at = (np.arange(axis.n_full) - offset) / axis.pitch + (axis.n_training - 1) / 2
    return _linear(at, axis.n_training)


def resample(
    slices: NDArray[np.generic],  # (N, rows, columns)
    rows: NDArray[np.float32],  # (rows_out, rows)
    columns: NDArray[np.float32],  # (columns_out, columns)
) -> NDArray[np.float32]:  # (N, rows_out, columns_out)
    """Apply one matrix along the rows and one along the columns of every slice."""
    result: NDArray[np.float32] = rows @ (slices.astype(np.float32) @ columns.T)
    return result


def _whole_factor(axes: tuple[Axis, Axis]) -> int | None:
    """The factor where training pixels are whole blocks of pixels; None where they are not.

    Only factors whose blocks have the very sums that the matrices give.
    """
    rows, columns = axes
    exact = rows.pitch == columns.pitch and rows.pitch in BLOCK_FACTORS
    whole = all(axis.n_training * axis.pitch == axis.n_full for axis in axes)
    return int(rows.pitch) if exact and whole else None


def _block_sums(
    slices: NDArray[np.generic],  # (N, rows, columns) int16 or bool
    factor: int,
) -> NDArray[np.integer[Any]]:  # (N, rows / factor, columns / factor)
    """Sum blocks of factor x factor pixels, in whatever order they lie in memory."""
    if slices.dtype == np.bool_:
        values: NDArray[Any] = slices.view(np.uint8)  # at most 16 in a block
    else:
        values = slices.astype(np.int32) if factor > LARGEST_INT16_FACTOR else slices
    rows = sum((values[:, k::factor] for k in range(1, factor)), start=values[:, ::factor])
    sums: NDArray[np.integer[Any]] = sum(
        (rows[:, :, k::factor] for k in range(1, factor)), start=rows[:, :, ::factor]
    )
    return sums


def _copy(
    source: NDArray[np.generic],  # (N, rows, columns), in any memory layout
    target: NDArray[np.generic],  # same shape, contiguous
) -> None:
    """Copy and convert; in tiles that fit into a processor's cache where layouts differ.

    A volume stored slice by slice along its fastest axis takes five times as long in one go.
    """
    if abs(source.strides[2]) == source.itemsize:
        target[:] = source
        return
    n, n_rows, n_columns = source.shape
    for row, column, first in product(
        range(0, n_rows, TILE), range(0, n_columns, TILE), range(0, n, 4 * TILE)
    ):
        tile = np.s_[first : first + 4 * TILE, row : row + TILE, column : column + TILE]
        target[tile] = source[tile]


def _pitch(spacing_mm: float, settings: DataSettings) -> float:
    if settings.downsampling is not None:
        return float(settings.downsampling)
    return (settings.spacing_mm or spacing_mm) / spacing_mm


def _axis(n_full: int, pitch: float) -> Axis:
    n_training = max(1, int(np.ceil(n_full / pitch - 1e-6)))
    return Axis(n_full=n_full, n_training=n_training, pitch=pitch)


def _centres(axis: Axis) -> NDArray[np.float64]:
    """Centres of the training pixels, in full-resolution pixel indices."""
    offset = (axis.n_training - 1) / 2
    steps = np.arange(axis.n_training, dtype=np.float64) - offset
    centres: NDArray[np.float64] = steps * axis.pitch + (axis.n_full - 1) / 2
    return centres


def _linear(at: NDArray[np.floating[Any]], n: int) -> NDArray[np.float32]:
    """Weights of linear interpolation at positions `at` among n samples, clamped at the ends."""
    at = np.clip(at, 0, n - 1)
    below = np.minimum(at.astype(np.int64), max(n - 2, 0))
    weights = np.zeros((len(at), n), np.float32)
    row = np.arange(len(at))
    weights[row, below] = 1 - (at - below)
    weights[row, np.minimum(below + 1, n - 1)] += at - below
    return weights
