"""The voxels of a NIfTI file, read in pieces: each is converted before the next one is read.

So a scan that is stored as float32, or with a slope, takes no more memory than its 16-bit HU.
"""

import math
from collections.abc import Iterator
from typing import IO, Any, Protocol, TypeVar

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

PIECE_BYTES = 2**20  # fits into a processor's cache

T_co = TypeVar("T_co", bound=np.generic, covariant=True)
T = TypeVar("T", bound=np.generic)


class Converter(Protocol[T_co]):
    """What becomes of each piece of stored voxels, scaled as the header says."""

    def __call__(self, values: NDArray[Any]) -> NDArray[T_co]:
        """Convert a piece; `values` may be changed."""


class ToHu:
    """Real or whole numbers to whole HU, clipped to limits; remembers numbers that are none."""

    def __init__(self, limits: tuple[int, int]) -> None:
        self._limits = limits
        self.all_finite = True

    def __call__(self, values: NDArray[Any]) -> NDArray[np.int16]:
        """Round and clip a piece."""
        low, high = self._limits
        if values.dtype.kind == "f":
            if not np.isfinite(values).all():
                self.all_finite = False
                return np.zeros(len(values), np.int16)
            values = np.rint(values)
        else:  # older numpy refuses bounds that the type cannot hold
            type_limits = np.iinfo(values.dtype)
            low, high = max(low, type_limits.min), min(high, type_limits.max)
        return np.clip(values, low, high, out=values).astype(np.int16, copy=False)


class ToLabels:
    """Numbers to labels of 0 to 255; remembers the first that is none."""

    def __init__(self) -> None:
        self.wrong: np.generic | None = None

    def __call__(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        """Convert a piece."""
        with np.errstate(invalid="ignore"):
            labels: NDArray[np.uint8] = values.astype(np.uint8, copy=False)
        if self.wrong is None and labels is not values and not np.array_equal(labels, values):
            self.wrong = values[labels != values][0].copy()
        return labels


def read_voxels(
    stream: IO[bytes],
    header: nib.Nifti1Header,
    convert: Converter[T],
    out: NDArray[T],  # of the stored shape, in Fortran order
) -> None:
    """Read all voxels of an opened file. Raises EOFError where it ends before them."""
    slope, intercept = header.get_slope_inter()
    is_scaled = slope is not None and (slope, intercept) != (1, 0)
    flat, done = out.reshape(-1, order="F"), 0
    for piece in _pieces(stream, header):
        values = piece
        if is_scaled:
            with np.errstate(over="ignore", invalid="ignore"):
                values = piece * np.float32(slope) + np.float32(intercept)
        flat[done : done + len(piece)] = convert(values)
        done += len(piece)


def _pieces(stream: IO[bytes], header: nib.Nifti1Header) -> Iterator[NDArray[Any]]:
    """Yield the stored voxels in the order of the file, in one buffer that is filled anew."""
    dtype: np.dtype[Any] = header.get_data_dtype()
    n_voxels = math.prod(header.get_data_shape())
    buffer = np.empty(min(n_voxels, PIECE_BYTES // dtype.itemsize), dtype)
    stream.seek(header.get_data_offset())
    for first in range(0, n_voxels, len(buffer)):
        piece = buffer[: n_voxels - first]
        n_read = _fill(stream, piece)
        if n_read < piece.nbytes:
            done, expected = first * dtype.itemsize + n_read, n_voxels * dtype.itemsize
            raise EOFError(f"{done} bytes of voxels, expected {expected}")
        yield piece


def _fill(stream: IO[bytes], piece: NDArray[Any]) -> int:
    """Read into a piece until it is full or the file ends; return how many bytes."""
    room = piece.view(np.uint8).data
    done = 0
    while done < len(room):
        n_read: int = stream.readinto(room[done:])  # type: ignore[attr-defined]
        if not n_read:
            break
        done += n_read
    return done
