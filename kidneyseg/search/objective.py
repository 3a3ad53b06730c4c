"""One trial: draw hyper-parameters, train, report every epoch, be pruned or run to the end."""

from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import optuna
import torch
from optuna.trial import TrialState

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.folder import describe_model, save_model
from kidneyseg.provenance import Provenance, code_fingerprint, host_name, library_versions
from kidneyseg.runs import Runs
from kidneyseg.search.events import EpochFinished, TrialStarted
from kidneyseg.search.studies import Study
from kidneyseg.training.results import EpochResult
from kidneyseg.training.tensorboard import TensorBoardLog
from kidneyseg.training.trainer import Training, TrainingSetup


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker brings to every trial of a study."""

    study: Study
    runs: Runs
    training: SliceDataset
    validation: SliceDataset
    device: torch.device


def run_trial(
    workplace: Workplace, trial: optuna.Trial
) -> Generator[TrialStarted | EpochFinished, None, None]:
    """Run one trial to its end and tell the database; yield what happens.

    The trial's value is the validation Dice of its best epoch, whose model is kept.
    """
    study = workplace.study
    definition = study.definition
    hyperparameters = definition.space.draw(trial, definition.fixed)
    yield TrialStarted(trial=trial.number, hyperparameters=dict(trial.params))
    setup = _setup(study, hyperparameters)
    provenance = _provenance(workplace, trial.number)
    trial.set_user_attr("provenance", provenance.model_dump(mode="json"))
    training = Training(setup, workplace.training, workplace.validation, workplace.device)
    best: EpochResult | None = None
    folder = workplace.runs.tensorboard(study.name, trial.number)
    with TensorBoardLog(folder) as log, closing(training.epochs()) as epochs:
        for result in epochs:
            log.add(result)
            if best is None or result.is_best:
                best = result
                model = workplace.runs.model(study.name, trial.number)
                save_model(model, training.network, describe_model(setup, result, provenance))
            trial.report(result.validation_dice, result.epoch)
            yield _epoch_finished(trial.number, setup, result, best)
            if not result.is_last and trial.should_prune():
                _tell(study, trial, TrialState.PRUNED, best)
                return
    if best is None:
        raise RuntimeError("a training without an epoch")
    _tell(study, trial, TrialState.COMPLETE, best)


def _tell(study: Study, trial: optuna.Trial, state: TrialState, best: EpochResult) -> None:
    """End the trial. A pruned one's value in the database is its last report: Optuna's rule."""
    trial.set_user_attr("best epoch", best.epoch)
    trial.set_user_attr("best validation Dice", best.validation_dice)
    trial.set_user_attr("validation Dice of each case", best.dice_of_case)
    complete = state == TrialState.COMPLETE
    study.optuna.tell(trial, best.validation_dice if complete else None, state)


def _setup(study: Study, hyperparameters: Hyperparameters) -> TrainingSetup:
    definition = study.definition
    return TrainingSetup(
        data=definition.data_settings(),
        network=definition.settings.network,
        training=definition.settings.training,
        evaluation=definition.settings.evaluation,
        hyperparameters=hyperparameters,
        seed=definition.seed,
    )


def _provenance(workplace: Workplace, number: int) -> Provenance:
    definition = workplace.study.definition
    return Provenance(
        data=definition.data,
        split=definition.split,
        code=code_fingerprint(),
        versions=library_versions(),
        seed=definition.seed,
        device=str(workplace.device),
        host=host_name(),
        study=workplace.study.name,
        trial=number,
    )


def _epoch_finished(
    number: int, setup: TrainingSetup, result: EpochResult, best: EpochResult
) -> EpochFinished:
    return EpochFinished(
        trial=number,
        epoch=result.epoch,
        max_epochs=setup.training.max_epochs,
        dice=result.validation_dice,
        best_dice=best.validation_dice,
        loss=result.validation_losses.combined,
        seconds=result.seconds,
    )
