"""What a trial may take: `[limits]` of a study file."""

from pydantic import Field

from kidneyseg.settings import Part


class Limits(Part):
    """A trial that takes more ends as failed, with the reason; None is no limit."""

    hours: float | None = Field(default=None, gt=0)
    memory_gb: float | None = Field(default=None, gt=0)  # main memory, shared cache left out
    silent_hours: float = Field(default=6.0, gt=0)  # of one epoch: beyond, its process hangs
