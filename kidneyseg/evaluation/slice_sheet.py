"""A sheet of slices with the true and the predicted kidney outlined, as PNG (figures 10 and 11)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_erosion

from kidneyseg.evaluation.slice_pictures import SlicePicture
from kidneyseg.files import replacing
from kidneyseg.training.pictures import PREDICTED_COLOUR, TRUE_COLOUR

TILE_PX = 320
FINER = 3  # outlines are drawn this much finer, then averaged: no stairs
OUTLINE_PX = 4  # of the finer picture
CAPTION_PX, TITLE_PX, GAP_PX = 24, 52, 8
COLUMNS = 4
PAPER, INK = (16, 18, 22), (226, 228, 232)


def write_slice_sheet(pictures: Sequence[SlicePicture], title: str, path: Path) -> None:
    """Write slices in the order given, each with its case, number and Dice."""
    n_columns = min(COLUMNS, max(1, len(pictures)))
    n_rows = -(-len(pictures) // n_columns)
    step = TILE_PX + GAP_PX
    width = max(n_columns * step + GAP_PX, 2 * step + GAP_PX)
    height = TITLE_PX + n_rows * (step + CAPTION_PX) + GAP_PX
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    _write_title(draw, title, width)
    small = ImageFont.load_default(14)
    for place, picture in enumerate(pictures):
        x = GAP_PX + place % n_columns * step
        y = TITLE_PX + place // n_columns * (step + CAPTION_PX)
        sheet.paste(Image.fromarray(draw_slice(picture)), (x, y))
        caption = f"{picture.case}, slice {picture.number}: Dice {picture.dice:.3f}"
        draw.text((x + 2, y + TILE_PX + 4), caption, fill=INK, font=small)
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


def draw_slice(picture: SlicePicture) -> NDArray[np.uint8]:  # (TILE_PX, TILE_PX, 3)
    """Draw a slice with both outlines; where they meet, the predicted one lies on top."""
    sizes = [n * mm for n, mm in zip(picture.grey.shape, picture.pixel_mm, strict=True)]
    rows, columns = (round(TILE_PX * size / max(sizes)) for size in sizes)
    grey = Image.fromarray(picture.grey).resize((columns, rows), Image.Resampling.BICUBIC)
    drawn = np.repeat(np.asarray(grey, np.float32)[..., None], 3, axis=2)
    for mask, colour in ((picture.truth, TRUE_COLOUR), (picture.predicted, PREDICTED_COLOUR)):
        cover = _outline(mask, (rows, columns))[..., None]
        drawn = drawn * (1 - cover) + np.array(colour, np.float32) * cover
    tile = np.zeros((TILE_PX, TILE_PX, 3), np.uint8)
    top, left = (TILE_PX - rows) // 2, (TILE_PX - columns) // 2
    tile[top : top + rows, left : left + columns] = np.rint(drawn).astype(np.uint8)
    return tile


def _outline(mask: NDArray[np.bool_], size: tuple[int, int]) -> NDArray[np.float32]:
    """How much of each picture pixel the outline covers, (rows, columns) in [0, 1]."""
    rows, columns = size
    fine = Image.fromarray(mask.astype(np.uint8) * 255).resize(
        (columns * FINER, rows * FINER), Image.Resampling.BILINEAR
    )
    inside = np.asarray(fine) >= 128
    line = inside & ~binary_erosion(inside, iterations=OUTLINE_PX, border_value=1)
    blocks = line.reshape(rows, FINER, columns, FINER)
    cover: NDArray[np.float32] = blocks.mean(axis=(1, 3), dtype=np.float32)
    return cover


def _write_title(draw: ImageDraw.ImageDraw, title: str, width: int) -> None:
    """The title on the left, what the colours mean on the right."""
    draw.text((GAP_PX + 2, 14), title, fill=INK, font=ImageFont.load_default(20))
    font = ImageFont.load_default(16)
    x = width - GAP_PX
    for word, colour in (("predicted", PREDICTED_COLOUR), ("true", TRUE_COLOUR)):
        x -= round(draw.textlength(word, font=font))
        draw.text((x, 17), word, fill=colour, font=font)
        x -= 30
        draw.line((x, 27, x + 22, 27), fill=colour, width=3)
        x -= 18
