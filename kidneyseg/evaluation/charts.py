"""Curves by epoch as PNG (the report's figures 8 and 9)."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kidneyseg.evaluation.curves import Curve, Curves
from kidneyseg.files import replacing
from kidneyseg.training.pictures import PREDICTED_COLOUR, TRUE_COLOUR

COLOURS = {"training": TRUE_COLOUR, "validation": PREDICTED_COLOUR}
PANEL_PX = (520, 380)
FINER = 2  # drawn this much larger, then averaged: no stairs
MARGIN_PX = (58, 46, 20, 44)  # left, top, right, bottom
INK, FAINT, PAPER = (40, 42, 48), (222, 224, 228), (255, 255, 255)
N_TICKS = 5


def write_charts(panels: Mapping[str, Curves], best_epoch: int, path: Path) -> None:
    """Write panels side by side, by title; a dotted line marks the epoch that was kept."""
    width, height = PANEL_PX
    sheet = Image.new("RGB", (width * len(panels), height), PAPER)
    for place, (title, curves) in enumerate(panels.items()):
        panel = _Panel(curves, best_epoch).draw(title)
        sheet.paste(panel.resize(PANEL_PX, Image.Resampling.BOX), (place * width, 0))
    with replacing(path) as temporary:
        sheet.save(temporary, format="PNG")


class _Panel:
    """One set of axes, and where a value lies on them."""

    def __init__(self, curves: Curves, best_epoch: int) -> None:
        self._curves = curves
        self._best_epoch = best_epoch
        epochs = [epoch for curve in curves.values() for epoch in curve.epochs]
        values = [value for curve in curves.values() for value in curve.values]
        self._ticks = _round_ticks(min(values, default=0.0), max(values, default=1.0))
        self._last_epoch = max([*epochs, 2])
        left, top, right, bottom = (FINER * n for n in MARGIN_PX)
        width, height = (FINER * n for n in PANEL_PX)
        self._box = (left, top, width - right, height - bottom)
        self._image = Image.new("RGB", (width, height), PAPER)
        self._draw = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(13 * FINER)

    def draw(self, title: str) -> Image.Image:
        """Draw it all."""
        left, top, _, bottom = self._box
        large = ImageFont.load_default(16 * FINER)
        self._draw.text((left, top - 34 * FINER), title, fill=INK, font=large)
        self._draw_grid()
        x = self._x(self._best_epoch)
        for y in range(top, bottom, 8 * FINER):
            self._draw.line((x, y, x, y + 4 * FINER), fill=INK, width=FINER)
        for name, curve in self._curves.items():
            self._draw_curve(name, curve)
        self._draw_legend()
        return self._image

    def _draw_grid(self) -> None:
        left, _, right, bottom = self._box
        for value in self._ticks:
            y, text = self._y(value), f"{value:g}"
            self._draw.line((left, y, right, y), fill=FAINT, width=FINER)
            wide = self._draw.textlength(text, font=self._font)
            self._draw.text(
                (left - wide - 6 * FINER, y - 8 * FINER), text, fill=INK, font=self._font
            )
        step = max(1, -(-self._last_epoch // 10))
        for epoch in range(step, self._last_epoch + 1, step):
            text = str(epoch)
            x = self._x(epoch) - self._draw.textlength(text, font=self._font) / 2
            self._draw.text((x, bottom + 5 * FINER), text, fill=INK, font=self._font)
        middle = (left + right - self._draw.textlength("epoch", font=self._font)) / 2
        self._draw.text((middle, bottom + 22 * FINER), "epoch", fill=INK, font=self._font)

    def _draw_curve(self, name: str, curve: Curve) -> None:
        points = [
            (self._x(epoch), self._y(value))
            for epoch, value in zip(curve.epochs, curve.values, strict=True)
        ]
        self._draw.line(points, fill=COLOURS[name], width=2 * FINER, joint="curve")
        if len(points) <= 30:
            for x, y in points:
                r = 3 * FINER
                self._draw.ellipse((x - r, y - r, x + r, y + r), fill=COLOURS[name])

    def _draw_legend(self) -> None:
        _, top, x, _ = self._box
        for name in reversed(self._curves):
            x -= round(self._draw.textlength(name, font=self._font))
            self._draw.text((x, top - 31 * FINER), name, fill=INK, font=self._font)
            x -= 26 * FINER
            y = top - 22 * FINER
            self._draw.line((x, y, x + 20 * FINER, y), fill=COLOURS[name], width=3 * FINER)
            x -= 14 * FINER

    def _x(self, epoch: float) -> float:
        left, _, right, _ = self._box
        inner = (right - left) * 0.94
        return left + (right - left) * 0.03 + inner * (epoch - 1) / (self._last_epoch - 1)

    def _y(self, value: float) -> float:
        _, top, _, bottom = self._box
        low, high = self._ticks[0], self._ticks[-1]
        return bottom - (bottom - top) * (value - low) / (high - low)


def _round_ticks(low: float, high: float) -> list[float]:
    """Round numbers, evenly spaced, around all values."""
    span = max(high - low, 1e-3)
    rough = span / N_TICKS
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(m * power for m in (1, 2, 5, 10) if m * power >= rough))
    first, last = int(np.floor(low / step)), int(np.ceil(high / step))
    return [round(n * step, 10) for n in range(first, max(last, first + 1) + 1)]
