"""Trials that end with an error, and a database that is away."""

from collections.abc import Generator
from typing import Any

import optuna
import pytest
from sqlalchemy.exc import OperationalError

from kidneyseg.search import guarded_trial, patience
from kidneyseg.search.events import EpochFinished, TrialStarted
from kidneyseg.search.objective import Workplace

TrialEvents = Generator[TrialStarted | EpochFinished, None, None]


def fail_with(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, *, only: tuple[int, ...] | None = None
) -> None:
    """Let trials end with an error after they drew; the others run as they did."""
    run = vars(guarded_trial)["run_trial"]

    def failing(workplace: Workplace, trial: optuna.Trial) -> TrialEvents:
        if only is not None and trial.number not in only:
            yield from run(workplace, trial)
            return
        workplace.study.definition.draw(trial)
        yield TrialStarted(trial=trial.number, hyperparameters=dict(trial.params))
        raise error

    monkeypatch.setattr(guarded_trial, "run_trial", failing)


class Lost:
    """A database that is away, for good or for some calls."""

    def __init__(
        self, workplace: Workplace, monkeypatch: pytest.MonkeyPatch, times: int | None = None
    ) -> None:
        engine = workplace.study.storage.engine
        self.left = times
        self.failed = 0
        self._connect, self._execute = engine.connect, engine.dialect.do_execute
        monkeypatch.setattr(patience, "FIRST_PAUSE_SECONDS", 0.001)
        monkeypatch.setattr(engine, "connect", self._do_connect)
        monkeypatch.setattr(engine.dialect, "do_execute", self._do_execute)

    def _fail(self) -> None:
        if self.left == 0:
            return
        if self.left is not None:
            self.left -= 1
        self.failed += 1
        raise OperationalError("SELECT 1", None, Exception("server closed the connection\nwhy"))

    def _do_connect(self) -> Any:
        self._fail()
        return self._connect()

    def _do_execute(self, *arguments: Any) -> None:
        self._fail()
        self._execute(*arguments)
