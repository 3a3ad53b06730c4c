"""The validation cases, each with the Dice of the best trial and of the reference."""

from collections.abc import Sequence

from kidneyseg.search.report.answer import Answer
from kidneyseg.search.report.figure import (
    GREY,
    INK,
    RED,
    Figure,
    Trace,
    drawing,
    harmless,
    titled,
)

MOST_CASES = 60
WORST_SHARE = 2 / 3  # of the cases that are drawn where there are more


def cases(answer: Answer) -> Figure:
    """A row for each case, the worst on top."""
    title = "Dice of each validation case"
    dice = answer.best.dice_of_case
    if not dice:
        return Figure(title=title, caption="The cases' Dice is not in the database.", drawings=())
    shown = shown_cases(dice)
    traces = _rows(shown, answer)
    drawn = drawing(
        traces,
        110 + 20 * len(shown),
        xaxis=titled("validation Dice"),
        yaxis={"type": "category", "autorange": "reversed", "tickfont": {"size": 11}},
        margin={"l": 8, "r": 12, "t": 34, "b": 46},
    )
    return Figure(title=title, caption=_caption(answer, len(shown), len(dice)), drawings=(drawn,))


def ranked_cases(dice_of_case: dict[str, float]) -> list[str]:
    """Case names, the lowest Dice first."""
    return sorted(dice_of_case, key=lambda name: (dice_of_case[name], name))


def shown_cases(dice_of_case: dict[str, float]) -> list[str]:
    """The cases that are drawn: all, or the worst and the best of many."""
    ranked = ranked_cases(dice_of_case)
    if len(ranked) <= MOST_CASES:
        return ranked
    n_worst = round(MOST_CASES * WORST_SHARE)
    return [*ranked[:n_worst], *ranked[n_worst - MOST_CASES :]]


def _rows(shown: Sequence[str], answer: Answer) -> list[Trace]:
    mine = answer.best.dice_of_case
    best = _marks(f"best: trial {answer.best.number}", shown, mine, RED, "circle")
    reference = answer.reference
    if reference is None or reference.trial is answer.best:
        return [best]
    theirs = reference.trial.dice_of_case
    both = [name for name in shown if name in theirs]
    if not both:
        return [best]
    return [
        _bars(both, mine, theirs),
        _marks(f"reference: trial {reference.trial.number}", both, theirs, INK, "diamond-open"),
        best,
    ]


def _marks(
    name: str, shown: Sequence[str], dice: dict[str, float], color: str, symbol: str
) -> Trace:
    return {
        "type": "scatter",
        "mode": "markers",
        "name": name,
        "x": [dice[case] for case in shown],
        "y": [harmless(case) for case in shown],
        "marker": {"color": color, "symbol": symbol, "size": 9},
        "hovertemplate": "%{y}: %{x:.4f}<extra></extra>",
    }


def _bars(both: Sequence[str], mine: dict[str, float], theirs: dict[str, float]) -> Trace:
    """What lies between the two marks of each case, as one broken line."""
    return {
        "type": "scatter",
        "mode": "lines",
        "x": [x for case in both for x in (mine[case], theirs[case], None)],
        "y": [y for case in both for y in (harmless(case), harmless(case), None)],
        "line": {"color": GREY, "width": 1},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _caption(answer: Answer, n_shown: int, n: int) -> str:
    words = f"The worst case is on top. Circles: trial {answer.best.number}, the best"
    if answer.reference is not None and answer.reference.trial is not answer.best:
        words += f"; diamonds: trial {answer.reference.trial.number}, {answer.reference.name}"
    words += ". Each case's Dice is that of its slices near the kidney, at training resolution."
    if n_shown < n:
        words += f" Drawn are the worst and the best of {n} cases, {n_shown} in all."
    return words
