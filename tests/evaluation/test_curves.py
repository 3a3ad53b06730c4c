"""Curves: found by the model's weights, read as they were written, drawn where they lie."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torch.utils.tensorboard import SummaryWriter

from kidneyseg.evaluation.charts import COLOURS, PANEL_PX, _round_ticks, write_charts
from kidneyseg.evaluation.curves import Curve, read_curves


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Three epochs of training, of which the third was begun again; no validation."""
    with SummaryWriter(str(tmp_path / "training")) as writer:
        for epoch, value in enumerate((0.5, 0.6, 0.1), 1):
            writer.add_scalar("dice", value, epoch)
    with SummaryWriter(str(tmp_path / "training"), purge_step=3) as writer:
        writer.add_scalar("dice", 0.75, 3)
    return tmp_path


def test_a_curve_is_read_as_it_was_written(log: Path) -> None:
    curves = read_curves(log, "dice")
    assert list(curves) == ["training"]
    assert curves["training"].epochs == (1, 2, 3)
    assert curves["training"].values == pytest.approx((0.5, 0.6, 0.75))
    assert read_curves(log, "loss/dice") == {}


def test_a_chart_shows_each_curve_in_its_colour(tmp_path: Path) -> None:
    curves = {
        "training": Curve(epochs=(1, 2, 3), values=(0.2, 0.6, 0.9)),
        "validation": Curve(epochs=(1, 2, 3), values=(0.1, 0.4, 0.3)),
    }
    write_charts({"Dice": curves, "empty": {}}, best_epoch=2, path=tmp_path / "dice.png")
    with Image.open(tmp_path / "dice.png") as image:
        pixels = np.asarray(image)
    assert pixels.shape == (PANEL_PX[1], 2 * PANEL_PX[0], 3)
    below_legend = pixels[40:]
    heights = {}
    for name, colour in COLOURS.items():
        rows = np.flatnonzero((below_legend == colour).all(axis=2).any(axis=1))
        assert rows.size, name
        heights[name] = rows.min()
    assert heights["training"] < heights["validation"]


@pytest.mark.parametrize(
    ("low", "high", "ticks"),
    [
        (0.12, 0.93, [0, 0.2, 0.4, 0.6, 0.8, 1.0]),
        (0.9, 0.9, [0.9, 0.9002]),
        (0.0, 40.0, [0, 10, 20, 30, 40]),
    ],
)
def test_ticks_are_round_and_hold_all_values(low: float, high: float, ticks: list[float]) -> None:
    assert _round_ticks(low, high) == pytest.approx(ticks)
