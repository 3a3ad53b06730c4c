"""A worker: takes trials of a study, one after another, until the budget is reached."""

import random
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from kidneyseg.errors import (
    TRACEBACK_CHARACTERS,
    DiskFullError,
    KidneysegError,
    StorageLostError,
    StudyError,
    StudyStoppedError,
    last_lines,
    one_line,
)
from kidneyseg.files import is_disk_full
from kidneyseg.search.budget import SURPLUS, Ledger, State, read_ledger, read_tally
from kidneyseg.search.crew import count_workers
from kidneyseg.search.events import EpochFinished, Event, Stopped, TakenOver, TrialFinished, Waiting
from kidneyseg.search.failures import stop_where_all_fail
from kidneyseg.search.hand_back import end_trial, hand_back, reap_trial
from kidneyseg.search.keeping import remove_surplus_models, sweep_folders
from kidneyseg.search.leases import Heart
from kidneyseg.search.lineage import lineage
from kidneyseg.search.notes import note_failure, refresh_note
from kidneyseg.search.objective import TrialFailedError, Workplace, run_trial
from kidneyseg.search.patience import DATABASE_ERRORS, is_outage
from kidneyseg.search.status import find_study_id
from kidneyseg.search.studies import Study
from kidneyseg.search.training_process import TrialProcessDiedError
from kidneyseg.search.twins import find_twin, take_over

MAX_FAILURES = 3  # trials of this worker that fail in a row before it stops
MAX_REDRAWS = 3  # other points drawn, where one is trained already, before the worker waits for it
POLL_SECONDS = 1.0  # between two looks while others work on the last trials
TRACEBACK = "traceback"  # trial attribute: the last lines of why it failed
LONGEST_POLL_SECONDS = 15.0  # the same, of hundreds of workers
CROWD = 8  # workers beyond which one waits a little before it asks for its first trial


class StopRequested(Exception):  # noqa: N818 - nothing is wrong
    """Somebody asked this worker, or the study, to stop."""


def work(workplace: Workplace, n_trials: int | None = None) -> Generator[Event, None, None]:
    """Work on a study until it holds `n_trials` finished trials; yield what happens.

    Without a number it is the study's own budget, looked up before every trial: it may be raised.
    Asked to stop (`workplace.stopping`, `kidneyseg-search stop --now`, or the generator closed), it
    hands the running trial back. While the database is away, it waits.
    Raises KidneysegError after several failures in a row, StorageLostError where the database
    stays away.
    """
    try:
        with Heart(
            workplace.study, workplace.device, workplace.place, workplace.grace_seconds
        ) as heart:
            yield from _Worker(workplace, heart, n_trials).work()
    except (KeyError, *DATABASE_ERRORS) as error:
        if not is_outage(error):
            _check_there(workplace.study, error)
            raise
        words = str(error.__cause__ or error).strip().splitlines()
        raise StorageLostError(
            f"{workplace.study.storage.address}: lost in the middle of the work "
            f"({words[0] if words else type(error).__name__}); the same command goes on when it "
            "is back"
        ) from error


def _check_there(study: Study, error: Exception) -> None:
    """Whatever is missing from the database, of a study that was deleted there is nothing left."""
    try:
        found = find_study_id(study.storage, study.name)
    except StudyError:
        found = None
    if found != study.id:
        raise StudyStoppedError(f"study {study.name!r}: it was deleted meanwhile") from error


