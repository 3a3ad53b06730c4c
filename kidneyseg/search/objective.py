"""One trial: draw, train in a process of its own, report every epoch, be pruned or run out."""

import shutil
import threading
import time
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import optuna
from optuna.trial import TrialState

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.errors import DiskFullError, KidneysegError
from kidneyseg.files import replacing_folder
from kidneyseg.model.description import load_description
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import ArtifactStore
from kidneyseg.search.artifacts import upload_model, upload_pictures
from kidneyseg.search.epochs import copy_epochs, seconds_of_epochs, store_epoch
from kidneyseg.search.events import EpochFinished, TrialStarted, Warned
from kidneyseg.search.hparams import write_hparams
from kidneyseg.search.leases import GRACE_SECONDS
from kidneyseg.search.lineage import WENT_ON_AFTER, lineage
from kidneyseg.search.space import Draw
from kidneyseg.search.studies import Study
from kidneyseg.search.training_process import training_process
from kidneyseg.search.trial_order import (
    CaseFolder,
    EpochReport,
    Failed,
    Resumed,
    TrialOrder,
    Written,
)

COPY_ATTEMPTS = 3  # of a trial's folder

BEST_EPOCH = "best epoch"  # trial attributes
BEST_DICE = "best validation Dice"
DICE_OF_CASE = "validation Dice of each case"
AT_A_TIME = "slices at a time"
AT_A_TIME_IN_VALIDATION = "slices at a time in validation"

