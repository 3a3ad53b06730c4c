"""One trial: reported epoch by epoch, its best epoch kept, its value that epoch's Dice."""

import itertools
import os
import shutil
import signal
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import optuna
import psutil
import pytest
import torch
from optuna.trial import FrozenTrial
from sqlalchemy import select

from kidneyseg.model.folder import load_model
from kidneyseg.search import objective
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import EpochFinished, TrialStarted, Warned
from kidneyseg.search.hand_back import hand_back
from kidneyseg.search.objective import TrialFailedError, Workplace, run_trial
from kidneyseg.search.service import begin_study
from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import epochs
from kidneyseg.search.training_process import TrainingProcess, TrialProcessDiedError
from kidneyseg.search.trial_order import Message, Written
from kidneyseg.settings import Environment

Trainers = Callable[[], list[psutil.Process]]


@pytest.fixture
def four_epochs(environment: Environment) -> Environment:
    training = environment.training.model_copy(update={"max_epochs": 4, "patience": 99})
    return environment.model_copy(update={"training": training})


@pytest.fixture
def begin(
    storage: Storage, build_plan: Callable[..., StudyPlan], four_epochs: Environment
) -> Callable[..., Workplace]:
    """A place for trials of four epochs, of one thread, in a study with parts of its own."""

    def build(**parts: Any) -> Workplace:
        begun = begin_study(storage, "tiny", build_plan(**parts), four_epochs)
        return begun.workplace("cpu", n_workers=99)

    return build


@pytest.fixture
def workplace(begin: Callable[..., Workplace]) -> Workplace:
    return begin()


def prune_at(epoch: int) -> dict[str, Any]:
    """A pruner that no Dice below 1 gets past."""
    return {"name": "threshold", "lower": 1.0, "n_warmup_epochs": epoch - 1}


def run(workplace: Workplace) -> tuple[FrozenTrial, list[TrialStarted | EpochFinished | Warned]]:
    """Run the next trial to its end."""
    study = workplace.study.optuna
    trial = study.ask()
    events = [event for event in run_trial(workplace, trial) if event is not None]
    return study.trials[trial.number], events


def run_until(workplace: Workplace, epoch: int) -> optuna.Trial:
    """Run the next trial until it has told of an epoch; hand it back."""
    trial = workplace.study.optuna.ask()
    with closing(run_trial(workplace, trial)) as events:
        wait_for(events, epoch)
    hand_back(workplace.study, trial._trial_id)
    return trial


def wait_for(events: Generator[Any, None, None], epoch: int) -> None:
    for event in events:
        if isinstance(event, EpochFinished) and event.epoch == epoch:
            return
    raise AssertionError(f"it ended before epoch {epoch}")


def rows(workplace: Workplace, trial: FrozenTrial) -> list[int]:
    """The epochs that the table holds of a trial."""
    query = select(epochs.c.epoch).where(epochs.c.trial_id == trial._trial_id)
    return sorted(workplace.study.storage.read(query).scalars())


def test_a_trials_value_is_the_dice_of_its_best_epoch(workplace: Workplace) -> None:
    trial, events = run(workplace)
    told = [event for event in events if isinstance(event, EpochFinished)]
    assert trial.state.name == "COMPLETE"
    assert trial.intermediate_values == {event.epoch: event.dice for event in told}
    assert len(told) == 4
    assert trial.value == max(trial.intermediate_values.values()) == told[-1].best_dice
    assert trial.user_attrs["best validation Dice"] == trial.value
    best = trial.user_attrs["best epoch"]
    assert trial.intermediate_values[best] == trial.value
    assert rows(workplace, trial) == [1, 2, 3, 4]


def test_the_model_of_the_best_epoch_is_kept_with_its_provenance(workplace: Workplace) -> None:
    trial, _ = run(workplace)
    folder = workplace.runs.model("tiny", trial.number)
    description = load_model(folder, torch.device("cpu")).description
    assert description.validation.epoch == trial.user_attrs["best epoch"]
    assert description.validation.dice == trial.value
    assert description.validation.dice_of_case == trial.user_attrs["validation Dice of each case"]
    assert description.hyperparameters.learning_rate == trial.params["learning_rate"]
    assert description.hyperparameters.batch_size == 8  # fixed
    provenance = description.provenance
    assert (provenance.study, provenance.trial) == ("tiny", trial.number)
    assert (provenance.data, provenance.threads) == (
        workplace.study.definition.data,
        workplace.threads,
    )
    assert trial.user_attrs["provenance"] == provenance.model_dump(mode="json")


