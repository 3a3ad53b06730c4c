"""Pruning: as Optuna's pruners decide, on the same database, over random histories of trials."""

import math
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.pruners import HyperbandPruner
from optuna.trial import TrialState, create_trial
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import event

from kidneyseg.search.budget import HANDED_BACK, OUTCOME
from kidneyseg.search.lineage import LINEAGE
from kidneyseg.search.pruner_settings import (
    Hyperband,
    KeepAfter,
    PrunerSettings,
    SuccessiveHalving,
)
from kidneyseg.search.pruners import Pruner, build_pruner, find_bracket, find_rung
from kidneyseg.search.storage import Storage, open_storage

EPOCHS = 9
N_TRIALS = 24
HALVING: tuple[dict[str, Any], ...] = (  # Optuna notes rungs on the trial: one of them a study
    {"name": "successive_halving"},
    {"name": "successive_halving", "min_epochs": 2, "reduction_factor": 2},
    {"name": "hyperband", "max_epochs": EPOCHS},
    {"name": "hyperband", "min_epochs": 2, "max_epochs": EPOCHS, "reduction_factor": 2},
)
OTHERS: tuple[dict[str, Any], ...] = (
    {"name": "median", "n_startup_trials": 1, "n_warmup_epochs": 1},
    {"name": "median"},
    {"name": "percentile", "percentile": 25, "n_startup_trials": 2, "n_warmup_epochs": 2},
    {"name": "percentile", "percentile": 73.1, "n_startup_trials": 1, "n_warmup_epochs": 1},
    {"name": "threshold", "lower": 0.6},
    {"name": "none"},
)
KEEP: dict[str, Any] = {"name": "keep_after", "epoch": 3, "n_startup_trials": 1}
SETTINGS: TypeAdapter[PrunerSettings] = TypeAdapter(PrunerSettings)


def parse(values: dict[str, Any]) -> PrunerSettings:
    return SETTINGS.validate_python(values)


def new_study(storage: Storage) -> optuna.Study:
    """A study whose sampler asks the database nothing."""
    return optuna.create_study(
        storage=storage.optuna,
        study_name="study",
        direction="maximize",
        sampler=optuna.samplers.RandomSampler(seed=0),
    )


def pruner_of(storage: Storage, study: optuna.Study, settings: PrunerSettings) -> Pruner:
    return Pruner(
        settings=settings,
        storage=storage,
        study_id=study._study_id,
        study_name=study.study_name,
    )


def curve(dice: random.Random) -> list[float]:
    """Few values, so that trials tie, and NaN now and then."""
    return [
        float("nan") if dice.random() < 0.06 else dice.choice((0.1, 0.25, 1 / 3, 0.5, 0.7, 0.9))
        for _ in range(dice.randint(1, EPOCHS))
    ]


def check_decisions(storage: Storage, halving: PrunerSettings, seed: int) -> set[tuple[str, bool]]:
    """Compare all decisions with Optuna's while four workers train; return those seen.

    A trial ends when it is through, when `halving` prunes it, or as failed: of every state there
    are some.
    """
    dice = random.Random(seed)
    study = new_study(storage)
    every = [halving, *map(parse, OTHERS)]
    pairs = [(build_pruner(one), pruner_of(storage, study, one)) for one in every]
    running: list[tuple[optuna.Trial, list[float]]] = []
    seen: set[tuple[str, bool]] = set()
    for _ in range(N_TRIALS):
        running.append((study.ask(), curve(dice)))
        while len(running) == 4:
            place = dice.randrange(4)
            trial, values = running[place]
            epoch = len(trial._cached_frozen_trial.intermediate_values) + 1
            trial.report(values[epoch - 1], epoch)
            frozen = trial._get_latest_trial()
            theirs = [bool(optunas.prune(study, frozen)) for optunas, _ in pairs]
            assert [ours.should_prune(trial._trial_id, epoch) for _, ours in pairs] == theirs
            seen |= {(one.name, decision) for one, decision in zip(every, theirs, strict=True)}
            if epoch == len(values) and not theirs[0]:
                study.tell(trial, 0.5)
            elif theirs[0]:
                study.tell(trial, state=TrialState.PRUNED)
            elif dice.random() < 0.03:
                study.tell(trial, state=TrialState.FAIL)
            else:
                continue
            del running[place]
    return seen


OPTUNA_WARNS = pytest.mark.filterwarnings("ignore:All-NaN slice encountered:RuntimeWarning")


@OPTUNA_WARNS
@pytest.mark.parametrize(("halving", "seed"), list(zip(HALVING, (11, 1, 2, 3), strict=True)))
def test_decisions_are_optunas(storage: Storage, halving: dict[str, Any], seed: int) -> None:
    """With seeds at which every pruner answers both ways."""
    seen = check_decisions(storage, parse(halving), seed)
    names = {halving["name"], "median", "percentile", "threshold"}
    assert seen == {(name, pruned) for name in names for pruned in (True, False)} | {
        ("none", False)
    }