TrialEvents = Generator[TrialStarted | EpochFinished | Warned | None, None, None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Workplace:
    """What a worker brings to every trial of a study."""

    study: Study
    runs: Runs
    store: ArtifactStore  # of kept models and pictures
    cases: DevelopmentCases
    device: str
    threads: int  # of the processor
    place: int = 0  # of several workers in one process
    pictures: bool = True  # of slices, in TensorBoard
    keep_best: int = 5  # complete trials whose models are kept
    grace_seconds: float = GRACE_SECONDS  # of silence until a worker counts as dead
    stopping: threading.Event = field(default_factory=threading.Event)  # asks to hand back


class TrialFailedError(KidneysegError):
    """The training of a trial ended with an error."""

    def __init__(self, reason: str, traceback: str) -> None:
        super().__init__(reason)
        self.traceback = traceback


def run_trial(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
    """Run one trial to its end and tell the database; yield what happens, and None now and then.

    The trial's value is the validation Dice of its best epoch, whose model is kept. One that was
    handed back or whose worker died goes on after the last epoch that its checkpoints hold.
    Raises TrialFailedError with the training's own words, and what `TrainingProcess` raises.
    """
    study = workplace.study
    order = _order(workplace, trial.number, study.definition.draw(trial))
    trial.set_user_attr("provenance", order.provenance.model_dump(mode="json"))
    _take_over_files(workplace, trial)
    state, known = TrialState.COMPLETE, 0
    with training_process(order, study.definition.limits) as process:
        for message in process.messages():
            match message:
                case None:
                    yield None
                case Resumed(history=history):
                    known = len(history)
                    _replay(study, trial, history)
                    process.count_in(seconds_of_epochs(study.storage, trial._trial_id))
                    yield TrialStarted(
                        trial=trial.number,
                        hyperparameters=dict(trial.params),
                        finished_epochs=len(history),
                    )
                case EpochReport():
                    report_epoch(study, trial, message)
                    if message.epoch > known:
                        yield _epoch_finished(trial.number, order, message)
                    if message.is_last:
                        process.finish()
                    elif study.pruner.should_prune(trial._trial_id, message.epoch):
                        state = TrialState.PRUNED
                        process.finish()
                    else:
                        process.go_on()
                case Written(line=line):
                    yield Warned(trial=trial.number, message=line)
                case Failed():
                    raise _failure(message)
    _tell(workplace, trial, state)


def _failure(told: Failed) -> KidneysegError:
    if told.disk_full:
        return DiskFullError(told.reason)
    return TrialFailedError(told.reason, told.traceback)


def _order(workplace: Workplace, number: int, draw: Draw) -> TrialOrder:
    definition = workplace.study.definition
    cases, split = workplace.cases, workplace.cases.split
    prepared = list(cases.prepare())
    return TrialOrder(
        data=definition.data_settings(),
        network=draw.network,
        training=definition.settings.training,
        evaluation=definition.settings.evaluation,
        hyperparameters=draw.hyperparameters,
        seed=draw.seed,
        cases=definition.cases,
        training_cases=_folders(cases.shown(prepared, split.training)),
        validation_cases=_folders(cases.shown(prepared, split.validation)),
        provenance=cases.provenance(
            seed=draw.seed,
            device=workplace.device,
            threads=workplace.threads,
            study=workplace.study.name,
            trial=number,
        ),
        folder=workplace.runs.trial(workplace.study.name, number).absolute(),
        pictures=workplace.pictures,
        device=workplace.device,
        threads=workplace.threads,
    )


def _folders(cases: Iterable[PreparedCase]) -> tuple[CaseFolder, ...]:
    return tuple(CaseFolder(name=case.name, folder=case.folder.absolute()) for case in cases)


def _take_over_files(workplace: Workplace, trial: optuna.Trial) -> None:
    """Copy the files of whichever trial had these hyper-parameters before and got somewhere.

    Killed meanwhile, the next one finds them where they were.
    """
    runs, study = workplace.runs, workplace.study.name
    for number in reversed(lineage(trial)):
        if runs.checkpoints(study, number).is_dir():
            _copy_folder(runs.trial(study, number), runs.trial(study, trial.number))
            shutil.rmtree(runs.trial(study, number), ignore_errors=True)
            return


def _copy_folder(source: Path, target: Path) -> None:
    """Copy a folder, whole or not at all; a process that is dying may still change it.

    Checkpoints first: it writes the best epoch's model before the checkpoint, so that a model is
    never older than the checkpoint that lies beside it.
    """
    checkpoints = shutil.ignore_patterns("checkpoints")
    for attempt in range(1, COPY_ATTEMPTS + 1):
        try:
            with replacing_folder(target) as new:
                shutil.copytree(source / "checkpoints", new / "checkpoints")
                shutil.copytree(source, new, ignore=checkpoints, dirs_exist_ok=True)
        except OSError:
            if attempt == COPY_ATTEMPTS:
                raise
            time.sleep(1)
        else:
            return


def _replay(study: Study, trial: optuna.Trial, history: Sequence[float]) -> None:
    """Bring the epochs that are finished already into the database, where they are missing."""
    storage = study.storage
    if lineage(trial):
        trial.set_user_attr(WENT_ON_AFTER, len(history))
    for epoch, dice in enumerate(history[:-1], start=1):  # the last is told once more
        trial.report(dice, epoch)
    for number in reversed(lineage(trial) if history else ()):
        source = storage.optuna.get_trial_id_from_study_id_trial_number(study.id, number)
        if copy_epochs(storage, source, trial._trial_id, len(history)):
            return


def report_epoch(study: Study, trial: optuna.Trial, report: EpochReport) -> None:
    """Bring an epoch that is over into the database."""
    trial.report(report.dice, report.epoch)  # first: refused where the trial is another's by now
    store_epoch(study.storage, trial._trial_id, report)
    for name, n in (
        (AT_A_TIME, report.small_batch_size),
        (AT_A_TIME_IN_VALIDATION, report.evaluation_batch_size),
    ):
        if trial.user_attrs.get(name) != n:  # once, and again where memory ran out
            trial.set_user_attr(name, n)


def _tell(workplace: Workplace, trial: optuna.Trial, state: TrialState) -> None:
    """Keep the trial's files and end it.

    A pruned one's value in the database is its last report: Optuna's rule.
    """
    study, runs, store = workplace.study, workplace.runs, workplace.store
    best = load_description(runs.model(study.name, trial.number)).validation
    trial.set_user_attr(BEST_EPOCH, best.epoch)
    trial.set_user_attr(BEST_DICE, best.dice)
    trial.set_user_attr(DICE_OF_CASE, best.dice_of_case)
    upload_pictures(store, study, trial._trial_id, runs.pictures(study.name, trial.number))
    if state == TrialState.COMPLETE:
        upload_model(store, study, trial._trial_id, runs.model(study.name, trial.number))
    log = runs.tensorboard(study.name, trial.number)
    write_hparams(log, study.definition.space, trial, state)
    study.optuna.tell(trial, best.dice if state == TrialState.COMPLETE else None, state)
    shutil.rmtree(runs.checkpoints(study.name, trial.number), ignore_errors=True)
    with suppress(OSError):
        runs.crash(study.name, trial.number).unlink(missing_ok=True)


def _epoch_finished(number: int, order: TrialOrder, report: EpochReport) -> EpochFinished:
    return EpochFinished(
        trial=number,
        epoch=report.epoch,
        max_epochs=order.training.max_epochs,
        dice=report.dice,
        best_dice=report.best_dice,
        loss=report.validation_losses[0],
        seconds=report.seconds,
    )
