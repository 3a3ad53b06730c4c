"""A contact sheet: every volume as two small pictures, kidneys outlined, to be looked at by people.

The one door to Pillow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

from kidneyseg.ct.cases import read_case
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.files import replacing
from kidneyseg.settings import DataSettings

PICTURE_PX = 160  # each picture's box, square
TEXT_PX = 14
OUTLINE = (255, 200, 0)
TEXT = (255, 255, 255)
MEMORY_EACH = 3 * 2**29  # bytes for one process, as for preparing


@dataclass(frozen=True, slots=True, kw_only=True)
class CasePictures:
    """What the sheet shows of a case."""

    name: str
    shape: tuple[int, int, int]  # (slices, rows, columns)
    slice_mm: float
    axial: NDArray[np.uint8]  # (PICTURE_PX, PICTURE_PX, 3): the slice with most kidney
    coronal: NDArray[np.uint8]  # same shape: the plane with most kidney


@dataclass(frozen=True, slots=True, kw_only=True)
class DrawCase:
    """The drawing of cases, to be sent to other processes."""

    settings: DataSettings

    def __call__(self, case: CaseFingerprint) -> CasePictures:
        """Read a case and draw it. Raises DataError as `read_case` does."""
        volumes = read_case(case.case, self.settings.kidney_labels, self.settings.other_labels)
        slice_mm, row_mm, column_mm = volumes.geometry.spacing_mm
        k = int(volumes.kidney.sum(axis=(1, 2)).argmax())
        row = int(volumes.kidney.sum(axis=(0, 2)).argmax())
        window = self.settings.hu_window
        return CasePictures(
            name=case.case.name,
            shape=volumes.geometry.shape,
            slice_mm=slice_mm,
            axial=_picture(volumes.scan_hu[k], volumes.kidney[k], (row_mm, column_mm), window),
            coronal=_picture(
                volumes.scan_hu[:, row], volumes.kidney[:, row], (slice_mm, column_mm), window
            ),
        )


def write_contact_sheet(cases: Sequence[CasePictures], path: Path) -> None:
    """Write the pictures of cases, in the order given, as one PNG about as wide as high."""
    wide, high = 2 * PICTURE_PX, PICTURE_PX + TEXT_PX
    n_columns = max(1, math.ceil(math.sqrt(len(cases) * high / wide)))
    n_rows = math.ceil(len(cases) / n_columns)
    sheet = Image.new("RGB", (n_columns * wide, n_rows * high))
    draw = ImageDraw.Draw(sheet)
    for number, case in enumerate(cases):
        x, y = number % n_columns * wide, number // n_columns * high
        sheet.paste(Image.fromarray(case.axial), (x, y + TEXT_PX))
        sheet.paste(Image.fromarray(case.coronal), (x + PICTURE_PX, y + TEXT_PX))
        size = " x ".join(map(str, case.shape))
        draw.text((x + 2, y + 1), f"{case.name}  {size}, {case.slice_mm:g} mm", fill=TEXT)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def _picture(
    hu: NDArray[np.int16],  # (rows, columns)
    kidney: NDArray[np.bool_],  # same shape
    spacing_mm: tuple[float, float],  # (row, column)
    hu_window: tuple[float, float],
) -> NDArray[np.uint8]:  # (PICTURE_PX, PICTURE_PX, 3)
    """Window, fit into the box with pixels that are square, and outline the kidney."""
    low, high = hu_window
    grey = ((np.clip(hu, low, high) - low) * (255 / (high - low))).astype(np.uint8)
    sizes_mm = [n * mm for n, mm in zip(hu.shape, spacing_mm, strict=True)]
    rows, columns = (max(1, round(PICTURE_PX * size / max(sizes_mm))) for size in sizes_mm)
    small = Image.fromarray(grey).resize((columns, rows), Image.Resampling.BOX)
    mask = Image.fromarray(kidney.astype(np.uint8) * 255)
    inside = np.asarray(mask.resize((columns, rows), Image.Resampling.BOX)) >= 128
    picture = np.repeat(np.asarray(small)[:, :, None], 3, axis=2)
    picture[inside & ~ndimage.binary_erosion(inside)] = OUTLINE
    box = np.zeros((PICTURE_PX, PICTURE_PX, 3), np.uint8)
    top, left = (PICTURE_PX - rows) // 2, (PICTURE_PX - columns) // 2
    box[top : top + rows, left : left + columns] = picture
    return box