@OPTUNA_WARNS
@pytest.mark.postgres
@pytest.mark.parametrize("halving", HALVING[::3])
def test_decisions_are_optunas_on_postgresql(
    postgres_database: str, halving: dict[str, Any]
) -> None:
    storage = open_storage(postgres_database)
    seen = check_decisions(storage, parse(halving), seed=2)
    storage.engine.dispose()
    assert (halving["name"], True) in seen


@pytest.mark.parametrize("percentile", [3.7, 25, 50, 62.5, 99])
def test_beside_the_percentile_the_decision_is_optunas_to_the_bit(
    storage: Storage, percentile: float
) -> None:
    """The trial's Dice is a value of the others, or on, just below or just above the percentile."""
    dice = random.Random(3)
    others = [dice.random() for _ in range(10)]
    settings = parse({"name": "percentile", "percentile": percentile, "n_startup_trials": 1})
    study = new_study(storage)
    study.pruner = build_pruner(settings)
    for value in others:
        study.add_trial(create_trial(value=value, intermediate_values={3: value}))
    pruner = pruner_of(storage, study, settings)
    exact = float(np.percentile(others, 100 - percentile))
    pruned = []
    for value in (exact, np.nextafter(exact, 0), np.nextafter(exact, 1), *others):
        trial = study.ask()
        trial.report(value, 3)
        pruned.append(pruner.should_prune(trial._trial_id, 3))
        assert pruned[-1] == trial.should_prune()
    assert pruned[:3] == [False, True, False]


@pytest.mark.parametrize("values", [*HALVING, *OTHERS, KEEP], ids=lambda values: values["name"])
def test_a_decision_takes_one_query_at_most(storage: Storage, values: dict[str, Any]) -> None:
    study = new_study(storage)
    for _ in range(6):
        study.add_trial(create_trial(value=0.5, intermediate_values=dict.fromkeys(range(9), 0.5)))
    trial = study.ask()
    pruner = pruner_of(storage, study, parse(values))
    n_queries = []
    for epoch in range(1, EPOCHS + 1):
        trial.report(0.4, epoch)
        with counted_queries(storage) as queries:
            pruner.should_prune(trial._trial_id, epoch)
        n_queries.append(len(queries))
    assert max(n_queries) == (values["name"] != "none")


@contextmanager
def counted_queries(storage: Storage) -> Iterator[list[str]]:
    queries: list[str] = []

    def note(*arguments: Any) -> None:
        queries.append(arguments[2])

    event.listen(storage.engine, "before_cursor_execute", note)
    yield queries
    event.remove(storage.engine, "before_cursor_execute", note)
    queries[:] = [query for query in queries if not query.startswith("BEGIN")]


def reaching(study: optuna.Study, values: dict[int, float], **attributes: Any) -> optuna.Trial:
    """A running trial with reports and user attributes."""
    study.enqueue_trial({}, user_attrs=attributes)
    trial = study.ask()
    for epoch, dice in values.items():
        trial.report(dice, epoch)
    return trial


def keeps(once: KeepAfter, before: list[list[float]], mine: list[float]) -> bool:
    """The rule of its docstring, over the curves of all that got there before."""
    best = [nanmax(values[: once.epoch]) for values in [*before, mine]]
    if len(best) <= once.n_startup_trials:
        return True
    ranking = sorted((-1.0 if math.isnan(dice) else dice for dice in best), reverse=True)
    own = best[-1]
    return not math.isnan(own) and own >= ranking[math.ceil(once.share * len(best)) - 1]


def nanmax(values: list[float]) -> float:
    return max((value for value in values if not math.isnan(value)), default=math.nan)


@pytest.mark.parametrize("epoch", [1, 2, 4])
@pytest.mark.parametrize("share", [0.2, 1 / 3, 0.5])
def test_keep_after_decides_once_by_the_best_dice_so_far(
    storage: Storage, epoch: int, share: float
) -> None:
    once = KeepAfter(name="keep_after", epoch=epoch, share=share, n_startup_trials=3)
    study = new_study(storage)
    pruner = pruner_of(storage, study, once)
    dice = random.Random(epoch)
    before: list[list[float]] = []
    kept = []
    for _ in range(25):
        trial, values = study.ask(), curve(dice)
        pruned = []
        for reported, value in enumerate(values, start=1):
            trial.report(value, reported)
            pruned.append(pruner.should_prune(trial._trial_id, reported))
        if len(values) < epoch:
            assert not any(pruned)
            continue
        kept.append(not pruned[epoch - 1])
        assert kept[-1] == keeps(once, before, values)
        assert pruned.count(True) == (not kept[-1])
        before.append(values)
        study.tell(trial, state=dice.choice((TrialState.PRUNED, TrialState.FAIL)))
    assert set(kept) == {True, False}


