"""Numbers, ranges and settings as people read them."""

from collections.abc import Mapping
from typing import Any

from kidneyseg.search.ranges import Choice, FloatRange, IntRange


def counted(number: int, thing: str) -> str:
    """A number of things: 1 trial, 2 trials."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def value_words(value: object) -> str:
    """A value: three digits are enough to try it again."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def values_words(values: Mapping[str, object]) -> str:
    """Several values by name, in a line."""
    return ", ".join(f"{name} {value_words(value)}" for name, value in values.items())


def listed(words: list[str]) -> str:
    """Several things in a sentence: a, b and c."""
    if len(words) < 2:
        return "".join(words)
    return f"{', '.join(words[:-1])} and {words[-1]}"


def hours_words(hours: float) -> str:
    """Hours: 40 s, 12 minutes, 3.4 hours, 2.5 days."""
    if hours * 3600 < 99.5:
        return f"{hours * 3600:.0f} s"
    if hours < 1.65:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def range_words(range_: FloatRange | IntRange | Choice) -> str:
    """A range: 0.0001 to 0.01, on a log scale."""
    if isinstance(range_, Choice):
        words = f"one of {', '.join(map(value_words, range_.choices))}"
    else:
        words = f"{value_words(range_.low)} to {value_words(range_.high)}"
        if range_.log:
            words += ", on a log scale"
        elif range_.step not in (None, 1):
            words += f", in steps of {value_words(range_.step)}"
    if not range_.only_if:
        return words
    conditions = [f"{name} is {value_words(value)}" for name, value in range_.only_if.items()]
    return f"{words}; only where {' and '.join(conditions)}"


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Settings by dotted name, as text."""
    found: dict[str, str] = {}
    for name, value in values.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{prefix}{name}.")
        elif isinstance(value, list | tuple):
            found[f"{prefix}{name}"] = ", ".join(map(value_words, value)) or "none"
        else:
            found[f"{prefix}{name}"] = "not set" if value is None else value_words(value)
    return found
