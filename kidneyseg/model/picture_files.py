"""Pictures of a training's best epoch as PNG files, to be seen without TensorBoard."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kidneyseg.files import replacing_folder

N_WORST, N_BEST = 4, 2  # pictures: of the cases where the network does worst, and best


def write_pictures(
    folder: Path,
    pictures: Mapping[str, NDArray[np.uint8]],  # (H, W, 3), by case name
    dice_of_case: Mapping[str, float],
) -> None:
    """Write `<case>.png` for the cases of lowest and highest Dice, all or none; older ones go."""
    ranked = sorted(pictures, key=lambda name: (dice_of_case[name], name))
    chosen = dict.fromkeys([*ranked[:N_WORST], *ranked[N_WORST:][-N_BEST:]])
    with replacing_folder(folder) as temporary:
        for name in chosen:
            Image.fromarray(pictures[name]).save(temporary / f"{name}.png")
