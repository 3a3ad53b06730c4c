"""Confirming a search: its best few trained again with new seeds, as trials of a linked study.

The noise between seeds is as large as the gain that a search finds, and the best of many is the
luckiest, too. What the search reported and what new seeds give stand side by side.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import select

from kidneyseg.errors import StudyError
from kidneyseg.network.cost import count_forward_macs
from kidneyseg.search.comparison import Standing, compare
from kidneyseg.search.definition import CANDIDATE, SEED, Candidate, Confirmation
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.objective import BEST_EPOCH, DICE_OF_CASE
from kidneyseg.search.pruner_settings import NoPruner
from kidneyseg.search.ranges import Choice
from kidneyseg.search.sampler_settings import Grid
from kidneyseg.search.space import SearchSpace, make_draw
from kidneyseg.search.studies import Study, load_study, open_study
from kidneyseg.search.tables import epochs, trials

SUFFIX = "-confirm"  # of the linked study's name
SAME_COST = 1.05  # times the cheapest: no reason to take another than the better one


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmed:
    """One candidate: what the search reported, and what new seeds gave."""

    trial: int  # its number in the search
    searched_dice: float
    standing: Standing
    cost_gmac: float  # forward, of one training slice over all epochs; the mean of the seeds
    best_epoch: int  # that the search found
    loss: float  # validation, of the best epochs, averaged over the seeds
    values: dict[str, object]  # its hyper-parameters


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What confirmation found."""

    study: str
    n_seeds: int
    candidates: tuple[Confirmed, ...]  # the best first

    @property
    def winner(self) -> Confirmed:
        """The candidate with the highest mean Dice."""
        return self.candidates[0]

    @property
    def like_winner(self) -> tuple[Confirmed, ...]:
        """The winner, and those that cannot be told from it."""
        return tuple(each for each in self.candidates if not each.standing.is_told_apart)

    @property
    def recommended(self) -> Confirmed:
        """The cheapest of these to train; of those that cost nearly as little, the best."""
        enough = SAME_COST * min(each.cost_gmac for each in self.like_winner)
        return next(each for each in self.like_winner if each.cost_gmac <= enough)

    def to_refit(self, trial: int | None) -> Confirmed:
        """The winner, or the candidate of that number (`check_candidate`)."""
        if trial is None:
            return self.winner
        return next(each for each in self.candidates if each.trial == trial)


def begin_confirmation(study: Study, top: int, n_seeds: int, name: str | None = None) -> Study:
    """Create the linked study of the `top` best trials with `n_seeds` new seeds each, or go on.

    Raises StudyError for a study without enough complete trials, one begun otherwise, and one that
    confirms another itself.
    """
    if study.definition.confirmation is not None:
        searched = study.definition.confirmation.study
        raise StudyError(
            f"study {study.name!r}: confirms study {searched!r}, and has no search of its own to "
            f"confirm; expected --study {searched}"
        )
    if top < 1 or n_seeds < 2:
        raise StudyError(
            f"--top {top} and --seeds {n_seeds}: expected 1 or more trials and 2 or more seeds"
        )
    best = _best_trials(study, top)
    seeds = tuple(study.definition.seed + 1 + number for number in range(n_seeds))
    numbers = tuple(each.number for each in best)
    candidates = tuple(
        Candidate(trial=each.number, dice=each.value or 0.0, values=each.params) for each in best
    )
    definition = study.definition.model_copy(
        update={
            "space": SearchSpace(
                {
                    CANDIDATE: Choice(type="categorical", choices=numbers),
                    SEED: Choice(type="categorical", choices=seeds),
                }
            ),
            "start_points": (),
            "sampler": Grid(name="grid"),
            "pruner": NoPruner(name="none"),
            "confirmation": Confirmation(study=study.name, candidates=candidates),
        }
    )
    linked = open_study(study.storage, name or f"{study.name}{SUFFIX}", definition)
    linked.ask_for(len(candidates) * n_seeds)
    return linked


def check_candidate(linked: Study, trial: int) -> None:
    """Refuse a trial that the linked study does not confirm. Raises StudyError."""
    confirmation = linked.definition.confirmation
    numbers = [each.trial for each in confirmation.candidates] if confirmation else []
    if trial not in numbers:
        raise StudyError(
            f"--refit-trial {trial}: not one of those that study {linked.name!r} trains again; "
            f"expected one of {', '.join(str(number) for number in numbers)}"
        )


