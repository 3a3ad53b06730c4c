"""A worker: takes trials of a study, one after another, until the budget is reached."""

import random
import signal
import time
import traceback
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from sqlalchemy.exc import DBAPIError

from kidneyseg.errors import KidneysegError, StorageLostError
from kidneyseg.search.budget import State, may_train, read_states, tally
from kidneyseg.search.events import EpochFinished, Event, TrialFinished, Waiting
from kidneyseg.search.leases import SURPLUS, Lease, Watcher, end_trial, hand_back
from kidneyseg.search.objective import Workplace, run_trial
from kidneyseg.search.studies import Study

MAX_FAILURES = 3  # trials of this worker that fail in a row before it stops
DATABASE_ERRORS = (DBAPIError, StorageInternalError)
POLL_SECONDS = 1.0  # between two looks while others work on the last trials


def work(workplace: Workplace, n_trials: int | None = None) -> Generator[Event, None, None]:
    """Work on a study until it holds `n_trials` finished trials; yield what happens.

    Without a number it is the study's own budget, looked up before every trial: it may be raised.
    Interrupted (Ctrl-C, SIGTERM, or the generator closed), it hands the running trial back.
    Raises KidneysegError after several failures in a row, StorageLostError without a database.
    """
    try:
        yield from _work(workplace, n_trials)
    except DATABASE_ERRORS as error:
        reason = _first_line(error.__cause__ or error)
        raise StorageLostError(
            f"{workplace.study.storage.address}: lost in the middle of the work ({reason}); the "
            "same command goes on when it is back"
        ) from error


def _work(workplace: Workplace, asked_for: int | None) -> Iterator[Event]:
    study = workplace.study
    watcher = Watcher(study)
    failures = 0
    waited = False
    while True:
        watcher.reap()
        n_trials = study.n_trials if asked_for is None else asked_for
        counts = tally(read_states(study.storage, study.id).values())
        if counts.finished >= n_trials:
            return
        if counts.waiting == 0 and counts.counting >= n_trials:
            if not waited:
                yield Waiting(running=counts.running)
            waited = True
            time.sleep(POLL_SECONDS * random.uniform(0.5, 1.5))
            continue
        waited = False
        for event in _next_trial(workplace, n_trials):
            yield event
            if isinstance(event, TrialFinished):
                failures = failures + 1 if event.state == State.FAIL else 0
        if failures >= MAX_FAILURES:
            raise KidneysegError(
                f"study {study.name!r}: {failures} trials in a row failed, the last one: "
                f"{event.reason if isinstance(event, TrialFinished) else 'unknown'}"
            )


def _next_trial(workplace: Workplace, n_trials: int) -> Iterator[Event]:
    """Take one trial and run it; nothing where it turns out to be beyond the budget."""
    study = workplace.study
    trial = study.optuna.ask()
    if not may_train(read_states(study.storage, study.id), trial.number, n_trials):
        end_trial(study, _frozen(study, trial), SURPLUS)
        return
    with Lease(study.storage, trial._trial_id):
        yield from _run_guarded(workplace, trial, n_trials)


def _run_guarded(workplace: Workplace, trial: optuna.Trial, n_trials: int) -> Iterator[Event]:
    """Run a trial; whatever ends it, the database knows how it ended."""
    study = workplace.study
    reason, n_epochs, best = "", 0, None
    try:
        with closing(run_trial(workplace, trial)) as events:
            for event in events:
                if isinstance(event, EpochFinished):
                    n_epochs, best = event.epoch, event.best_dice
                yield event
    except UpdateFinishedTrialError:
        reason = "taken over by another worker while this one stood still"
    except DATABASE_ERRORS:
        raise
    except Exception as error:  # noqa: BLE001 - whatever a trial dies of, the search goes on
        reason = _describe(error)
        with suppress(UpdateFinishedTrialError):  # taken over meanwhile
            trial.set_user_attr("traceback", _traceback(error))
        end_trial(study, _frozen(study, trial), f"failed: {reason}")
    except BaseException:
        # Ctrl-C, SIGTERM, or the generator was closed.
        with _undisturbed():
            hand_back(study, _frozen(study, trial))
        raise
    states = read_states(study.storage, study.id)
    yield TrialFinished(
        trial=trial.number,
        state=states[trial.number],
        dice=best,
        epochs=n_epochs,
        reason=reason,
        finished=tally(states.values()).finished,
        n_trials=n_trials,
    )


@contextmanager
def _undisturbed() -> Iterator[None]:
    """A second Ctrl-C or SIGTERM waits until the block is over."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _frozen(study: Study, trial: optuna.Trial) -> optuna.trial.FrozenTrial:
    return study.storage.optuna.get_trial(trial._trial_id)


def _describe(error: Exception) -> str:
    first = _first_line(error)
    return first if isinstance(error, KidneysegError) else f"{type(error).__name__}: {first}"


def _first_line(error: BaseException) -> str:
    text = str(error).strip()
    return text.splitlines()[0] if text else "no message"


def _traceback(error: Exception) -> str:
    return "".join(traceback.format_exception(error))[-2000:]
