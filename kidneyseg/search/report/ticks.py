"""Round values along a range, for the axes of hyper-parameters."""

import math

from kidneyseg.search.ranges import Choice, FloatRange, IntRange, Value

MOST = 6  # values on an axis
ROUND = (1, 2, 5)
CROWDED = 0.12  # of the range: nearer to an end a value stands in its way

AnyRange = FloatRange | IntRange | Choice


def ticks(range_: AnyRange) -> list[Value]:
    """Some values of a range in order, its ends among them; of choices all."""
    if isinstance(range_, Choice):
        return list(range_.choices)
    if range_.low == range_.high:
        return [range_.low]
    inside = _log(range_) if range_.log else _linear(range_)
    return [range_.low, *_between(range_, inside), range_.high]


def _log(range_: FloatRange | IntRange) -> list[float]:
    """Once, twice and five times the powers of ten between the ends; of many, the powers alone."""
    first, last = math.floor(math.log10(range_.low)), math.ceil(math.log10(range_.high))
    powers = [10.0**k for k in range(first, last + 1)]
    every = [m * power for power in powers for m in ROUND if range_.low < m * power < range_.high]
    if len(every) <= MOST - 2:
        return every
    tens = [power for power in powers if range_.low < power < range_.high]
    return tens[:: -(-len(tens) // (MOST - 2))]


def _linear(range_: FloatRange | IntRange) -> list[float]:
    """Multiples of a round step; of whole numbers with a step, so many steps from the low end."""
    width = range_.high - range_.low
    if isinstance(range_, IntRange):
        step = range_.step * -((range_.low - range_.high) // (range_.step * (MOST - 1)))
        return [float(value) for value in range(range_.low, range_.high, step)]
    power = 10.0 ** math.floor(math.log10(width / (MOST - 1)))
    step_wide = next(m * power for m in (*ROUND, 10) if m * power * (MOST - 1) >= width * 0.999)
    first = math.ceil(range_.low / step_wide)
    return [round(k * step_wide, 12) for k in range(first, first + MOST)]


def _between(range_: FloatRange | IntRange, values: list[float]) -> list[Value]:
    """Those that do not crowd the ends."""
    whole = isinstance(range_, IntRange)
    kept = [value for value in values if CROWDED <= share(range_, value) <= 1 - CROWDED]
    return [round(value) if whole else value for value in kept]


def share(range_: FloatRange | IntRange, value: float) -> float:
    """How far along a range a value lies, on its scale: 0 at the low end, 1 at the high one."""
    if range_.low == range_.high:
        return 0.5
    if range_.log:
        return math.log(value / range_.low) / math.log(range_.high / range_.low)
    return (value - range_.low) / (range_.high - range_.low)
