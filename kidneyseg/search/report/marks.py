"""How trials are marked in every figure, and which are drawn where there are too many."""

from collections.abc import Callable, Sequence
from typing import Any

from kidneyseg.search.report.answer import Answer
from kidneyseg.search.report.figure import BLUE, GREY, INK, RED, Trace, harmless
from kidneyseg.search.report.words import value_words
from kidneyseg.search.study_record import TrialRecord

COMPLETE = {"color": BLUE, "symbol": "circle", "size": 7, "opacity": 0.8}
PRUNED = {"color": GREY, "symbol": "x-thin", "size": 7, "line": {"width": 1.5, "color": GREY}}
BEST = {"color": RED, "symbol": "star", "size": 15, "line": {"width": 1, "color": "#ffffff"}}
REFERENCE = {"color": INK, "symbol": "diamond-open", "size": 11, "line": {"width": 2, "color": INK}}


def marked(answer: Answer) -> list[TrialRecord]:
    """The trials that every figure marks: the best, and the reference where there is one."""
    return [answer.best, *([answer.reference.trial] if answer.reference else ())]


def marks(
    shown: Sequence[TrialRecord], answer: Answer, x_of: Callable[[TrialRecord], Any]
) -> list[Trace]:
    """Marks of complete and pruned trials, of the reference and of the best, by Dice."""
    special = marked(answer)
    groups = (
        ("complete", COMPLETE, [t for t in shown if t.is_complete and t not in special]),
        ("pruned", PRUNED, [t for t in shown if t.is_pruned and t not in special]),
        ("reference", REFERENCE, [t for t in special[1:] if t in shown]),
        ("best", BEST, [t for t in special[:1] if t in shown]),
    )
    return [
        dots(name, marker, [(x_of(trial), trial) for trial in trials])
        for name, marker, trials in groups
        if trials
    ]


def dots(name: str, marker: Trace, points: Sequence[tuple[Any, TrialRecord]]) -> Trace:
    """Trials of one kind, each at its Dice."""
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [x for x, _ in points],
        "y": [trial.dice for _, trial in points],
        "marker": marker,
        "hovertext": [hover(trial) for _, trial in points],
        "hoverinfo": "text",
    }


def hover(trial: TrialRecord) -> str:
    """What a trial says under the pointer."""
    dice = "" if trial.dice is None else f": Dice {trial.dice:.4f}"
    values = [f"{name} {value_words(value)}" for name, value in trial.params.items()]
    return "<br>".join([f"trial {trial.number}{dice}", *map(harmless, values)])


def thinned(
    trials: Sequence[TrialRecord], most: int, always: Sequence[TrialRecord]
) -> list[TrialRecord]:
    """At most about so many trials: the best quarter of the places, the rest evenly by number."""
    if len(trials) <= most:
        return list(trials)
    ranked = sorted(trials, key=lambda trial: (-(trial.dice or 0.0), trial.number))
    top = {trial.number for trial in (*always, *ranked[: most // 4])}
    others = [trial for trial in trials if trial.number not in top]
    n = most - most // 4
    spread = {others[k * len(others) // n].number for k in range(n)}
    return [trial for trial in trials if trial.number in top | spread]


def thinning_words(shown: int, of: int) -> str:
    """What a caption says where not all trials are drawn."""
    if shown >= of:
        return ""
    return (
        f" Drawn are {shown} of {of} trials: about a quarter of them the best, the others evenly "
        "spaced by number, and always the reference."
    )
