"""How a study draws its trials and gives them up, as sentences for who knows neither method."""

from typing import assert_never

from kidneyseg.search.pruner_settings import (
    Hyperband,
    KeepAfter,
    Median,
    NoPruner,
    Percentile,
    PrunerSettings,
    SuccessiveHalving,
    Threshold,
)
from kidneyseg.search.report.words import counted, value_words
from kidneyseg.search.sampler_settings import CMAES, GP, QMC, TPE, Grid, Random, SamplerSettings


def sampler_sentence(settings: SamplerSettings, n_start_points: int = 0) -> str:
    """How the values of the next trial are chosen."""
    sentence = f"{_sampler(settings)}."
    if n_start_points:
        were = "was" if n_start_points == 1 else "were"
        sentence += f" {counted(n_start_points, 'start point')} {were} tried first."
    return sentence


def pruner_sentence(settings: PrunerSettings) -> str:
    """Which trials are given up early."""
    if isinstance(settings, NoPruner):
        return "No trial is given up early."
    return f"A trial is given up early where {_pruner(settings)}."


def _sampler(settings: SamplerSettings) -> str:
    match settings:
        case TPE(n_startup_trials=n):
            return f"{_first(n)}near those that did well before (the sampler TPE)"
        case GP(n_startup_trials=n):
            return (
                f"{_first(n)}where a Gaussian process of all trials so far expects most "
                "(the sampler GP)"
            )
        case CMAES(population=population):
            of = f" of {population}" if population is not None else ""
            return (
                f"Values are drawn in generations{of}, each from a normal distribution that moves "
                "towards the best of the generation before (the sampler CMA-ES)"
            )
        case QMC(sequence=sequence):
            return (
                f"Values are the points of a {sequence.capitalize()} sequence, which fills the "
                "space evenly"
            )
        case Random():
            return "Values are drawn at random, each trial by itself"
        case Grid():
            return "Every combination of the values on a grid is tried once"
        case _ as never:
            assert_never(never)


def _first(n: int) -> str:
    """What is drawn before a sampler has anything to go by."""
    if n == 0:
        return "Values are drawn "
    return f"Values are drawn at random for the first {counted(n, 'trial')}, then "


def _pruner(
    settings: Median | Percentile | SuccessiveHalving | Hyperband | Threshold | KeepAfter,
) -> str:
    match settings:
        case Median():
            return (
                "its best Dice so far is below the median of the complete trials at the same epoch"
                f"{_not_before(settings)}"
            )
        case Percentile(percentile=percentile):
            return (
                f"its best Dice so far is not within the best {value_words(percentile)} % of the "
                f"complete trials' at the same epoch{_not_before(settings)}"
            )
        case SuccessiveHalving():
            return f"its Dice is not in the top {_halving(settings)} (successive halving)"
        case Hyperband():
            return (
                f"its Dice is not in the top {_halving(settings)}, up to epoch "
                f"{settings.max_epochs}; some trials meet their first comparison later (Hyperband)"
            )
        case Threshold(lower=lower, n_warmup_epochs=n):
            after = f" after the first {counted(n, 'epoch')}" if n else ""
            return f"its Dice is below {value_words(lower)} at any epoch{after}"
        case KeepAfter(epoch=epoch, share=share, n_startup_trials=n):
            return (
                f"its best Dice up to epoch {epoch} is not among the best {share:.0%} of all that "
                f"came as far; this is asked once, and of none of the first {n} to get there"
            )
        case _ as never:
            assert_never(never)


def _not_before(settings: Median | Percentile) -> str:
    return (
        f"; never in its first {counted(settings.n_warmup_epochs, 'epoch')}, nor before "
        f"{counted(settings.n_startup_trials, 'trial')} "
        f"{'is' if settings.n_startup_trials == 1 else 'are'} complete"
    )


def _halving(settings: SuccessiveHalving | Hyperband) -> str:
    factor, first = settings.reduction_factor, settings.min_epochs
    second = first * factor
    return (
        f"1/{factor} of all that came as far, at epochs {first}, {second}, {second * factor} and "
        "so on"
    )