@dataclass(frozen=True, slots=True)
class _Worker:
    """One worker on one study."""

    workplace: Workplace
    heart: Heart
    asked_for: int | None

    def work(self) -> Iterator[Event]:
        study = self.workplace.study
        failures = redraws = 0
        waited = False
        self._spread()
        self._sweep()
        while not self.workplace.stopping.is_set():
            self.heart.reap()
            order = self.heart.hear()
            if order.stop is not None:
                self._leave_note()
                yield Stopped(reason=order.stop)
                return
            n_trials = order.n_trials if self.asked_for is None else self.asked_for
            counts = read_tally(study.storage, study.id)
            if counts.finished >= n_trials:
                refresh_note(study, self.workplace.cases.split, at_once=True)
                self._sweep()
                return
            if counts.waiting == 0 and counts.counting >= n_trials:
                if not waited:
                    yield Waiting(running=counts.running)
                waited = True
                self.workplace.stopping.wait(self._turn_seconds() * random.uniform(0.5, 1.5))
                continue
            waited = False
            ended: TrialFinished | None = None
            # A trial in line belongs to the largest number that anybody asked for.
            within = max(n_trials, order.n_trials)
            for event in self._next_trial(n_trials, within, may_redraw=redraws < MAX_REDRAWS):
                yield event
                ended = event if isinstance(event, TrialFinished) else None
            redraws = redraws + 1 if ended is None else 0
            if ended is None or ended.goes_on:
                continue
            failures = failures + 1 if ended.state == State.FAIL else 0
            shown = self.workplace.cases.names.scrub(ended.reason)
            if failures:
                stop_where_all_fail(study, shown)
            if failures >= MAX_FAILURES:
                raise KidneysegError(
                    f"study {study.name!r}: {failures} trials in a row failed, the last one: "
                    f"{shown}"
                )

        self._leave_note()

    def _leave_note(self) -> None:
        """Have the note say how things stand; a database that is away holds up no end."""
        place = self.workplace
        if place.study.storage.patience.is_waiting:
            return
        with suppress(KeyError, StudyError, *DATABASE_ERRORS):  # it was deleted, or is away
            refresh_note(place.study, place.cases.split, at_once=True)

    def _shall_stop(self) -> bool:
        return self.workplace.stopping.is_set() or self.heart.shall_stop_now

    def _spread(self) -> None:
        """Where many begin at once, not all ask for their first trial in the same second."""
        n_workers = self._count_workers()
        if n_workers > CROWD:
            self.workplace.stopping.wait(random.uniform(0, min(10.0, n_workers / 20)))

    def _sweep(self) -> None:
        """One of a machine's workers is enough."""
        if self.workplace.place == 0:
            sweep_folders(self.workplace.study, self.workplace.runs)

    def _turn_seconds(self) -> float:
        """Between two looks while others work on the last trials: the longer, the more wait."""
        return min(LONGEST_POLL_SECONDS, max(POLL_SECONDS, self._count_workers() / 20))

    def _count_workers(self) -> int:
        place = self.workplace
        return count_workers(place.study.storage, place.study.id, 2 * place.grace_seconds)

    def _next_trial(self, n_trials: int, within: int, *, may_redraw: bool) -> Iterator[Event]:
        """Take one trial and run it; nothing where it turns out to be beyond the budget."""
        study = self.workplace.study
        trial = study.optuna.ask()
        trial_id = trial._trial_id
        with self.heart.lease(trial_id):
            if not read_ledger(study.storage, study.id).may_train(trial.number, within):
                end_trial(study, trial_id, SURPLUS)
                return
            yield from self._guarded(trial, n_trials, may_redraw=may_redraw)

    def _guarded(self, trial: optuna.Trial, n_trials: int, *, may_redraw: bool) -> Iterator[Event]:
        """Run a trial; whatever ends it, the database knows how it ended."""
        study, trial_id = self.workplace.study, trial._trial_id
        reason, last = "", None
        try:
            with closing(self._run(trial, may_redraw=may_redraw)) as events:
                for event in events:
                    if isinstance(event, EpochFinished):
                        last = event
                    yield event
        except UpdateFinishedTrialError:
            reason = "taken over by another worker while this one stood still"
        except _Redrawn as twin:
            end_trial(study, trial_id, f"surplus: the same as trial {twin}, which is not over")
            return
        except DATABASE_ERRORS:
            raise
        except (StorageLostError, DiskFullError):  # of artifacts; of any file
            hand_back(study, trial_id)
            raise
        except StopRequested:
            hand_back(study, trial_id)
            return
        except Exception as error:  # noqa: BLE001 - whatever a trial dies of, the search goes on
            reason = one_line(error)
            self._end_failed(trial, error)
        except BaseException:
            # Ctrl-C in this thread, or the generator was closed.
            hand_back(study, trial_id)
            self._leave_note()
            raise
        self._remove_surplus_models(trial.number)
        refresh_note(study, self.workplace.cases.split)
        yield _finished(read_ledger(study.storage, study.id), trial.number, last, reason, n_trials)

    def _run(self, trial: optuna.Trial, *, may_redraw: bool) -> Generator[Event, None, None]:
        """Run a trial, or take over the result of one with the same hyper-parameters."""
        study = self.workplace.study
        study.definition.draw(trial)
        while (twin := find_twin(study, trial)) is not None:
            if twin.is_finished:
                source = take_over(study, trial, twin.trial)
                yield TakenOver(trial=trial.number, source=source)
                return
            if lineage(trial):
                break  # it goes on with what it has; its twin came later
            if may_redraw or twin.is_in_line:
                raise _Redrawn(twin.trial.number)
            self._pause()  # until the other one is finished
        with _full_disk_told(self.workplace), closing(run_trial(self.workplace, trial)) as events:
            for event in events:
                if self._shall_stop():
                    raise StopRequested
                if event is not None:
                    yield event

    def _remove_surplus_models(self, ended: int) -> None:
        """Keep the models of the best few; where the store is away, the next trial's end does."""
        place = self.workplace
        with suppress(StorageLostError):
            remove_surplus_models(place.study, place.store, place.runs, place.keep_best, ended)

    def _end_failed(self, trial: optuna.Trial, error: Exception) -> None:
        """A training that went wrong has failed; one whose process died may be tried again.

        With pseudonyms, what is told to the database names no case.
        """
        place, scrub = self.workplace, self.workplace.cases.names.scrub
        reason = scrub(one_line(error))
        told = scrub(_told(error, place.runs.crash(place.study.name, trial.number)))
        with suppress(UpdateFinishedTrialError):  # taken over meanwhile
            if told:
                trial.set_user_attr(TRACEBACK, told)
                note_failure(trial, reason, told)
        if isinstance(error, TrialProcessDiedError):
            reap_trial(place.study, trial._trial_id, reason)
        else:
            end_trial(place.study, trial._trial_id, f"failed: {reason}")

    def _pause(self) -> None:
        if self.workplace.stopping.wait(POLL_SECONDS) or self.heart.shall_stop_now:
            raise StopRequested


