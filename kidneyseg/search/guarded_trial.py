"""One trial in a worker's hands: whatever ends it, the database knows how it ended."""

from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from kidneyseg.errors import (
    TRACEBACK_CHARACTERS,
    DiskFullError,
    StorageLostError,
    last_lines,
    one_line,
)
from kidneyseg.files import is_disk_full
from kidneyseg.search.budget import FAILED, Ledger, State, read_ledger
from kidneyseg.search.events import EpochFinished, Event, TakenOver, TrialFinished
from kidneyseg.search.hand_back import end_trial, hand_back, reap_trial
from kidneyseg.search.keeping import remove_surplus_models
from kidneyseg.search.leases import Heart
from kidneyseg.search.lineage import lineage
from kidneyseg.search.notes import leave_note, note_failure, refresh_note
from kidneyseg.search.objective import TrialFailedError, Workplace, run_trial
from kidneyseg.search.patience import DATABASE_ERRORS
from kidneyseg.search.training_process import TrialProcessDiedError
from kidneyseg.search.twins import find_twin, take_over

TWIN_POLL_SECONDS = 1.0  # between two looks at the trial whose result is waited for
TRACEBACK = "traceback"  # trial attribute: the last lines of why it failed


class _StopRequested(Exception):  # noqa: N818 - nothing is wrong
    """Somebody asked this worker, or the study, to stop."""


class _Redrawn(Exception):  # noqa: N818 - nothing is wrong
    """The hyper-parameters are trained already, in the trial of this number."""


@dataclass(frozen=True, slots=True)
class GuardedTrial:
    """A trial that was asked for and is leased, from its draw to its end."""

    workplace: Workplace
    heart: Heart
    trial: optuna.Trial

    def run(self, n_trials: int, *, may_redraw: bool) -> Iterator[Event]:
        """Run it, as one of `n_trials`; yield what happens.

        It ends without a TrialFinished where it was handed back, or, with `may_redraw`, where
        another trial trains the same hyper-parameters.
        Raises StorageLostError and DiskFullError, and whatever a lost database raises.
        """
        study, trial = self.workplace.study, self.trial
        reason, last = "", None
        try:
            with closing(self._run(may_redraw=may_redraw)) as events:
                for event in events:
                    if isinstance(event, EpochFinished):
                        last = event
                    yield event
        except UpdateFinishedTrialError:
            reason = "taken over by another worker while this one stood still"
        except _Redrawn as twin:
            end_trial(
                study, trial._trial_id, f"surplus: the same as trial {twin}, which is not over"
            )
            return
        except DATABASE_ERRORS:
            raise
        except (StorageLostError, DiskFullError):  # of artifacts; of any file
            hand_back(study, trial._trial_id)
            raise
        except _StopRequested:
            hand_back(study, trial._trial_id)
            return
        except Exception as error:  # noqa: BLE001 - whatever a trial dies of, the search goes on
            reason = one_line(error)
            self._end_failed(error)
        except BaseException:
            # Ctrl-C in this thread, or the generator was closed.
            hand_back(study, trial._trial_id)
            leave_note(study, self.workplace.cases.split)
            raise
        self._remove_surplus_models()
        refresh_note(study, self.workplace.cases.split)
        yield _finished(read_ledger(study.storage, study.id), trial.number, last, reason, n_trials)

    def _run(self, *, may_redraw: bool) -> Generator[Event, None, None]:
        """Run the trial, or take over the result of one with the same hyper-parameters."""
        study, trial = self.workplace.study, self.trial
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
                if self.workplace.stopping.is_set() or self.heart.shall_stop_now:
                    raise _StopRequested
                if event is not None:
                    yield event

    def _pause(self) -> None:
        if self.workplace.stopping.wait(TWIN_POLL_SECONDS) or self.heart.shall_stop_now:
            raise _StopRequested

    def _remove_surplus_models(self) -> None:
        """Keep the models of the best few; where the store is away, the next trial's end does."""
        place = self.workplace
        with suppress(StorageLostError):
            remove_surplus_models(
                place.study, place.store, place.runs, place.keep_best, self.trial.number
            )

    def _end_failed(self, error: Exception) -> None:
        """A training that went wrong has failed; one whose process died may be tried again.

        With pseudonyms, what is told to the database names no case.
        """
        place, trial, scrub = self.workplace, self.trial, self.workplace.cases.names.scrub
        reason = scrub(one_line(error))
        told = scrub(_told(error, place.runs.crash(place.study.name, trial.number)))
        with suppress(UpdateFinishedTrialError):  # taken over meanwhile
            if told:
                trial.set_user_attr(TRACEBACK, told)
                note_failure(trial, reason, told)
        if isinstance(error, TrialProcessDiedError):
            reap_trial(place.study, trial._trial_id, reason)
        else:
            end_trial(place.study, trial._trial_id, f"{FAILED}: {reason}")


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
