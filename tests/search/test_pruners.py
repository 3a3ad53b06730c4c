"""Pruning: never in the warm-up, beyond it as Optuna's median pruner decides."""

import random

import optuna
import pytest
from optuna.pruners import MedianPruner, NopPruner
from optuna.trial import TrialState, create_trial

from kidneyseg.search.pruner_settings import Median, NoPruner
from kidneyseg.search.pruners import build_pruner


def study_of_curves(seed: int, n: int = 8, epochs: int = 6) -> optuna.Study:
    """Complete trials with random Dice at every epoch."""
    dice = random.Random(seed)
    study = optuna.create_study(direction="maximize")
    for _ in range(n):
        curve = {epoch: dice.random() for epoch in range(1, epochs + 1)}
        study.add_trial(create_trial(value=max(curve.values()), intermediate_values=curve))
    return study


def running(values: list[float]) -> optuna.trial.FrozenTrial:
    """A running trial that reported these from epoch 1 on."""
    return create_trial(
        state=TrialState.RUNNING, intermediate_values=dict(enumerate(values, start=1))
    )


@pytest.mark.parametrize("n_warmup_epochs", [1, 2, 4])
def test_a_hopeless_trial_is_pruned_in_the_first_epoch_after_the_warm_up(
    n_warmup_epochs: int,
) -> None:
    settings = Median(name="median", n_startup_trials=1, n_warmup_epochs=n_warmup_epochs)
    pruner, study = build_pruner(settings), study_of_curves(seed=0)
    decisions = [pruner.prune(study, running([0.0] * epoch)) for epoch in range(1, 7)]
    assert decisions.index(True) + 1 == n_warmup_epochs + 1


@pytest.mark.parametrize("seed", range(10))
def test_decisions_are_those_of_optunas_median(seed: int) -> None:
    dice = random.Random(1000 + seed)
    study = study_of_curves(seed)
    ours = build_pruner(Median(name="median", n_startup_trials=4, n_warmup_epochs=2))
    theirs = MedianPruner(n_startup_trials=4)
    values = [dice.random() * 0.8 for _ in range(6)]
    for epoch in range(1, 7):
        trial = running(values[:epoch])
        expected = epoch > 2 and theirs.prune(study, trial)
        assert ours.prune(study, trial) == expected, epoch


def test_decisions_of_the_ten_seeds_hold_both_answers() -> None:
    """Else equality with Optuna's would show little."""
    pruner = build_pruner(Median(name="median", n_startup_trials=4, n_warmup_epochs=2))
    study = study_of_curves(seed=0)
    assert {bool(pruner.prune(study, running([dice] * 4))) for dice in (0.1, 0.9)} == {True, False}


def test_nothing_is_pruned_before_enough_trials_are_complete() -> None:
    settings = Median(name="median", n_startup_trials=5, n_warmup_epochs=1)
    hopeless = running([0.0] * 4)
    assert not build_pruner(settings).prune(study_of_curves(0, n=4), hopeless)
    assert build_pruner(settings).prune(study_of_curves(0, n=5), hopeless)


def test_none_prunes_nothing() -> None:
    pruner = build_pruner(NoPruner(name="none"))
    assert isinstance(pruner, NopPruner)
    assert not pruner.prune(study_of_curves(0), running([0.0] * 6))
