"""What happens as lines of JSON on stderr, for programs that collect logs: `--log-format json`."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Literal, TextIO

from kidneyseg.provenance import host_name
from kidneyseg.search.events import Event, Stopped, TrialFinished, Warned

Level = Literal["info", "warning", "error"]


class LogFormat(StrEnum):
    """What `--log-format` takes."""

    TEXT = "text"
    JSON = "json"


class JsonLog:
    """Writes a line for every event of a study: when, how grave, which worker, which trial.

    It is shown events as `SearchDisplay` is. Reasons of failures, warnings and errors go through
    `scrub`.
    """

    def __init__(
        self,
        study: str | None,
        stream: TextIO | None = None,
        scrub: Callable[[str], str] = str,
    ) -> None:
        self._study = study  # None: what is told is about none, or it is not known yet
        self._stream = stream  # default: stderr
        self._scrub = scrub

    @contextmanager
    def live(self) -> Iterator[None]:
        """Nothing is drawn."""
        yield

    def show(self, event: Event, place: int = 0) -> None:
        """Write an event of the worker at `place` of this process."""
        what = asdict(event)
        if isinstance(event, TrialFinished):
            what["reason"] = self._scrub(event.reason)
        elif isinstance(event, Warned):
            what["message"] = self._scrub(event.message)
        trial = what.pop("trial", None)  # None where the event is about no trial
        self._write(_level(event), type(event).__name__, place, trial, what)

    def tell_of(self, study: str | None, scrub: Callable[[str], str] = str) -> None:
        """From now on it is about this study."""
        self._study, self._scrub = study, scrub

    def say(self, message: str, level: Level = "info") -> None:
        """Write what is told to people, as an event of its own for each line."""
        shown = message if level == "info" else self._scrub(message)
        for line in shown.splitlines():
            if line:
                self._write(level, "Message", 0, None, {"message": line})

    def _write(
        self, level: Level, event: str, place: int, trial: int | None, what: dict[str, Any]
    ) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "level": level,
            "study": self._study,
            "worker": _worker(place),
            "trial": trial,
            "event": event,
            **what,
        }
        stream = self._stream or sys.stderr
        # In one piece: several workers may write to one file.
        stream.write(json.dumps(_finite(line), allow_nan=False) + "\n")
        stream.flush()


def _worker(place: int) -> str:
    """A worker of this process as `status` names it."""
    return f"{host_name()} {os.getpid()}" + f"/{place}" * bool(place)


def _level(event: Event) -> Level:
    if isinstance(event, TrialFinished) and event.state == "FAIL":
        return "warning" if event.goes_on else "error"
    return "warning" if isinstance(event, Stopped | Warned) else "info"


def _finite(value: Any) -> Any:
    """The same value, with null where a number is none: JSON has no NaN and no infinity."""
    if isinstance(value, dict):
        return {str(key): _finite(each) for key, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