def judge(linked: Study) -> Verdict:
    """Compare the candidates of a confirmation that is finished.

    Raises StudyError while trials are missing, and for a study that confirms nothing.
    """
    confirmation = linked.definition.confirmation
    if confirmation is None:
        raise StudyError(f"study {linked.name!r}: confirms no other; expected one of confirm's")
    done = linked.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len(done) < linked.n_trials:
        raise StudyError(
            f"study {linked.name!r}: {len(done)} of {linked.n_trials} trainings are complete; "
            "expected all of them before candidates are compared"
        )
    of_candidate = [
        [trial for trial in done if trial.params[CANDIDATE] == candidate.trial]
        for candidate in confirmation.candidates
    ]
    standings = compare([_dice(trials) for trials in of_candidate])
    losses, best_epochs = _losses(linked), _best_epochs(linked, confirmation)
    confirmed = [
        Confirmed(
            trial=candidate.trial,
            searched_dice=candidate.dice,
            standing=standing,
            cost_gmac=_gmac(linked, candidate) * float(np.mean([t.last_step or 0 for t in own])),
            best_epoch=best_epochs[candidate.trial],
            loss=float(
                np.mean([losses.get((t._trial_id, t.user_attrs[BEST_EPOCH]), 0.0) for t in own])
            ),
            values=dict(candidate.values),
        )
        for candidate, own, standing in zip(
            confirmation.candidates, of_candidate, standings, strict=True
        )
    ]
    confirmed.sort(key=lambda each: -each.standing.dice.mean)
    n_seeds = len(of_candidate[0])
    return Verdict(study=confirmation.study, n_seeds=n_seeds, candidates=tuple(confirmed))


def means_of_cases(trials: Sequence[FrozenTrial]) -> dict[str, float]:
    """The validation Dice of each case, averaged over trials."""
    names = sorted(trials[0].user_attrs[DICE_OF_CASE])
    return dict(zip(names, _dice(trials).mean(axis=0).tolist(), strict=True))


def _best_trials(study: Study, top: int) -> list[FrozenTrial]:
    """The best complete trials that were trained, the best first."""
    complete = study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    trained = [trial for trial in complete if TAKEN_OVER not in trial.user_attrs]
    if len(trained) < top:
        raise StudyError(
            f"study {study.name!r}: {len(trained)} trials are complete, fewer than --top {top}; "
            "run more, or confirm fewer"
        )
    return sorted(trained, key=lambda trial: (-(trial.value or 0.0), trial.number))[:top]


def _dice(own: Sequence[FrozenTrial]) -> NDArray[np.float64]:  # (seeds, cases)
    """Validation Dice of each seed and case, the cases in one order."""
    cases = sorted(own[0].user_attrs[DICE_OF_CASE])
    return np.array([[trial.user_attrs[DICE_OF_CASE][case] for case in cases] for trial in own])


def _losses(linked: Study) -> dict[tuple[int, int], float]:
    """The validation loss of each trial's epochs, by id and epoch."""
    query = (
        select(epochs.c.trial_id, epochs.c.epoch, epochs.c.validation_loss)
        .join(trials, trials.c.trial_id == epochs.c.trial_id)
        .where(trials.c.study_id == linked.id)
    )
    return {(row.trial_id, row.epoch): row.validation_loss for row in linked.storage.read(query)}


def _best_epochs(linked: Study, confirmation: Confirmation) -> dict[int, int]:
    """The best epoch of each trial of the search, by number."""
    search = load_study(linked.storage, confirmation.study)
    found = search.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return {trial.number: trial.user_attrs[BEST_EPOCH] for trial in found}


def _gmac(linked: Study, candidate: Candidate) -> float:
    """Multiply-adds of a candidate's network for one slice, forward.

    Every candidate trains on the same slices, as many in each epoch: their number says nothing
    about who is cheaper. What a training takes is about three times the forward cost for all.
    """
    definition = linked.definition
    network = make_draw({**definition.given, **candidate.values}, definition.seed).network
    return count_forward_macs(network, definition.data_settings().slice_size) / 1e9
