"""What `doctor` finds."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"  # may go wrong
    ERROR = "error"  # will go wrong


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    level: Level
    check: str  # what was looked at
    found: str
    cure: str = ""  # empty where all is well


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(level=Level.OK, check=check, found=found)


def warning(check: str, found: str, cure: str) -> Finding:
    """It may go wrong."""
    return Finding(level=Level.WARNING, check=check, found=found, cure=cure)


def error(check: str, found: str, cure: str) -> Finding:
    """It will go wrong."""
    return Finding(level=Level.ERROR, check=check, found=found, cure=cure)