def test_network_settings_that_vary_are_those_of_the_network(
    begin: Callable[..., Workplace],
) -> None:
    space = {"network.filters": {"type": "categorical", "choices": [6]}}
    workplace = begin(space=space, start_points=())
    trial, _ = run(workplace)
    assert trial.params == {"network.filters": 6}
    folder = workplace.runs.model("tiny", trial.number)
    assert load_model(folder, torch.device("cpu")).description.network.filters == 6


def test_a_pruned_trial_ends_at_its_epoch_and_keeps_its_best_model(
    begin: Callable[..., Workplace],
) -> None:
    workplace = begin(pruner=prune_at(2))
    trial, events = run(workplace)
    assert trial.state.name == "PRUNED"
    assert sorted(trial.intermediate_values) == [1, 2] == rows(workplace, trial)
    assert trial.user_attrs["best validation Dice"] == max(trial.intermediate_values.values())
    assert workplace.runs.model("tiny", trial.number).is_dir()
    assert len(events) == 3


def test_a_trial_that_ends_by_itself_is_not_pruned_at_its_last_epoch(
    begin: Callable[..., Workplace],
) -> None:
    trial, _ = run(begin(pruner=prune_at(4)))
    assert trial.state.name == "COMPLETE"


def test_a_trial_leaves_tensorboard_logs_of_both_writers_and_no_checkpoint(
    workplace: Workplace,
) -> None:
    trial, _ = run(workplace)
    folder = workplace.runs.tensorboard("tiny", trial.number)
    for writer in ("training", "validation"):
        assert len(list((folder / writer).glob("events.out.tfevents.*"))) == 1
    assert not workplace.runs.checkpoints("tiny", trial.number).exists()


def test_a_trial_that_was_handed_back_goes_on_to_the_result_of_one_that_never_was(
    workplace: Workplace,
) -> None:
    whole, _ = run(workplace)
    workplace.study.optuna.enqueue_trial(whole.params)
    before = run_until(workplace, 2)
    trial, events = run(workplace)
    started, *told = events
    assert isinstance(started, TrialStarted)
    assert started.finished_epochs == 2
    assert [event.epoch for event in told if isinstance(event, EpochFinished)] == [3, 4]
    assert trial.params == whole.params
    assert trial.intermediate_values == whole.intermediate_values
    assert trial.value == whole.value
    assert rows(workplace, trial) == [1, 2, 3, 4]
    assert not workplace.runs.trial("tiny", before.number).exists()
    assert workplace.runs.model("tiny", trial.number).is_dir()


def test_a_trial_goes_on_through_any_number_of_hands(workplace: Workplace) -> None:
    for epoch in (1, 2, 3):
        run_until(workplace, epoch)
    trial, events = run(workplace)
    assert [event.epoch for event in events if isinstance(event, EpochFinished)] == [4]
    assert sorted(trial.intermediate_values) == [1, 2, 3, 4] == rows(workplace, trial)


