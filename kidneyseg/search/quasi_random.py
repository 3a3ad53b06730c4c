"""Points that fill a search space evenly, by their place in a scrambled sequence.

Sobol' and Halton points lie in the unit cube; each coordinate belongs to one range, in the order of
the file, and is the share of the way through it. What a condition leaves out goes unused.
"""

from scipy.stats import qmc

from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.ranges import Value
from kidneyseg.search.sampler_settings import QMC


def quasi_random_point(definition: StudyDefinition, settings: QMC, place: int) -> dict[str, Value]:
    """The point of a place, from 0, in the sequence that the study's seed scrambles."""
    names = definition.space.names()
    kind = {"sobol": qmc.Sobol, "halton": qmc.Halton}[settings.sequence]
    sequence = kind(len(names), scramble=True, seed=definition.seed)
    if place:
        sequence.fast_forward(place)
    shares = dict(zip(names, sequence.random(1)[0].tolist(), strict=True))
    return definition.space.choose(definition.given, lambda name, range_: range_.at(shares[name]))
