"""One trial: draw hyper-parameters, train, report every epoch, be pruned or run to the end."""

import shutil
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass

import optuna
import torch
from optuna.trial import TrialState

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import load_description
from kidneyseg.model.recording import Recording, forget, record, resume
from kidneyseg.provenance import Provenance, code_fingerprint, host_name, library_versions
from kidneyseg.runs import Runs
from kidneyseg.search.events import EpochFinished, TrialStarted
from kidneyseg.search.lineage import lineage
from kidneyseg.search.studies import Study
from kidneyseg.training.results import EpochResult
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker brings to every trial of a study."""

    study: Study
    runs: Runs
    training: SliceDataset
    validation: SliceDataset
    device: torch.device
    pictures: bool = True  # of slices, in TensorBoard


def run_trial(
    workplace: Workplace, trial: optuna.Trial
) -> Generator[TrialStarted | EpochFinished, None, None]:
    """Run one trial to its end and tell the database; yield what happens.

    The trial's value is the validation Dice of its best epoch, whose model is kept. One that was
    handed back or whose worker died goes on after the last epoch that its checkpoints hold.
    """
    study = workplace.study
    definition = study.definition
    hyperparameters = definition.space.draw(trial, definition.fixed)
    setup = _setup(study, hyperparameters)
    provenance = _provenance(workplace, trial.number)
    trial.set_user_attr("provenance", provenance.model_dump(mode="json"))
    training = Training(setup, workplace.training, workplace.validation, workplace.device)
    recording = _recording(workplace, trial.number)
    _take_over(workplace, trial)
    for epoch, dice in enumerate(resume(training, recording), start=1):
        trial.report(dice, epoch)
    yield TrialStarted(
        trial=trial.number,
        hyperparameters=dict(trial.params),
        finished_epochs=training.finished_epochs,
    )
    with closing(record(training, recording, provenance)) as epochs:
        for result in epochs:
            trial.report(result.validation_dice, result.epoch)
            yield _epoch_finished(trial.number, setup, result)
            if not result.is_last and trial.should_prune():
                _tell(study, trial, TrialState.PRUNED, recording)
                return
    _tell(study, trial, TrialState.COMPLETE, recording)


def _take_over(workplace: Workplace, trial: optuna.Trial) -> None:
    """Copy the files of whichever trial had these hyper-parameters before and got somewhere."""
    runs, study = workplace.runs, workplace.study.name
    for number in reversed(lineage(trial)):
        if runs.checkpoints(study, number).is_dir():
            shutil.copytree(runs.trial(study, number), runs.trial(study, trial.number))
            shutil.rmtree(runs.trial(study, number), ignore_errors=True)
            return


def _tell(study: Study, trial: optuna.Trial, state: TrialState, recording: Recording) -> None:
    """End the trial. A pruned one's value in the database is its last report: Optuna's rule."""
    best = load_description(recording.model).validation
    trial.set_user_attr("best epoch", best.epoch)
    trial.set_user_attr("best validation Dice", best.dice)
    trial.set_user_attr("validation Dice of each case", best.dice_of_case)
    trial.set_user_attr("slices at a time", best.small_batch_size)
    study.optuna.tell(trial, best.dice if state == TrialState.COMPLETE else None, state)
    forget(recording)


def _recording(workplace: Workplace, number: int) -> Recording:
    runs, study = workplace.runs, workplace.study.name
    return Recording(
        model=runs.model(study, number),
        tensorboard=runs.tensorboard(study, number),
        checkpoints=runs.checkpoints(study, number),
        pictures=workplace.pictures,
    )


def _setup(study: Study, hyperparameters: Hyperparameters) -> TrainingSetup:
    definition = study.definition
    return TrainingSetup(
        data=definition.data_settings(),
        network=definition.settings.network,
        training=definition.settings.training,
        evaluation=definition.settings.evaluation,
        hyperparameters=hyperparameters,
        seed=definition.seed,
        cases=definition.cases,
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


def _epoch_finished(number: int, setup: TrainingSetup, result: EpochResult) -> EpochFinished:
    return EpochFinished(
        trial=number,
        epoch=result.epoch,
        max_epochs=setup.training.max_epochs,
        dice=result.validation_dice,
        best_dice=result.best_dice,
        loss=result.validation_losses.combined,
        seconds=result.seconds,
    )