@pytest.mark.parametrize(
    "settings",
    [
        SuccessiveHalving(name="successive_halving"),
        Hyperband(name="hyperband", max_epochs=1),  # a single bracket
        KeepAfter(name="keep_after", epoch=1, n_startup_trials=1),
    ],
    ids=lambda settings: settings.name,
)
def test_a_trial_that_was_handed_back_is_no_rival(
    either_storage: Storage, settings: PrunerSettings
) -> None:
    """Else a trial that goes on would lose to its own reports of before."""
    study = new_study(either_storage)
    pruner = pruner_of(either_storage, study, settings)
    failed = reaching(study, {1: 0.8})
    failed.set_user_attr(OUTCOME, "failed: out of memory")
    study.tell(failed, state=TrialState.FAIL)
    before = reaching(study, {1: 0.9})
    rival = reaching(study, {1: 0.85})
    assert pruner.should_prune(rival._trial_id, 1)
    before.set_user_attr(OUTCOME, f"{HANDED_BACK}: its worker died")
    study.tell(before, state=TrialState.FAIL)
    assert not pruner.should_prune(rival._trial_id, 1)
    poor = reaching(study, {1: 0.7})
    study.tell(rival, state=TrialState.FAIL)
    assert pruner.should_prune(poor._trial_id, 1)  # other failed ones are


@pytest.mark.parametrize("values", [*HALVING, *OTHERS, KEEP], ids=lambda values: values["name"])
def test_asking_about_a_trial_that_was_taken_over_is_no_error(
    storage: Storage, values: dict[str, Any]
) -> None:
    study = new_study(storage)
    trial = reaching(study, {1: 0.5, 2: 0.5, 3: 0.5})
    trial.set_user_attr(OUTCOME, f"{HANDED_BACK}: its worker died")
    study.tell(trial, state=TrialState.FAIL)
    pruner = pruner_of(storage, study, parse(values))
    for epoch in (1, 2, 3):  # either answer: what the worker writes next tells it
        assert pruner.should_prune(trial._trial_id, epoch) in (False, True)


@pytest.mark.parametrize(("lowest", "highest", "factor"), [(1, 10, 3), (1, 6, 2), (2, 81, 3)])
def test_brackets_are_optunas(lowest: int, highest: int, factor: int) -> None:
    settings = Hyperband(
        name="hyperband", min_epochs=lowest, max_epochs=highest, reduction_factor=factor
    )
    theirs = build_pruner(settings)
    assert isinstance(theirs, HyperbandPruner)
    study = optuna.create_study(study_name="lr_loss")
    theirs._try_initialization(study)
    for number in range(300):
        trial = create_trial(state=TrialState.RUNNING)
        trial.number = number
        expected = theirs._get_bracket_id(study, trial)
        assert find_bracket(settings, "lr_loss", number) == expected


def test_a_trial_that_goes_on_stays_in_the_bracket_of_its_first_number(
    either_storage: Storage,
) -> None:
    settings = Hyperband(name="hyperband", max_epochs=9)
    study = new_study(either_storage)
    pruner = pruner_of(either_storage, study, settings)
    brackets = [find_bracket(settings, "study", number) for number in range(100)]
    strict, lax = brackets.index(0), brackets.index(2)
    good = reaching(study, {1: 0.9}, **{LINEAGE: [strict, 1000]})
    assert not pruner.should_prune(good._trial_id, 1)
    decided: dict[int, set[bool]] = {}
    for first in (strict, lax):
        for _ in range(4):  # whatever brackets their own numbers have
            again = reaching(study, {1: 0.1}, **{LINEAGE: [first, 1000]})
            decided.setdefault(first, set()).add(pruner.should_prune(again._trial_id, 1))
    assert decided == {strict: {True}, lax: {False}}


def test_a_trial_that_goes_on_is_judged_by_what_it_reported_before(storage: Storage) -> None:
    """Optuna would compare its Dice of now with the others' at an earlier epoch."""
    study = new_study(storage)
    settings = SuccessiveHalving(name="successive_halving", min_epochs=1, reduction_factor=3)
    pruner = pruner_of(storage, study, settings)
    for _ in range(5):
        reaching(study, {1: 0.2, 2: 0.4, 3: 0.6})
    again = reaching(study, {1: 0.1, 2: 0.3, 3: 0.7})
    assert not pruner.should_prune(again._trial_id, 3)
    worse = reaching(study, {1: 0.5, 2: 0.5, 3: 0.5})
    assert pruner.should_prune(worse._trial_id, 3)


@pytest.mark.parametrize(
    ("epoch", "rung"), [(1, None), (2, 0), (3, None), (6, 1), (12, None), (18, 2)]
)
def test_rungs_grow_by_the_factor(epoch: int, rung: int | None) -> None:
    settings = SuccessiveHalving(name="successive_halving", min_epochs=2, reduction_factor=3)
    assert find_rung(settings, epoch) == rung


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": "hyperband", "min_epochs": 5, "max_epochs": 4}, "max_epochs 4: expected at"),
        ({"name": "hyperband"}, "max_epochs"),
        ({"name": "successive_halving", "reduction_factor": 1}, "greater than or equal to 2"),
        ({"name": "percentile", "percentile": 100}, "less than 100"),
        ({"name": "keep_after", "share": 1}, "less than 1"),
        ({"name": "threshold"}, "lower"),
        ({"name": "patient"}, "does not match any of the expected tags"),
    ],
)
def test_settings_that_make_no_sense_are_refused(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        parse(values)
