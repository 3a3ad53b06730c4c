"""One row per epoch, none doubled, and those of a trial that another goes on with come along."""

from collections.abc import Callable
from typing import Any

import optuna
import pytest
from optuna.exceptions import UpdateFinishedTrialError
from sqlalchemy import select

from kidneyseg.search.epochs import copy_epochs, store_epoch
from kidneyseg.search.hand_back import end_trial
from kidneyseg.search.objective import report_epoch
from kidneyseg.search.studies import Study
from kidneyseg.search.tables import epochs
from kidneyseg.search.trial_order import EpochReport


@pytest.fixture
def study(either_study: Study) -> Study:
    return either_study


def report(epoch: int, learning_rate: float = 0.01) -> EpochReport:
    return EpochReport(
        epoch=epoch,
        is_last=False,
        dice=0.5,
        best_dice=0.5,
        training_losses=(0.1, 0.2, 0.3),
        validation_losses=(0.4, 0.5, 0.6),
        learning_rate=learning_rate,
        seconds=1.5,
        memory_bytes=3 * 2**31,  # more than 32 bits hold
        skipped_steps=0,
        small_batch_size=4,
        evaluation_batch_size=16,
    )


def rows(study: Study, trial: optuna.Trial) -> list[dict[str, Any]]:
    query = select(epochs).where(epochs.c.trial_id == trial._trial_id).order_by(epochs.c.epoch)
    return [dict(row) for row in study.storage.read(query).mappings()]


def store(study: Study, trial: optuna.Trial, *numbers: int) -> None:
    for epoch in numbers:
        store_epoch(study.storage, trial._trial_id, report(epoch, learning_rate=0.1 / epoch))


@pytest.fixture
def two(study: Study, begin_trial: Callable[..., optuna.Trial]) -> list[optuna.Trial]:
    return [begin_trial(study) for _ in range(2)]


def test_an_epoch_s_figures_are_kept_under_their_names(
    study: Study, two: list[optuna.Trial]
) -> None:
    store_epoch(study.storage, two[0]._trial_id, report(3))
    assert rows(study, two[0]) == [
        {
            "trial_id": two[0]._trial_id,
            "epoch": 3,
            "training_loss": 0.1,
            "training_dice_loss": 0.2,
            "training_cross_entropy": 0.3,
            "validation_loss": 0.4,
            "validation_dice_loss": 0.5,
            "validation_cross_entropy": 0.6,
            "learning_rate": 0.01,
            "seconds": 1.5,
            "memory_bytes": 6_442_450_944,
        }
    ]


def test_the_same_epoch_once_more_takes_the_place_of_the_first(
    study: Study, two: list[optuna.Trial]
) -> None:
    store(study, two[0], 1, 2)
    store(study, two[1], 2)
    store_epoch(study.storage, two[0]._trial_id, report(2, learning_rate=7.0))
    assert [row["learning_rate"] for row in rows(study, two[0])] == [0.1, 7.0]
    assert [row["learning_rate"] for row in rows(study, two[1])] == [0.05]


def test_who_goes_on_after_an_epoch_has_those_until_it(
    study: Study, two: list[optuna.Trial]
) -> None:
    before, after = two
    store(study, before, 1, 2, 3)
    store(study, after, 1)
    for _ in range(2):  # the second time its answer was lost
        assert copy_epochs(study.storage, before._trial_id, after._trial_id, 2) == 2
    copied = [{**row, "trial_id": before._trial_id} for row in rows(study, after)]
    assert copied == rows(study, before)[:2]
    assert len(rows(study, before)) == 3


def test_where_there_is_nothing_nothing_is_copied(study: Study, two: list[optuna.Trial]) -> None:
    assert copy_epochs(study.storage, two[0]._trial_id, two[1]._trial_id, 5) == 0


def test_epochs_go_with_their_study(study: Study, two: list[optuna.Trial]) -> None:
    store(study, two[0], 1, 2)
    optuna.delete_study(storage=study.storage.optuna, study_name=study.name)
    assert rows(study, two[0]) == []


def test_a_worker_that_lost_its_trial_writes_no_epoch_into_it(
    study: Study, begin_trial: Callable[..., optuna.Trial]
) -> None:
    trial = begin_trial(study)
    end_trial(study, trial._trial_id, "handed back: its worker died")
    with pytest.raises(UpdateFinishedTrialError):
        report_epoch(study, trial, report(1))
    assert study.storage.read(select(epochs)).all() == []


def test_how_many_slices_fitted_is_on_the_trial_from_the_epoch_where_it_changed(
    study: Study,
) -> None:
    trial = study.optuna.ask()
    attributes = []
    for epoch, n in ((1, 8), (2, 4)):
        told = report(epoch).model_copy(update={"small_batch_size": n})
        report_epoch(study, trial, told)
        attributes.append(study.optuna.trials[0].user_attrs)
    assert [found["slices at a time"] for found in attributes] == [8, 4]
    assert [found["slices at a time in validation"] for found in attributes] == [16, 16]
