"""Pictures of a training's best epoch as PNG files, to be seen without TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kidneyseg.files import replacing_folder

MOST = 6  # pictures: of the cases where the network does worst


def write_pictures(
    folder: Path,
    pictures: Mapping[str, NDArray[np.uint8]],  # (H, W, 3), by case name
    dice_of_case: Mapping[str, float],
) -> None:
    """Write `<case>.png` for the `MOST` cases of lowest Dice, all or none; older ones go."""
    worst = sorted(pictures, key=lambda name: (dice_of_case[name], name))[:MOST]
    with replacing_folder(folder) as temporary:
        for name in worst:
            Image.fromarray(pictures[name]).save(temporary / f"{name}.png")
