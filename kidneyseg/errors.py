"""The one family of errors: raised anywhere, printed in one place (`kidneyseg.cli.main`).

A message is one line that names the thing, the wrong value, and then what was expected or how to
mend it. It never holds a password.
"""

import traceback
from enum import IntEnum

TRACEBACK_CHARACTERS = 4000  # that are kept of one


class ExitCode(IntEnum):
    """What a command answers to the shell."""

    DONE = 0
    FAILED = 1
    CORRECTABLE = 2
    INTERRUPTED = 130
    TERMINATED = 143


class KidneysegError(Exception):
    """The work failed after it had begun."""

    exit_code = ExitCode.FAILED


class CorrectableError(KidneysegError):
    """The person can put it right before anything starts: a setting, a file, an address."""

    exit_code = ExitCode.CORRECTABLE


class SettingsError(CorrectableError):
    """A settings file, study file, search space or `--set` that cannot be used."""


class DataError(CorrectableError):
    """A case, a data folder or a split that cannot be used."""


class StorageError(CorrectableError):
    """A database that cannot be reached or does not hold what was asked for."""


class StudyError(CorrectableError):
    """A study that does not exist, has no finished trial, or was begun with something else."""


class ModelError(CorrectableError):
    """A model folder that is missing, damaged, or made by something else."""


class PreparationError(KidneysegError):
    """Slices that could not be prepared on this machine: no memory, no disk space."""


class TrainingError(KidneysegError):
    """A training that cannot go on, with the reason."""


class StudyStoppedError(KidneysegError):
    """Somebody stopped the study, or its trials all failed."""


class StorageLostError(KidneysegError):
    """The database, or the store of artifacts, went away and did not come back."""


class DiskFullError(KidneysegError):
    """A disk is full: nothing is lost, and with room on it the work goes on."""


class Terminated(BaseException):
    """SIGTERM arrived. Like KeyboardInterrupt it passes `except Exception`."""


def one_line(error: BaseException) -> str:
    """What an error says, in one line; of errors that are not ours, what kind it is, too."""
    words = str(error).strip()
    first = words.splitlines()[0] if words else "no message"
    return first if isinstance(error, KidneysegError) else f"{type(error).__name__}: {first}"


def last_lines(error: BaseException) -> str:
    """The last lines of an error's traceback, whole ones where there are several."""
    text = "".join(traceback.format_exception(error))
    if len(text) <= TRACEBACK_CHARACTERS:
        return text
    kept = text[-TRACEBACK_CHARACTERS:]
    return kept.partition("\n")[2] or kept
