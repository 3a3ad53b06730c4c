"""One trial: reported epoch by epoch, its best epoch kept, its value that epoch's Dice."""

from collections.abc import Callable

import optuna
import pytest
import torch
from optuna.pruners import BasePruner
from optuna.trial import FrozenTrial

from kidneyseg.model.folder import load_model
from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.events import EpochFinished, TrialStarted
from kidneyseg.search.objective import Workplace, run_trial
from kidneyseg.search.service import begin_study
from kidneyseg.search.storage import Storage
from kidneyseg.settings import Environment


@pytest.fixture
def workplace(
    storage: Storage, build_plan: Callable[..., StudyPlan], environment: Environment
) -> Workplace:
    """A place for trials of four epochs."""
    training = environment.training.model_copy(update={"max_epochs": 4, "patience": 99})
    longer = environment.model_copy(update={"training": training})
    return begin_study(storage, "tiny", build_plan(), longer).workplace("cpu")


class PruneAt(BasePruner):
    """Prune at one epoch."""

    def __init__(self, epoch: int) -> None:
        self.epoch = epoch

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        return trial.last_step == self.epoch


def run(workplace: Workplace) -> tuple[FrozenTrial, list[TrialStarted | EpochFinished]]:
    study = workplace.study.optuna
    trial = study.ask()
    events = list(run_trial(workplace, trial))
    return study.trials[trial.number], events


def test_a_trials_value_is_the_dice_of_its_best_epoch(workplace: Workplace) -> None:
    trial, events = run(workplace)
    epochs = [event for event in events if isinstance(event, EpochFinished)]
    assert trial.state.name == "COMPLETE"
    assert trial.intermediate_values == {event.epoch: event.dice for event in epochs}
    assert len(epochs) == 4
    assert trial.value == max(trial.intermediate_values.values()) == epochs[-1].best_dice
    assert trial.user_attrs["best validation Dice"] == trial.value
    best = trial.user_attrs["best epoch"]
    assert trial.intermediate_values[best] == trial.value


def test_the_model_of_the_best_epoch_is_kept_with_its_provenance(workplace: Workplace) -> None:
    trial, _ = run(workplace)
    folder = workplace.runs.model("tiny", trial.number)
    description = load_model(folder, torch.device("cpu")).description
    assert description.validation.epoch == trial.user_attrs["best epoch"]
    assert description.validation.dice == trial.value
    assert description.validation.dice_of_case == trial.user_attrs["validation Dice of each case"]
    assert description.hyperparameters.learning_rate == trial.params["learning_rate"]
    assert description.hyperparameters.batch_size == 8  # fixed
    assert (description.provenance.study, description.provenance.trial) == ("tiny", trial.number)
    assert description.provenance.data == workplace.study.definition.data
    assert trial.user_attrs["provenance"] == description.provenance.model_dump(mode="json")


def test_a_pruned_trial_ends_at_its_epoch_and_keeps_its_best_model(workplace: Workplace) -> None:
    workplace.study.optuna.pruner = PruneAt(2)
    trial, events = run(workplace)
    assert trial.state.name == "PRUNED"
    assert sorted(trial.intermediate_values) == [1, 2]
    assert trial.user_attrs["best validation Dice"] == max(trial.intermediate_values.values())
    assert workplace.runs.model("tiny", trial.number).is_dir()
    assert len(events) == 3


def test_a_trial_that_ends_by_itself_is_not_pruned_at_its_last_epoch(workplace: Workplace) -> None:
    workplace.study.optuna.pruner = PruneAt(4)
    trial, _ = run(workplace)
    assert trial.state.name == "COMPLETE"


def test_the_same_hyperparameters_give_the_same_trial(workplace: Workplace) -> None:
    study = workplace.study.optuna
    first, _ = run(workplace)
    study.enqueue_trial(first.params)
    second, _ = run(workplace)
    assert second.params == first.params
    assert second.intermediate_values == first.intermediate_values


def test_a_trial_leaves_tensorboard_logs_of_both_writers(workplace: Workplace) -> None:
    trial, _ = run(workplace)
    folder = workplace.runs.tensorboard("tiny", trial.number)
    for writer in ("training", "validation"):
        assert len(list((folder / writer).glob("events.out.tfevents.*"))) == 1
