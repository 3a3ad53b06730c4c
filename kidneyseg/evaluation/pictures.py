"""The report's figures 8 to 11 as PNG: Dice and losses by epoch, the best and the worst slices."""

from pathlib import Path

from kidneyseg.evaluation.charts import write_charts
from kidneyseg.evaluation.curves import find_log, read_curves
from kidneyseg.evaluation.results import Results
from kidneyseg.evaluation.slice_pictures import best_of_all, worst_of_all
from kidneyseg.evaluation.slice_sheet import write_slice_sheet
from kidneyseg.runs import Runs

LOSSES = {
    "Combined loss": "loss/combined",
    "Dice loss": "loss/dice",
    "Weighted cross-entropy": "loss/cross_entropy",
}


def write_pictures(results: Results, runs: Runs, folder: Path) -> list[Path]:
    """Write all pictures that can be drawn; without the training's log there are no curves."""
    written = [folder / "best.png", folder / "worst.png"]
    where = f"{results.part.value} cases"
    best = best_of_all(result.best for result in results.cases)
    worst = worst_of_all(result.worst for result in results.cases)
    write_slice_sheet(best, f"Best slices, {where}", written[0])
    write_slice_sheet(worst, f"Worst slices, {where}", written[1])
    log = find_log(runs, results.description)
    if log is not None:
        written += _write_curves(log, results.description.validation.epoch, folder)
    return written


def _write_curves(log: Path, best_epoch: int, folder: Path) -> list[Path]:
    charts = {
        folder / "dice.png": {"Dice per volume": read_curves(log, "dice")},
        folder / "losses.png": {title: read_curves(log, tag) for title, tag in LOSSES.items()},
    }
    drawn = {path: panels for path, panels in charts.items() if any(panels.values())}
    for path, panels in drawn.items():
        write_charts(panels, best_epoch, path)
    return list(drawn)
