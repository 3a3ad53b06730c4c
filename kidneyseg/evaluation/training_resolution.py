"""The report's own way: Dice at training resolution, on the slices near the kidney.

The same number that training calls validation Dice. It flatters: the label says which slices are
looked at, and the truth is averaged to the network's own pixels.
"""

import numpy as np
import torch
from numpy.typing import NDArray

from kidneyseg.ct.cases import CaseVolumes
from kidneyseg.ct.preparation import LABEL_SCALE, prepare_slices
from kidneyseg.ct.slices import PADDING_HU, fitting_window, image_input
from kidneyseg.model.folder import Model
from kidneyseg.training.dice import VolumeDice
from kidneyseg.training.loss import kidney_logits

BATCH_SIZE = 8  # slices at a time


@torch.inference_mode()
def training_dice(model: Model, volumes: CaseVolumes) -> float:
    """The Dice of a case as training computes it; a pixel is kidney where half of it is."""
    settings = model.description.preprocessing
    slices = prepare_slices(volumes, settings)
    images = _fitted(slices.images, settings.slice_size, PADDING_HU)
    truth = torch.from_numpy(_fitted(slices.labels, settings.slice_size, 0) * 2 >= LABEL_SCALE)
    _, target = fitting_window(slices.labels.shape[1:], settings.slice_size)
    inside = torch.zeros(settings.slice_size, dtype=torch.bool)
    inside[target] = True
    dice = VolumeDice(1, torch.device("cpu"))
    reach = model.description.network.input_slices // 2
    for first in range(0, len(images), BATCH_SIZE):
        numbers = np.arange(first, min(first + BATCH_SIZE, len(images)))
        neighbours = numbers[:, None] + np.arange(-reach, reach + 1)
        batch = torch.from_numpy(images[neighbours.clip(0, len(images) - 1)]).to(model.device)
        x = image_input(batch, settings.hu_window).contiguous(memory_format=torch.channels_last)
        probabilities = torch.sigmoid(kidney_logits(model.network(x)).float()).cpu()
        predicted = (probabilities > model.description.threshold) & inside
        dice.add(predicted, truth[numbers, None], torch.zeros(len(numbers), dtype=torch.int64))
    return dice.per_volume()[0]


def _fitted(
    slices: NDArray[np.generic],  # (N, rows, columns)
    slice_size: tuple[int, int],
    padding: int,
) -> NDArray[np.int16]:  # (N, *slice_size)
    """Crop or pad slices about their centre, as `SliceDataset` does."""
    source, target = fitting_window(slices.shape[1:], slice_size)
    fitted = np.full((len(slices), *slice_size), padding, np.int16)
    fitted[:, *target] = slices[:, *source]
    return fitted
