"""A mask for a scan: slice by slice through the network, probabilities back to full resolution.

What is held is the 16-bit scan, the mask, and a block of slices at training resolution.
Probabilities go to full resolution only around those above the threshold: interpolation between
others cannot rise above it.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kidneyseg.ct.resampling import Axis, average, interpolation_matrix, resample, training_axes
from kidneyseg.ct.slices import PADDING_HU, fitting_window, image_input
from kidneyseg.ct.volumes import Volume
from kidneyseg.model.folder import Model
from kidneyseg.training.loss import kidney_logits

BATCH_SIZE = {"cpu": 1, "cuda": 8}  # slices at a time; a processor's caches hold one best
BLOCK_SLICES = 64  # brought to training resolution at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSlices:
    """The mask of some neighbouring slices of a scan."""

    first: int  # index of the first one
    mask: NDArray[np.uint8]  # (N, rows, columns), full resolution, 1 is kidney


@dataclass(frozen=True, slots=True, kw_only=True)
class _Images:
    """Neighbouring slices at training resolution, with those that they are seen with."""

    first: int  # index of the first slice to predict
    n: int  # slices to predict
    hu: NDArray[np.int16]  # (n + 2 reach, rows, columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Seen:
    """What the network says of a batch; on a GPU, perhaps not yet."""

    images: _Images
    probabilities: Tensor  # (n, *slice_size)


def predict_slices(
    model: Model, scan: Volume[np.int16], *, flips: bool = False
) -> Iterator[PredictedSlices]:
    """Predict a scan from its first slice to its last, a batch at a time.

    With `flips`, probabilities are averaged with those of the slices mirrored left to right.
    """
    _, row_mm, column_mm = scan.geometry.spacing_mm
    yield from predict_array(model, scan.array, (row_mm, column_mm), flips=flips)


def predict_mask(model: Model, scan: Volume[np.int16], *, flips: bool = False) -> NDArray[np.uint8]:
    """The mask of a whole scan, (slices, rows, columns), canonical; 1 is kidney."""
    mask = np.zeros(scan.array.shape, np.uint8)
    for part in predict_slices(model, scan, flips=flips):
        mask[part.first : part.first + len(part.mask)] = part.mask
    return mask


def predict_array(
    model: Model,
    scan_hu: NDArray[np.int16],  # (slices, rows, columns), canonical, in any memory layout
    spacing_mm: tuple[float, float],  # (row, column)
    *,
    flips: bool = False,
) -> Iterator[PredictedSlices]:
    """Predict as `predict_slices` does, an array that comes from elsewhere.

    A GPU works on one batch while the batch before goes to full resolution.
    """
    _, rows, columns = scan_hu.shape
    axes = training_axes((rows, columns), spacing_mm, model.description.preprocessing)
    up = interpolation_matrix(axes[0]), interpolation_matrix(axes[1])
    before: _Seen | None = None
    for images in _batches(scan_hu, axes, model):
        seen = _see(model, images, flips=flips)
        if before is not None:
            yield _to_full_resolution(model, before, up)
        before = seen
    if before is not None:
        yield _to_full_resolution(model, before, up)


def _batches(
    scan_hu: NDArray[np.int16],  # (slices, rows, columns)
    axes: tuple[Axis, Axis],
    model: Model,
) -> Iterator[_Images]:
    """Yield batches at training resolution; the ends of the scan stand in beyond themselves."""
    n_slices, reach = len(scan_hu), model.description.network.input_slices // 2
    batch_size = BATCH_SIZE[model.device.type]
    for start in range(0, n_slices, BLOCK_SLICES):
        stop = min(start + BLOCK_SLICES, n_slices)
        lowest = max(start - reach, 0)
        block = average(scan_hu[lowest : stop + reach], axes, np.int16)
        for first in range(start, stop, batch_size):
            last = min(first + batch_size, stop)
            wanted = np.clip(np.arange(first - reach, last + reach), 0, n_slices - 1) - lowest
            yield _Images(first=first, n=last - first, hu=block[wanted])


@torch.inference_mode()
def _see(model: Model, images: _Images, *, flips: bool) -> _Seen:
    """Show a batch to the network, each slice with its neighbours."""
    settings = model.description.preprocessing
    source, target = fitting_window(images.hu.shape[1:], settings.slice_size)
    padded = np.full((len(images.hu), *settings.slice_size), PADDING_HU, np.int16)
    padded[:, *target] = images.hu[:, *source]
    channels = model.description.network.input_slices
    stacked = np.stack([padded[i : i + channels] for i in range(images.n)])
    x = image_input(torch.from_numpy(stacked).to(model.device), settings.hu_window)
    probabilities = _probabilities(model, x)
    if flips:
        mirrored = _probabilities(model, x.flip(-1)).flip(-1)
        probabilities = (probabilities + mirrored) / 2
    return _Seen(images=images, probabilities=probabilities)


def _probabilities(
    model: Model,
    x: Tensor,  # (N, C, rows, columns) in [-1, 1]
) -> Tensor:  # (N, rows, columns)
    logits: Tensor = model.network(x.contiguous(memory_format=torch.channels_last))
    return torch.sigmoid(kidney_logits(logits).float())[:, 0]


def _to_full_resolution(
    model: Model,
    seen: _Seen,
    up: tuple[NDArray[np.float32], NDArray[np.float32]],  # (n_full, n_training) of rows, columns
) -> PredictedSlices:
    """Bring probabilities to full resolution, 0 outside what the network sees, and compare them."""
    images = seen.images
    slice_size = model.description.preprocessing.slice_size
    source, target = fitting_window(images.hu.shape[1:], slice_size)
    probabilities = np.zeros((images.n, *images.hu.shape[1:]), np.float32)
    probabilities[:, *source] = seen.probabilities.cpu().numpy()[:, *target]
    mask = np.zeros((images.n, len(up[0]), len(up[1])), np.uint8)
    above = probabilities.max(axis=0) > model.description.threshold
    if above.any():
        full_rows, rows = _reach(up[0], above.max(axis=1))
        full_columns, columns = _reach(up[1], above.max(axis=0))
        raised = resample(
            probabilities[:, rows, columns], up[0][full_rows, rows], up[1][full_columns, columns]
        )
        mask[:, full_rows, full_columns] = raised > model.description.threshold
    return PredictedSlices(first=images.first, mask=mask)


def _reach(
    up: NDArray[np.float32],  # (n_full, n_training)
    wanted: NDArray[np.bool_],  # (n_training,)
) -> tuple[slice, slice]:
    """The full-resolution pixels that wanted ones take part in, and all that those are made of."""
    full = _extent(up[:, wanted].max(axis=1))
    return full, _extent(up[full].max(axis=0))


def _extent(weights: NDArray[np.float32]) -> slice:
    found = np.flatnonzero(weights)
    return slice(int(found[0]), int(found[-1]) + 1)
