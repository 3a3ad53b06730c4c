"""Figures of the search: how it went on, the trials' curves, and what pruning saved."""

from collections import Counter
from collections.abc import Sequence
from itertools import accumulate
from typing import Any

from kidneyseg.search.report.answer import Answer
from kidneyseg.search.report.figure import (
    BLUE,
    GREY,
    INK,
    ORANGE,
    PALE,
    RED,
    Figure,
    Spec,
    Trace,
    drawing,
    padded,
    titled,
)
from kidneyseg.search.report.marks import (
    PRUNED,
    dots,
    marked,
    marks,
    thinned,
    thinning_words,
)
from kidneyseg.search.report.words import counted, hours_words
from kidneyseg.search.study_record import StudyRecord, TrialRecord

MOST_POINTS = 2000  # trials in the history
MOST_CURVES = 200
DICE = "validation Dice"


def history(record: StudyRecord, answer: Answer) -> Figure:
    """Validation Dice by trial, in their order, and the best so far."""
    trials = [trial for trial in record.finished if trial.dice is not None]
    shown = thinned(trials, MOST_POINTS, marked(answer))
    complete = record.complete
    line: Trace = {
        "type": "scatter",
        "mode": "lines",
        "name": "best so far",
        "x": [trial.number for trial in complete],
        "y": list(accumulate((trial.value or 0.0 for trial in complete), max)),
        "line": {"color": ORANGE, "width": 2, "shape": "hv"},
        "hoverinfo": "skip",
    }
    traces = [line, *marks(shown, answer, lambda trial: trial.number)]
    dice = [trial.dice or 0.0 for trial in trials]
    return Figure(
        title="Optimisation history",
        caption="Each mark is a trial, in the order in which they began. A pruned trial stands at "
        "the best Dice that it had come to. The line is the best complete trial so far."
        f"{thinning_words(len(shown), len(trials))}",
        drawings=(
            drawing(
                traces,
                400,
                xaxis={**titled("trial"), **padded([trial.number for trial in trials])},
                yaxis={**titled(DICE), **padded(dice)},
            ),
        ),
    )


def curves(record: StudyRecord, answer: Answer) -> Figure:
    """Validation Dice by epoch, of all trials."""
    trials = [trial for trial in record.finished if trial.curve]
    shown = thinned(trials, MOST_CURVES, marked(answer))
    others = [trial for trial in shown if trial not in marked(answer)]
    drawn = drawing(
        [trace for trace in _curve_traces(others, answer) if trace["x"]],
        420,
        xaxis=_epoch_axis(trials),
        yaxis={**titled(DICE), **padded([dice for t in shown for dice in t.curve.values()])},
    )
    return Figure(
        title="Curves of all trials",
        caption="Validation Dice after each epoch. Pruned trials are dotted and end in a cross"
        f"{_reference_words(answer)}. A trial's value is that of its best epoch."
        f"{thinning_words(len(shown), len(trials))}",
        drawings=(drawn,),
    )


def pruning(record: StudyRecord) -> Figure:
    """How many trials trained each epoch."""
    title, n = "What pruning saved", len(record.pruned)
    if not n:
        return Figure(title=title, caption="No trial was pruned.", drawings=())
    trained = [trial for trial in record.finished if trial.copy_of is None]
    drawn = drawing(
        [
            _bars("complete", record.complete, BLUE, ""),
            _bars("pruned", record.pruned, PALE, "/"),
        ],
        320,
        barmode="stack",
        bargap=0.25,
        xaxis=_epoch_axis(trained),
        yaxis=titled("trials that trained it"),
    )
    status = record.status
    return Figure(
        title=title,
        caption=f"{counted(n, 'trial')} of {len(record.finished)} finished ones "
        f"{'was' if n == 1 else 'were'} given up early. Had each cost as much as the mean complete "
        f"trial, {counted(status.saved_epochs, 'epoch')} and {hours_words(status.saved_hours)} of "
        f"work more would have been spent, beside the {counted(status.epochs, 'epoch')} and "
        f"{hours_words(status.hours)} that were. The bars count the trials that trained an epoch.",
        drawings=(drawn,),
    )


