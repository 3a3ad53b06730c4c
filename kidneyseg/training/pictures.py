"""Pictures of slices with the true and the predicted kidney outlined, for people to judge by."""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_erosion
from torch import Tensor

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.training.inputs import SliceInputs

TRUE_COLOUR = (0, 158, 255)  # blue and orange: told apart by the colour-blind too
PREDICTED_COLOUR = (255, 140, 0)
ZOOM = 3  # picture pixels per slice pixel
AT_ONCE = 256  # slices counted at a time

T = TypeVar("T", bound=np.generic)


def fullest_slices(slices: SliceDataset) -> dict[str, int]:
    """The number of the slice with most kidney of each case, by case name."""
    kidney = np.concatenate(
        [
            slices.batch(range(first, min(first + AT_ONCE, len(slices)))).labels.sum((1, 2)).cpu()
            for first in range(0, len(slices), AT_ONCE)
        ]
    )
    volumes = slices.volumes.cpu().numpy()
    return {
        name: int(np.flatnonzero(volumes == volume)[kidney[volumes == volume].argmax()])
        for volume, name in enumerate(slices.case_names)
    }


def outlines(
    inputs: SliceInputs,
    predicted: Tensor,  # (N, 1, H, W) bool
) -> list[NDArray[np.uint8]]:  # (ZOOM H, ZOOM W, 3) each
    """The labelled slice of each input with its true and its predicted outline."""
    middle = inputs.images[:, inputs.images.shape[1] // 2]
    planes = (middle, inputs.kidney()[:, 0], predicted[:, 0])
    stacks = [plane.cpu().numpy() for plane in planes]
    return [outline(*three) for three in zip(*stacks, strict=True)]


def outline(
    image: NDArray[np.float32],  # (H, W) in [-1, 1]
    truth: NDArray[np.bool_],  # (H, W)
    predicted: NDArray[np.bool_],  # (H, W)
) -> NDArray[np.uint8]:  # (ZOOM H, ZOOM W, 3)
    """A grey slice with two outlines, one picture pixel wide; the prediction lies on top."""
    grey = ((np.clip(image, -1, 1) + 1) * 127.5).astype(np.uint8)
    picture = np.repeat(_zoom(grey)[..., None], 3, axis=2)
    for mask, colour in ((truth, TRUE_COLOUR), (predicted, PREDICTED_COLOUR)):
        large = _zoom(mask)
        picture[large & ~binary_erosion(large)] = colour
    return picture


def _zoom(plane: NDArray[T]) -> NDArray[T]:
    return plane.repeat(ZOOM, axis=0).repeat(ZOOM, axis=1)
