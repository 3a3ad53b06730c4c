"""Figures of the hyper-parameters: which mattered, which values together, and each one apart."""

from collections.abc import Sequence
from typing import Any

from kidneyseg.search.ranges import Choice
from kidneyseg.search.report.answer import Answer
from kidneyseg.search.report.figure import (
    BLUE,
    CIVIDIS,
    GREY,
    INK,
    RED,
    Figure,
    Spec,
    Trace,
    drawing,
    harmless,
    padded,
    titled,
)
from kidneyseg.search.report.importance import Importance
from kidneyseg.search.report.marks import hover, marked, marks, thinned, thinning_words
from kidneyseg.search.report.ticks import AnyRange, share, ticks
from kidneyseg.search.report.words import value_words
from kidneyseg.search.study_record import StudyRecord, TrialRecord

MOST_LINES = 200  # trials in the parallel coordinates
MOST_MARKS = 500  # trials in each slice
AXIS_PX = 74  # from one to the next, at least
PHONE_PX = 350  # the width of a drawing there
SIDES_PX = 56  # left and right of the axes
LETTER_PX = 6.5  # the width of a letter there
NOT_DRAWN = -0.12  # where a line passes an axis on which its trial has no value


def importances(found: Importance) -> Figure:
    """A bar for each hyper-parameter."""
    title = "Importance of the hyper-parameters"
    if not found.shares:
        return Figure(title=title, caption=f"Left out: {found.why_not}.", drawings=())
    names = list(reversed(found.shares))
    bars: Trace = {
        "type": "bar",
        "orientation": "h",
        "x": [found.shares[name] for name in names],
        "y": [harmless(name) for name in names],
        "text": [_percent(found.shares[name]) for name in names],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": BLUE},
        "hoverinfo": "skip",
    }
    drawn = drawing(
        [bars],
        90 + 34 * len(names),
        xaxis={**titled("share"), "tickformat": ".0%", "range": [0, 1.08]},
        margin={"l": 8, "r": 12, "t": 10, "b": 46},
    )
    return Figure(
        title=title,
        caption=f"How much each decided whether a trial was among the best {found.n_best} of "
        f"{found.n_trials} complete ones (PED-ANOVA, Watanabe et al., IJCAI 2023), as shares that "
        "add up to 1. Of few trials, a hint and no more; where a value was hardly ever tried it "
        "says nothing.",
        drawings=(drawn,),
    )


def _percent(share: float) -> str:
    return "< 1%" if 0 < share < 0.005 else f"{share:.0%}"


def parallel(record: StudyRecord, answer: Answer) -> Figure:
    """A line for each complete trial through its values, coloured by Dice."""
    complete = record.complete
    shown = thinned(complete, MOST_LINES, marked(answer))
    space = record.definition.space.root
    axes = {name: _Axis(range_) for name, range_ in space.items()}
    groups = _by_dice([trial for trial in shown if trial is not answer.best])
    lines = [
        _line(_dice_words(low, high), trials, axes, color, 1.4)
        for (low, high, trials), color in zip(groups, _colors(len(groups)), strict=True)
    ]
    best = _line(f"best: trial {answer.best.number}", [answer.best], axes, RED, 3.5)
    drawn = drawing(
        [*lines, best],
        470,
        xaxis=_names_axis(list(axes)),
        yaxis={"visible": False, "range": [-0.2, 1.08]},
        shapes=[_upright(place) for place in range(len(axes))],
        annotations=[
            note for place, axis in enumerate(axes.values()) for note in axis.notes(place)
        ],
        margin={"l": 16, "r": SIDES_PX - 16, "t": 64, "b": 56},
    )
    missing = " A line that passes below an axis belongs to a trial without this value."
    return Figure(
        title="Parallel coordinates",
        caption="Each line is a complete trial and meets each axis at its value; lighter is "
        f"better.{missing if any(each.only_if for each in space.values()) else ''}"
        f"{thinning_words(len(shown), len(complete))}",
        drawings=(drawn,),
        min_width_px=AXIS_PX * len(axes),
    )


def slices(record: StudyRecord, answer: Answer) -> Figure:
    """Dice by the value of each hyper-parameter."""
    space = record.definition.space.root
    shown = thinned(record.finished, MOST_MARKS, marked(answer))
    drawn = tuple(_slice(name, range_, shown, answer) for name, range_ in space.items())
    reference = answer.reference
    return Figure(
        title="Slices",
        caption="Validation Dice by the value of each hyper-parameter. Blue circles are complete "
        "trials, grey crosses pruned ones at the best Dice that they came to, the star is the best "
        f"trial{f', the diamond {reference.name}' if reference else ''}."
        f"{thinning_words(len(shown), len(record.finished))}",
        drawings=drawn,
    )


