"""Stopping a study, and waiting until its workers have handed their trials back."""

import time
from collections.abc import Iterator

from kidneyseg.search.orders import ask_to_stop
from kidneyseg.search.status import find_study_id, read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.study_status import StudyStatus

WAIT_SECONDS = 180.0  # an epoch's end, the hand-back, and patience
LOOK_SECONDS = 1.0


def stop_study(storage: Storage, study: str, reason: str, *, now: bool) -> None:
    """Let no new trial of a study begin; with `now`, have the running ones handed back.

    Raises StudyError where there is no such study.
    """
    ask_to_stop(storage, find_study_id(storage, study), reason, now=now)


def wait_until_idle(
    storage: Storage, study: str, seconds: float = WAIT_SECONDS
) -> Iterator[StudyStatus]:
    """Yield the status until no living worker holds a trial, for so many seconds at most."""
    until = time.monotonic() + seconds
    while True:
        status = read_status(storage, study)
        yield status
        if not status.held or time.monotonic() >= until:
            return
        time.sleep(LOOK_SECONDS)