def test_an_epoch_that_was_kept_but_not_told_is_told_and_not_trained_again(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = workplace.study.optuna.ask()
    report = objective.report_epoch

    def broken(study: Any, trial: optuna.Trial, told: Any) -> None:
        if told.epoch == 3:
            raise KeyboardInterrupt
        report(study, trial, told)

    with monkeypatch.context() as patch:
        patch.setattr(objective, "report_epoch", broken)
        with pytest.raises(KeyboardInterrupt):
            list(run_trial(workplace, trial))
    assert sorted(workplace.study.optuna.trials[0].intermediate_values) == [1, 2]
    hand_back(workplace.study, trial._trial_id)
    again, events = run(workplace)
    assert [event.epoch for event in events if isinstance(event, EpochFinished)] == [4]
    assert sorted(again.intermediate_values) == [1, 2, 3, 4]


def test_a_trial_whose_last_epoch_was_told_is_finished_without_training(
    workplace: Workplace,
) -> None:
    run_until(workplace, 4)
    trial, events = run(workplace)
    assert [type(event) for event in events] == [TrialStarted]
    assert trial.state.name == "COMPLETE"
    assert trial.value == max(trial.intermediate_values.values())
    assert len(trial.intermediate_values) == 4


def test_a_trial_whose_process_was_killed_goes_on_from_its_checkpoint(
    workplace: Workplace, trainers: Trainers
) -> None:
    trial = workplace.study.optuna.ask()
    events = run_trial(workplace, trial)
    wait_for(events, 2)
    (child,) = trainers()
    os.kill(child.pid, signal.SIGKILL)
    with pytest.raises(TrialProcessDiedError, match="SIGKILL"):
        list(events)
    hand_back(workplace.study, trial._trial_id)
    again, told = run(workplace)
    assert isinstance(told[0], TrialStarted)
    assert told[0].finished_epochs >= 2
    assert sorted(again.intermediate_values) == [1, 2, 3, 4]


@pytest.mark.parametrize("epoch", [1, 3])
def test_no_process_is_left_when_the_trial_is_left(
    workplace: Workplace, trainers: Trainers, epoch: int
) -> None:
    run_until(workplace, epoch)
    assert trainers() == []


def test_a_training_that_fails_says_why_with_its_traceback(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    build = objective._order

    def gone(*arguments: Any) -> Any:
        return build(*arguments).model_copy(update={"device": "cuda:99"})

    monkeypatch.setattr(objective, "_order", gone)
    with pytest.raises(TrialFailedError, match="device 'cuda:99'") as caught:
        run(workplace)
    assert "Traceback (most recent call last)" in caught.value.traceback


def test_what_its_process_writes_is_told_with_the_trials_number(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    messages = TrainingProcess.messages

    def with_a_line(process: TrainingProcess) -> Iterator[Message | None]:
        yield Written(line="old name")
        yield from messages(process)

    monkeypatch.setattr(TrainingProcess, "messages", with_a_line)
    workplace.study.optuna.ask()
    trial, events = run(workplace)
    assert trial.number == 1
    assert events[0] == Warned(trial=1, message="old name")
    assert [type(event) for event in events[1:3]] == [TrialStarted, EpochFinished]


def test_files_are_taken_over_whole_or_not_at_all(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = run_until(workplace, 2)
    runs = workplace.runs
    waits: list[float] = []

    def torn(source: Path, target: Path, **_: object) -> None:
        target.mkdir()
        raise shutil.Error([(str(source), str(target), "it went away")])

    with monkeypatch.context() as patch:
        patch.setattr("kidneyseg.search.objective.shutil.copytree", torn)
        patch.setattr("kidneyseg.search.objective.time.sleep", waits.append)
        with pytest.raises(shutil.Error):
            run(workplace)
    assert len(waits) == objective.COPY_ATTEMPTS - 1
    assert not runs.trial("tiny", before.number + 1).exists()
    assert runs.checkpoints("tiny", before.number).is_dir()
    hand_back(workplace.study, workplace.study.optuna.trials[1]._trial_id)
    trial, events = run(workplace)
    assert isinstance(events[0], TrialStarted)
    assert (trial.number, events[0].finished_epochs) == (2, 2)


def test_of_files_that_change_meanwhile_no_model_is_older_than_its_checkpoint(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever writes them writes the model first."""
    source, target = tmp_path / "source", tmp_path / "target"

    def write(epoch: int) -> None:
        for name in ("model", "checkpoints"):
            (source / name).mkdir(parents=True, exist_ok=True)
            (source / name / "epoch").write_text(str(epoch), encoding="utf-8")

    copy, epochs_meanwhile = shutil.copytree, itertools.count(2)

    def copy_slowly(*arguments: Any, **options: Any) -> None:
        copy(*arguments, **options)
        write(next(epochs_meanwhile))

    write(1)
    monkeypatch.setattr("kidneyseg.search.objective.shutil.copytree", copy_slowly)
    objective._copy_folder(source, target)
    assert (target / "checkpoints" / "epoch").read_text(encoding="utf-8") == "1"
    assert (target / "model" / "epoch").read_text(encoding="utf-8") == "2"