def _slice(name: str, range_: AnyRange, shown: Sequence[TrialRecord], answer: Answer) -> Spec:
    having = [trial for trial in shown if name in trial.params and trial.dice is not None]
    choice = isinstance(range_, Choice)

    def x_of(trial: TrialRecord) -> Any:
        value = trial.params[name]
        return harmless(value_words(value)) if choice else value

    axis: dict[str, Any] = {**titled(harmless(name)), "type": "category"}
    if isinstance(range_, Choice):
        axis["categoryarray"] = [harmless(value_words(value)) for value in range_.choices]
    else:
        axis |= {"type": "log" if range_.log else "linear", "tickmode": "array", "tickangle": 0}
        axis["tickvals"] = ticks(range_)
        axis["ticktext"] = [value_words(value) for value in axis["tickvals"]]
    dice = [trial.dice or 0.0 for trial in shown]
    return drawing(
        marks(having, answer, x_of),
        280,
        showlegend=False,
        font={"size": 11},
        xaxis=axis,
        yaxis={**titled("Dice"), **padded(dice)},
        margin={"l": 52, "r": 10, "t": 10, "b": 46},
    )


class _Axis:
    """One upright axis: where values lie on it, from 0 to 1."""

    def __init__(self, range_: AnyRange) -> None:
        self._range = range_

    def place(self, value: Any) -> float:
        """Where a value lies."""
        range_ = self._range
        if isinstance(range_, Choice):
            return range_.choices.index(value) / max(1, len(range_.choices) - 1)
        return share(range_, value)

    def notes(self, place: int) -> list[Spec]:
        """Values beside the axis."""
        return [
            {
                "x": place,
                "y": self.place(value),
                "text": harmless(value_words(value)),
                "showarrow": False,
                "xanchor": "left",
                "xshift": 3,
                "font": {"size": 11, "color": INK},
                "bgcolor": "rgba(255,255,255,0.8)",
            }
            for value in ticks(self._range)
        ]


def _line(
    name: str, trials: Sequence[TrialRecord], axes: dict[str, _Axis], color: str, width: float
) -> Trace:
    """Lines of several trials as one broken line."""
    x: list[int | None] = []
    y: list[float | None] = []
    for trial in trials:
        x += [*range(len(axes)), None]
        y += [
            axis.place(trial.params[key]) if key in trial.params else NOT_DRAWN
            for key, axis in axes.items()
        ]
        y.append(None)
    told = [text for trial in trials for text in [hover(trial)] * (len(axes) + 1)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(axes) == 1 or width > 2 else "lines",
        "name": name,
        "x": x,
        "y": y,
        "line": {"color": color, "width": width},
        "hovertext": told,
        "hoverinfo": "text",
        "connectgaps": False,
    }


def _by_dice(trials: Sequence[TrialRecord]) -> list[tuple[float, float, list[TrialRecord]]]:
    """Fifths of trials by Dice, the lowest first, with the lowest and highest Dice in each."""
    ranked = sorted(trials, key=lambda trial: trial.value or 0.0)
    n = min(len(CIVIDIS), len(ranked))
    parts = [ranked[k * len(ranked) // n : (k + 1) * len(ranked) // n] for k in range(n)]
    return [(part[0].value or 0.0, part[-1].value or 0.0, part) for part in parts]


def _dice_words(low: float, high: float) -> str:
    first, last = f"{low:.3f}", f"{high:.3f}"
    return f"Dice {first}" if first == last else f"Dice {first} to {last}"


def _colors(n: int) -> list[str]:
    return list(CIVIDIS[len(CIVIDIS) - n :])


def _names_axis(names: Sequence[str]) -> Spec:
    return {
        "tickmode": "array",
        "tickvals": list(range(len(names))),
        "ticktext": _axis_names(names),
        "tickangle": 0,
        "showline": False,
        "range": [-0.4, len(names) - 0.5],
        "showgrid": False,
        "ticks": "",
    }


def _axis_names(names: Sequence[str]) -> list[str]:
    """Names below their axes, broken where one would reach into a neighbour's on a phone."""
    room_px = (max(PHONE_PX, AXIS_PX * len(names)) - SIDES_PX) / len(names)
    found = []
    for place, name in enumerate(names):
        beside = [*names[max(0, place - 1) : place], *names[place + 1 : place + 2]]
        longest = max(map(len, beside), default=0)
        fits = (len(name) + longest) / 2 * LETTER_PX < room_px
        text = harmless(name)
        found.append(text if fits else text.replace(".", ".<br>").replace("_", "_<br>"))
    return found


def _upright(place: int) -> Spec:
    line = {"color": GREY, "width": 1}
    return {"type": "line", "x0": place, "x1": place, "y0": 0, "y1": 1, "line": line}
