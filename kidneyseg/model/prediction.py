"""A mask for a scan: slice by slice through the network, probabilities back to full resolution."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kidneyseg.ct.resampling import (
    average_matrix,
    interpolation_matrix,
    resample,
    training_axes,
)
from kidneyseg.ct.slices import PADDING_HU, fitting_window, image_input
from kidneyseg.ct.volumes import Volume
from kidneyseg.model.folder import Model
from kidneyseg.training.loss import kidney_logits

BATCH_SIZE = 8  # slices at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class PredictedSlices:
    """The mask of some neighbouring slices of a scan."""

    first: int  # index of the first one
    mask: NDArray[np.uint8]  # (N, rows, columns), full resolution, 1 is kidney


def predict_slices(model: Model, scan: Volume[np.int16]) -> Iterator[PredictedSlices]:
    """Predict a scan from its first slice to its last, a batch at a time."""
    settings = model.description.preprocessing
    _, row_mm, column_mm = scan.geometry.spacing_mm
    axes = training_axes(scan.array.shape[1:], (row_mm, column_mm), settings)
    down = tuple(average_matrix(axis) for axis in axes)
    up = tuple(interpolation_matrix(axis) for axis in axes)
    reach = model.description.network.input_slices // 2
    n_slices = len(scan.array)
    for first in range(0, n_slices, BATCH_SIZE):
        last = min(first + BATCH_SIZE, n_slices)
        wanted = np.clip(np.arange(first - reach, last + reach), 0, n_slices - 1)
        images = np.rint(resample(scan.array[wanted], *down))
        probabilities = _probabilities(model, images, n=last - first)
        mask = resample(probabilities, *up) > model.description.threshold
        yield PredictedSlices(first=first, mask=mask.astype(np.uint8))


def predict_mask(model: Model, scan: Volume[np.int16]) -> NDArray[np.uint8]:
    """The mask of a whole scan, (slices, rows, columns), canonical; 1 is kidney."""
    mask = np.zeros(scan.array.shape, np.uint8)
    for part in predict_slices(model, scan):
        mask[part.first : part.first + len(part.mask)] = part.mask
    return mask


@torch.inference_mode()
def _probabilities(
    model: Model,
    images: NDArray[np.float32],  # (n + 2 reach, rows, columns), HU, training resolution
    n: int,
) -> NDArray[np.float32]:  # (n, rows, columns), 0 outside what the network sees
    """Probabilities of the n middle slices, each seen with its neighbours."""
    settings = model.description.preprocessing
    source, target = fitting_window(images.shape[1:], settings.slice_size)
    padded = np.full((len(images), *settings.slice_size), PADDING_HU, np.float32)
    padded[:, *target] = images[:, *source]
    channels = model.description.network.input_slices
    stacked = np.stack([padded[i : i + channels] for i in range(n)])
    x = image_input(torch.from_numpy(stacked).to(model.device), settings.hu_window)
    logits: Tensor = model.network(x.contiguous(memory_format=torch.channels_last))
    seen = torch.sigmoid(kidney_logits(logits).float())[:, 0].cpu().numpy()
    probabilities = np.zeros((n, *images.shape[1:]), np.float32)
    probabilities[:, *source] = seen[:, *target]
    return probabilities