@contextmanager
def _full_disk_told(workplace: Workplace) -> Iterator[None]:
    """Whatever a full disk led to becomes a DiskFullError with what to do."""
    try:
        yield
    except Exception as error:
        if isinstance(error, DiskFullError) or is_disk_full(error):
            raise DiskFullError(
                f"{workplace.runs.folder}: the disk is full ({one_line(error)}); the trial was "
                "handed back: free some room, and the same command goes on"
            ) from error
        raise


def _told(error: Exception, crash: Path) -> str:
    """The last lines of where it went wrong; of a process that died, what it left itself."""
    if isinstance(error, TrialFailedError):
        return error.traceback
    if isinstance(error, TrialProcessDiedError):
        with suppress(OSError):
            return crash.read_text(encoding="utf-8", errors="replace")[-TRACEBACK_CHARACTERS:]
    return last_lines(error)


class _Redrawn(Exception):  # noqa: N818 - nothing is wrong
    """The hyper-parameters are trained already, in the trial of this number."""


def _finished(
    ledger: Ledger, number: int, last: EpochFinished | None, reason: str, n_trials: int
) -> TrialFinished:
    in_hand = ledger.states[number] == State.IN_HAND
    return TrialFinished(
        trial=number,
        state=State.FAIL.value if in_hand else ledger.states[number].value,
        dice=None if last is None else last.best_dice,
        epochs=0 if last is None else last.epoch,
        reason=reason,
        finished=ledger.tally().finished,
        n_trials=n_trials,
        goes_on=in_hand or number in ledger.copies,
    )
