"""An evaluation in tables, for a terminal or a pipe."""

from collections.abc import Callable, Iterable

from rich.console import Console
from rich.table import Table

from kidneyseg.evaluation.evaluating import KIDNEYS, STRUCTURES
from kidneyseg.evaluation.results import Results
from kidneyseg.evaluation.statistics import Interval, Summary

PIPE_WIDTH = 120  # columns, where no terminal says how many
NAMES = {
    "dice": "Dice",
    "surface_dice_1mm": "surface Dice, 1.033 mm",
    "surface_dice_2mm": "surface Dice, 2 mm",
    "hd95_mm": "95 % Hausdorff, mm",
    "distance_to_truth_mm": "predicted to true, mm",
    "distance_to_prediction_mm": "true to predicted, mm",
    "volume_error_ml": "volume error, ml",
    "volume_error_percent": "volume error, %",
}
SHORT = ("dice", "surface_dice_2mm", "hd95_mm", "volume_error_percent")
REPORT_DICE = {"training": 0.9467, "validation": 0.9154, "test": 0.9259}


def show_results(results: Results, other: Results | None = None) -> None:
    """Print everything on stdout."""
    console = Console(highlight=False, soft_wrap=True)
    if not console.is_terminal:
        console = Console(highlight=False, width=PIPE_WIDTH)
    show: Callable[[object], None] = console.print
    show(f"{_cases(len(results.cases))} of {results.part}, whole volumes, full resolution")
    if options := results.steps.as_options():
        show(f"masks with {', '.join(options)}")
    show(_summary_table(results))
    show(_counts(results))
    show(_training_line(results))
    if len(results.cases) > 1:
        show(f"intervals: a bootstrap over {_cases(len(results.cases))}; of few, too narrow")
        show("\nlowest Dice first")
        show(_worst_table(results))
    for kind, groups in results.groups().items():
        if len(groups) > 1:
            show(f"\nby {kind}")
            show(_group_table(groups))
    if other is not None:
        show("\nthe other model minus this one, the same cases")
        show(_comparison_table(results, other))


def _summary_table(results: Results) -> Table:
    table = _table("", "", "mean", "SD", "95 % interval", "median", "quartiles")
    for structure in STRUCTURES:
        for place, measure in enumerate(NAMES):
            summary = results.summary(measure, structure)
            label = structure if place == 0 else ""
            table.add_row(label, NAMES[measure], *_columns(summary, _digits(measure)))
        table.add_section()
    return table


def _columns(summary: Summary, digits: int) -> tuple[str, ...]:
    """A summary's columns; of one case there is but the figure."""
    if summary.n == 1:
        return (f"{summary.mean:.{digits}f}", "", "", "", "")
    return (
        f"{summary.mean:.{digits}f}",
        "" if summary.sd is None else f"{summary.sd:.{digits}f}",
        _range(summary.interval, digits),
        f"{summary.median:.{digits}f}",
        _range(summary.quartiles, digits),
    )


def _counts(results: Results) -> str:
    missed, false = results.count("missed_kidneys"), results.count("false_kidneys")
    return f"kidneys missed: {missed}; false kidneys: {false}"


def _training_line(results: Results) -> str:
    """The report's own way, beside its own number."""
    summary = results.training_summary()
    interval = _range(summary.interval, 4)
    line = (
        f"at training resolution, slices near the kidney: Dice {summary.mean:.4f}"
        f"{f' ({interval})' if interval else ''}"
    )
    report = REPORT_DICE.get(results.part.value)
    return line if report is None else f"{line}; the report's: {report:.4f} on its own cases"


def _worst_table(results: Results) -> Table:
    table = _table("case", *(NAMES[measure] for measure in SHORT), "missed", "false")
    by_name = {result.case.case.name: result for result in results.cases}
    for name in results.worst():
        result = by_name[name]
        figures = [
            f"{getattr(result.measures[KIDNEYS], measure):.{_digits(measure)}f}"
            for measure in SHORT
        ]
        table.add_row(name, *figures, str(result.missed_kidneys), str(result.false_kidneys))
    return table


def _group_table(groups: dict[str, Results]) -> Table:
    table = _table("", "cases", *(f"{NAMES[measure]} (95 %)" for measure in SHORT[:3]))
    for name, group in groups.items():
        figures: Iterable[str] = (
            f"{one.mean:.{_digits(measure)}f} ({_range(one.interval, _digits(measure))})"
            for measure, one in ((measure, group.summary(measure)) for measure in SHORT[:3])
        )
        table.add_row(name, str(len(group.cases)), *figures)
    return table


def _comparison_table(results: Results, other: Results) -> Table:
    table = _table("", "difference", "95 % interval", "Wilcoxon p")
    compared = results.comparison(other)[KIDNEYS]
    names = {**NAMES, "training_dice": "Dice, training resolution"}
    for measure, name in names.items():
        one, digits = compared[measure], _digits(measure)
        interval = _range(one.interval, digits)
        table.add_row(name, f"{one.difference:+.{digits}f}", interval, f"{one.p:.3g}")
    return table


def _digits(measure: str) -> int:
    return 4 if "dice" in measure else 2


def _range(pair: Interval | None, digits: int) -> str:
    return "" if pair is None else f"{pair[0]:.{digits}f} to {pair[1]:.{digits}f}"


def _cases(n: int) -> str:
    return f"{n} case{'s' * (n != 1)}"


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for place, name in enumerate(columns):
        words = place == 0 or not name
        table.add_column(name, justify="left" if words else "right", no_wrap=words)
    return table
