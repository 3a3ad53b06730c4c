"""Whom a command tells what happens: people, or with `--log-format json` programs, line by line.

It is chosen once, before anything is read or imported, so that usage errors are lines of JSON too.
"""

import logging
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr
from contextvars import ContextVar

from kidneyseg.cli.json_log import JsonLog, Level
from kidneyseg.search.written_lines import WrittenLines

OPTION = "--log-format"

_chosen: ContextVar[JsonLog | None] = ContextVar("chosen", default=None)


def asks_for_json(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for lines of JSON."""
    given = ["text"]
    for word, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if word == OPTION:
            given.append(following)
        elif word.startswith(f"{OPTION}="):
            given.append(word.removeprefix(f"{OPTION}="))
    return given[-1] == "json"


@contextmanager
def telling(*, as_json: bool) -> Iterator[None]:
    """Tell people, or have all that goes to stderr be lines of JSON: logging and warnings too."""
    if not as_json:
        yield
        return
    log = JsonLog(None, sys.stderr)
    rest = WrittenLines(lambda line: log.say(line, "warning"), sys.stderr)
    before = _chosen.set(log)
    try:
        with redirect_stderr(rest), _logging_told(log):
            yield
    finally:
        rest.end()
        _chosen.reset(before)


def chosen_log() -> JsonLog | None:
    """The log of JSON lines; None where people are told."""
    return _chosen.get()


def say(message: str, level: Level = "info") -> None:
    """Tell what belongs to no event."""
    if (log := chosen_log()) is not None:
        log.say(message, level)
        return
    from kidneyseg.cli.display import stderr_console

    stderr_console().print(message, markup=False, emoji=False, soft_wrap=True)


def warn(sentence: str | None) -> None:
    """Tell a warning, if there is one."""
    if sentence is not None:
        say(sentence if chosen_log() is not None else f"warning: {sentence}", "warning")


def tell_of(study: str | None, scrub: Callable[[str], str] = str) -> None:
    """From now on it is about this study; `scrub` takes names of cases out of what went wrong."""
    if (log := chosen_log()) is not None:
        log.tell_of(study, scrub)


@contextmanager
def _logging_told(log: JsonLog) -> Iterator[None]:
    """What libraries log and warn of goes to the log."""
    handler, root, show = _Handler(log), logging.getLogger(), warnings.showwarning
    root.addHandler(handler)
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        warnings.showwarning = show
        root.removeHandler(handler)


class _Handler(logging.Handler):
    """Writes warnings and errors of Python's logging."""

    def __init__(self, log: JsonLog) -> None:
        super().__init__(logging.WARNING)
        self._log = log

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, with its traceback if it has one."""
        self._log.say(
            self.format(record), "error" if record.levelno >= logging.ERROR else "warning"
        )
