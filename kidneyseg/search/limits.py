"""What a trial may take: `[limits]` of a study file."""

from pydantic import Field

from kidneyseg.settings import Part


class Limits(Part):
    """A trial that takes more ends as failed, with the reason; None is no limit."""

    hours: float | None = Field(default=None, gt=0)
    """From a trial's start to its end."""
    memory_gb: float | None = Field(default=None, gt=0)
    """Of its process's main memory, shared cache left out."""
    silent_hours: float = Field(default=6.0, gt=0)
    """Of one epoch: beyond, its process hangs."""
