"""A figure of the page: what plotly.js draws, and what all figures share.

Colours are Okabe and Ito's, which the colour-blind tell apart; kinds of trials differ in their
markers and dashes, too, so that a page printed in grey still says what is what.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from kidneyseg.search.report.markup import Markup

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
GREY, INK, FAINT, PALE = "#767676", "#1b1f24", "#e3e6ea", "#c9ced6"
CIVIDIS = ("#00224e", "#35456c", "#666970", "#a69d75", "#d9c55c")  # dark to light, five steps

EMPTY = Markup()

Trace = dict[str, Any]
Spec = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One or several drawings under one caption."""

    title: str
    caption: str
    drawings: tuple[Spec, ...] = ()  # plotly's data and layout; none: the caption says why
    content: Markup = EMPTY  # instead of drawings
    min_width_px: int = 0  # of a drawing: on a narrower screen it is scrolled sideways


def drawing(traces: Sequence[Trace], height: int, **layout: Any) -> Spec:
    """A drawing of traces, in the house's style; `layout` is plotly's."""
    axes = {key: {**AXIS, **layout.pop(key, {})} for key in ("xaxis", "yaxis")}
    font = {"family": "system-ui, sans-serif", "size": 13, "color": INK, **layout.pop("font", {})}
    base = {
        "height": height,
        "font": font,
        "paper_bgcolor": "#ffffff",
        "plot_bgcolor": "#ffffff",
        "margin": {"l": 56, "r": 12, "t": 34, "b": 46},
        "hovermode": "closest",
        "dragmode": False,
        "showlegend": len(traces) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1, "yanchor": "bottom", "font": {"size": 12}},
    }
    return {"data": list(traces), "layout": {**base, **axes, **layout}}


AXIS = {
    "gridcolor": FAINT,
    "linecolor": GREY,
    "ticks": "outside",
    "tickcolor": GREY,
    "zeroline": False,
    "automargin": True,
    "fixedrange": True,
}


def titled(text: str) -> dict[str, Any]:
    """An axis's title."""
    return {"title": {"text": text, "standoff": 8}}


def padded(values: Sequence[float]) -> dict[str, Any]:
    """An axis's range with room for the marks at its ends, on a screen and on paper."""
    low, high = min(values, default=0.0), max(values, default=1.0)
    room = 0.07 * ((high - low) or 0.1)
    return {"range": [low - room, high + room]}


def harmless(text: str) -> str:
    """Text that plotly.js, which reads a little HTML, shows as it is."""
    return escape(text, quote=False)