def losses(record: StudyRecord, answer: Answer) -> Figure:
    """Both losses of the best trial, by epoch."""
    title = "Losses of the best trial"
    if not record.losses:
        return Figure(title=title, caption="Its losses are not in the database.", drawings=())
    epochs = [each.epoch for each in record.losses]
    lines = [
        _loss("training", epochs, [each.training for each in record.losses], BLUE, "solid"),
        _loss("validation", epochs, [each.validation for each in record.losses], RED, "dash"),
    ]
    drawn = drawing(
        lines,
        320,
        shapes=_line_at(answer.best.best_epoch),
        xaxis=_epoch_axis([answer.best]),
        yaxis={**titled("loss"), "rangemode": "tozero"},
    )
    return Figure(
        title=title,
        caption="The combined loss (alpha x Dice loss + beta x weighted cross-entropy) of trial "
        f"{answer.best.number}, averaged over the slices. The vertical line marks the epoch of "
        "highest validation Dice, whose network is kept.",
        drawings=(drawn,),
    )


def _curve_traces(others: Sequence[TrialRecord], answer: Answer) -> list[Trace]:
    pruned = [trial for trial in others if trial.is_pruned]
    complete = [trial for trial in others if trial.is_complete]
    ends = dots("pruned here", PRUNED, [(max(trial.curve), trial) for trial in pruned])
    ends["y"] = [trial.curve[max(trial.curve)] for trial in pruned]
    return [
        _bundle("complete", complete, BLUE, "solid"),
        _bundle("pruned", pruned, GREY, "dot"),
        ends,
        *([_curve("reference", answer.reference.trial, INK, "dash")] if answer.reference else ()),
        _curve("best", answer.best, RED, "solid"),
    ]


def _bundle(name: str, trials: Sequence[TrialRecord], color: str, dash: str) -> Trace:
    """Curves of many trials as one broken line."""
    points = [point for trial in trials for point in (*trial.curve.items(), (None, None))]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [epoch for epoch, _ in points],
        "y": [dice for _, dice in points],
        "line": {"color": color, "width": 1.2, "dash": dash},
        "opacity": 0.45,
        "hoverinfo": "skip",
        "connectgaps": False,
    }


def _curve(name: str, trial: TrialRecord, color: str, dash: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": f"{name}: trial {trial.number}",
        "x": list(trial.curve),
        "y": list(trial.curve.values()),
        "line": {"color": color, "width": 3, "dash": dash},
        "marker": {"size": 7, "symbol": "star" if name == "best" else "diamond"},
        "hovertemplate": "epoch %{x}: %{y:.4f}<extra>trial " + str(trial.number) + "</extra>",
    }


def _bars(name: str, trials: Sequence[TrialRecord], color: str, pattern: str) -> Trace:
    count = Counter(epoch for trial in trials if trial.copy_of is None for epoch in trial.curve)
    epochs = sorted(count)
    return {
        "type": "bar",
        "name": f"{name} trials",
        "x": epochs,
        "y": [count[epoch] for epoch in epochs],
        "marker": {"color": color, "pattern": {"shape": pattern, "fgcolor": INK, "size": 6}},
        "hovertemplate": "epoch %{x}: %{y}<extra>" + name + "</extra>",
    }


def _loss(name: str, epochs: list[int], values: list[float], color: str, dash: str) -> Trace:
    return {
        "type": "scatter",
        "mode": "lines+markers",
        "name": name,
        "x": epochs,
        "y": values,
        "line": {"color": color, "dash": dash, "width": 2},
        "marker": {"symbol": "circle" if dash == "solid" else "square", "size": 7},
        "hovertemplate": "epoch %{x}: %{y:.4f}<extra>" + name + "</extra>",
    }


def _line_at(epoch: int | None) -> list[Spec]:
    if epoch is None:
        return []
    line = {"color": INK, "dash": "dot", "width": 1.5}
    return [
        {"type": "line", "yref": "paper", "x0": epoch, "x1": epoch, "y0": 0, "y1": 1, "line": line}
    ]


def _epoch_axis(trials: Sequence[TrialRecord]) -> Spec:
    """Whole epochs, not too many of them."""
    last = max((epoch for trial in trials for epoch in trial.curve), default=1)
    axis: dict[str, Any] = {**titled("epoch"), "range": [0.5, last + 0.5]}
    return {**axis, "tick0": 0 if last > 12 else 1, "dtick": max(1, -(-last // 12))}


def _reference_words(answer: Answer) -> str:
    if answer.reference is None:
        return ""
    return f"; the reference is trial {answer.reference.trial.number}, {answer.reference.name}"
