"""What the report reads, against Optuna's own listing."""

from typing import Any

import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from kidneyseg.errors import StudyError
from kidneyseg.search.budget import HANDED_BACK, OUTCOME, SURPLUS
from kidneyseg.search.epochs import store_epoch
from kidneyseg.search.lineage import TAKEN_OVER
from kidneyseg.search.objective import BEST_EPOCH, DICE_OF_CASE
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study
from kidneyseg.search.study_record import EpochLosses, read_record
from kidneyseg.search.trial_order import EpochReport

PROVENANCE = {
    "data": "d",
    "split": "e",
    "code": "f",
    "versions": {"torch": "2"},
    "seed": 0,
    "device": "cpu",
    "host": "box",
}


def add(study: Study, state: TrialState, value: float | None, **attributes: Any) -> None:
    distributions = {
        name: range_.distribution() for name, range_ in study.definition.space.root.items()
    }
    trial = create_trial(
        state=state,
        value=value,
        params={"learning_rate": 0.01, "beta": 0.5},
        distributions=distributions,
        intermediate_values={1: 0.25, 2: value or 0.5, 3: float("nan")},
        user_attrs=attributes,
    )
    study.optuna.add_trial(trial)


def fill(study: Study) -> None:
    cases = {"a": 0.5, "b": 0.9}
    add(study, TrialState.COMPLETE, 0.7, **{DICE_OF_CASE: cases, BEST_EPOCH: 2})
    add(study, TrialState.COMPLETE, 0.7, **{TAKEN_OVER: 0, "provenance": PROVENANCE})
    add(study, TrialState.PRUNED, 0.4, provenance={"of": "another version"})
    add(study, TrialState.FAIL, None, **{OUTCOME: "failed: no memory"})
    add(study, TrialState.FAIL, None, **{OUTCOME: f"{HANDED_BACK}: its worker died"})
    add(study, TrialState.FAIL, None, **{OUTCOME: f"{SURPLUS}: beyond the budget"})


def test_it_is_what_optuna_lists(either_study: Study) -> None:
    fill(either_study)
    record = read_record(either_study.storage, "tiny")
    listed: list[FrozenTrial] = either_study.optuna.get_trials()
    assert len(record.trials) == len(listed) == 6
    for mine, theirs in zip(record.trials, listed, strict=True):
        assert (mine.number, mine.state) == (theirs.number, theirs.state.name)
        assert mine.params == theirs.params
        assert mine.value == (theirs.value if theirs.state == TrialState.COMPLETE else None)
        finite = {k: v for k, v in theirs.intermediate_values.items() if v == v}  # noqa: PLR0124
        assert mine.curve == finite
    first, copy, cut, *others = record.trials
    assert (first.dice_of_case, first.best_epoch) == ({"a": 0.5, "b": 0.9}, 2)
    assert (copy.copy_of, copy.provenance and copy.provenance.host) == (0, "box")
    assert (cut.provenance, cut.dice, cut.is_pruned) == (None, 0.4, True)
    assert [trial.is_failed for trial in others] == [True, False, False]
    assert record.best is first  # of two with the same Dice
    assert (len(record.complete), len(record.pruned), len(record.finished)) == (2, 1, 3)
    assert record.definition == either_study.definition


def test_it_has_the_losses_and_the_pictures_of_the_best_trial(study: Study) -> None:
    fill(study)
    report = EpochReport(
        epoch=1,
        is_last=True,
        dice=0.5,
        best_dice=0.5,
        training_losses=(1.0, 0.5, 0.25),
        validation_losses=(2.0, 0.5, 0.25),
        learning_rate=0.1,
        seconds=1.0,
        memory_bytes=1,
        skipped_steps=0,
        small_batch_size=4,
        evaluation_batch_size=16,
    )
    trial_id = study.optuna.get_trials()[0]._trial_id
    store_epoch(study.storage, trial_id, report)
    record = read_record(study.storage, "tiny")
    assert record.losses == (EpochLosses(epoch=1, training=1.0, validation=2.0),)
    assert record.artifacts == ()


def test_the_number_of_queries_does_not_grow_with_the_study(study: Study) -> None:
    def count() -> int:
        asked = []

        def note(*arguments: Any) -> None:
            asked.append(arguments[2])

        event.listen(study.storage.engine, "before_cursor_execute", note)
        read_record(study.storage, "tiny")
        event.remove(study.storage.engine, "before_cursor_execute", note)
        return len(asked)

    fill(study)
    read_record(study.storage, "tiny")
    few = count()
    for _ in range(5):
        fill(study)
    assert count() == few
    assert few < 25


def test_a_study_that_is_not_there_is_told(storage: Storage) -> None:
    with pytest.raises(StudyError, match=r"study 'tiny': not in .*; the studies there: none"):
        read_record(storage, "tiny")


def test_one_that_is_not_ours_is_told(storage: Storage) -> None:
    optuna.create_study(storage=storage.optuna, study_name="other")
    with pytest.raises(StudyError, match="was not begun by this version of kidneyseg"):
        read_record(storage, "other")
