"""A worker: takes trials of a study, one after another, until the budget is reached."""

import random
from collections.abc import Generator, Iterator
from dataclasses import dataclass

from kidneyseg.errors import KidneysegError, StorageLostError, StudyError, StudyStoppedError
from kidneyseg.search.budget import SURPLUS, State, read_ledger, read_tally
from kidneyseg.search.crew import count_workers
from kidneyseg.search.events import Event, Stopped, TrialFinished, Waiting
from kidneyseg.search.failures import stop_where_all_fail
from kidneyseg.search.guarded_trial import GuardedTrial
from kidneyseg.search.hand_back import end_trial
from kidneyseg.search.keeping import sweep_folders
from kidneyseg.search.leases import Heart
from kidneyseg.search.notes import leave_note, refresh_note
from kidneyseg.search.objective import Workplace
from kidneyseg.search.patience import DATABASE_ERRORS, is_outage
from kidneyseg.search.status import find_study_id
from kidneyseg.search.studies import Study

MAX_FAILURES = 3  # trials of this worker that fail in a row before it stops
MAX_REDRAWS = 3  # other points drawn, where one is trained already, before the worker waits for it
POLL_SECONDS = 1.0  # between two looks while others work on the last trials
LONGEST_POLL_SECONDS = 15.0  # the same, of hundreds of workers
CROWD = 8  # workers beyond which one waits a little before it asks for its first trial


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
                leave_note(study, self.workplace.cases.split)
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

        leave_note(study, self.workplace.cases.split)

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
            guarded = GuardedTrial(self.workplace, self.heart, trial)
            yield from guarded.run(n_trials, may_redraw=may_redraw)
