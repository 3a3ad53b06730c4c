"""What confirmation found, in words and for programs."""

from dataclasses import asdict
from typing import Any

from kidneyseg.cli.display import short
from kidneyseg.search.comparison import Interval
from kidneyseg.search.confirmation import Confirmed, Verdict


def confirmation_text(verdict: Verdict) -> str:
    """The table of candidates, and the sentences that a person takes away."""
    n = len(verdict.candidates)
    head = (
        f"study {verdict.study}: {n} {'candidate' if n == 1 else 'candidates'}, "
        f"{verdict.n_seeds} new seeds each; validation Dice with 95 % intervals"
    )
    table = [
        "trial  search  confirmed                 behind the winner          cost",
        *(_row(each, verdict.winner) for each in verdict.candidates),
    ]
    cost = (
        "cost: multiply-adds of the trainings, the winner's being 1 "
        f"({verdict.winner.cost_gmac:.3g} GMAC forward for each training slice, over all epochs)"
    )
    sure = "intervals: a bootstrap over cases and seeds; of few, too narrow"
    return "\n".join([head, *table, cost, sure, "", *_sentences(verdict)])


def verdict_as_json(verdict: Verdict) -> dict[str, Any]:
    """The same for programs."""
    return {
        **asdict(verdict),
        "winner": verdict.winner.trial,
        "like_winner": [each.trial for each in verdict.like_winner],
        "recommended": verdict.recommended.trial,
    }


def _row(each: Confirmed, winner: Confirmed) -> str:
    standing = each.standing
    behind = "the winner" if each is winner else _interval(standing.behind)
    return (
        f"{each.trial:>5}  {each.searched_dice:.4f}  {_interval(standing.dice):<24}  "
        f"{behind:<25}  {each.cost_gmac / winner.cost_gmac:.2f}"
    )


def _sentences(verdict: Verdict) -> list[str]:
    winner, recommended = verdict.winner, verdict.recommended
    others = [each.trial for each in verdict.like_winner if each is not winner]
    numbers = ", ".join(str(number) for number in others)
    like = (
        f"trials {numbers} cannot be told from it"
        if len(others) > 1
        else f"trial {numbers} cannot be told from it"
        if others
        else "all others are worse beyond the noise"
        if len(verdict.candidates) > 1
        else "there was nothing to compare it with"
    )
    gain = winner.standing.dice.mean - winner.searched_dice
    found = f"new seeds give {winner.standing.dice.mean:.4f} ({gain:+.4f})"
    values = ", ".join(f"{name} {short(value)}" for name, value in recommended.values.items())
    return [
        f"the winner is trial {winner.trial}, Dice {_interval(winner.standing.dice)}; {like}",
        f"the search reported {winner.searched_dice:.4f} for trial {winner.trial}: {found}",
        f"recommended, {_why(verdict)}: trial {recommended.trial} ({values})",
    ]


def _why(verdict: Verdict) -> str:
    """Why the recommended one is."""
    winner, recommended = verdict.winner, verdict.recommended
    if recommended is winner:
        return "none of these costs 5 % less" if len(verdict.like_winner) > 1 else "the winner"
    share = recommended.cost_gmac / winner.cost_gmac
    return f"the cheapest of these ({share:.2f} of the winner's cost)"


def _interval(interval: Interval) -> str:
    return f"{interval.mean:.4f} ({interval.low:.4f} to {interval.high:.4f})"
