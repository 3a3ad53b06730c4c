"""Options that several commands take, and what they mean."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from kidneyseg.cli.completion import (
    complete_begun_studies,
    complete_environments,
    complete_studies,
)
from kidneyseg.cli.json_log import LogFormat
from kidneyseg.environment_files import load_environment, split_assignments, with_folders
from kidneyseg.errors import CorrectableError
from kidneyseg.runs import Runs
from kidneyseg.search import addresses
from kidneyseg.settings import Environment
from kidneyseg.toml_files import parse_assignments

storage_address = addresses.storage_address  # the same for commands and for Python

StudyFile = Annotated[
    str,
    typer.Option(
        "--study",
        help="studies/NAME.toml here, else as shipped, or a path.",
        autocompletion=complete_studies,
    ),
]
NTrials = Annotated[
    int, typer.Option("--n-trials", help="Finished trials (complete or pruned) in the end.")
]
StudyName = Annotated[
    str | None, typer.Option("--name", help="Name in the database. Default: the study file's.")
]
Study = Annotated[
    str,
    typer.Option(
        "--study",
        help="Name of a study in the database.",
        autocompletion=complete_begun_studies,
    ),
]
Storage = Annotated[
    str | None,
    typer.Option(
        "--storage",
        metavar="URL",
        help="Database of trials, also from KIDNEYSEG_STORAGE. Default: a SQLite file in runs/.",
    ),
]
Data = Annotated[
    Path | None,
    typer.Option(
        "--data",
        metavar="DIR",
        help="Case folders as in KiTS19 or nnU-Net, or a table (.csv). Default: phantoms.",
    ),
]
EnvironmentName = Annotated[
    str,
    typer.Option(
        "--environment",
        metavar="local|cluster|FILE",
        help="This machine's settings: local (a laptop, minutes), cluster (the report's), a file.",
        autocompletion=complete_environments,
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One hyper-parameter (batch_size=8) or setting (training.max_epochs=3). Repeatable.",
    ),
]
MachineSet = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="One of this machine's settings (common.runs=DIR, common.device=cpu). Repeatable.",
    ),
]
LogFormatOption = Annotated[
    LogFormat,
    typer.Option("--log-format", help="What is told on stderr: for people, or JSON lines."),
]
MinMl = Annotated[float, typer.Option("--min-ml", min=0, help="Drop parts below this volume.")]
OpeningMm = Annotated[
    float,
    typer.Option("--opening-mm", min=0, help="Drop what a ball of this radius does not fit into."),
]
ClosingMm = Annotated[
    float,
    typer.Option(
        "--closing-mm", min=0, help="Fill gaps that a ball of this radius does not fit into."
    ),
]
LargestTwo = Annotated[
    bool, typer.Option("--largest-two", help="Keep the largest two parts, or the only one.")
]
Flips = Annotated[
    bool, typer.Option("--flips", help="Average with the slices mirrored left to right.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document on stdout.")]


MACHINE_SETTINGS = ("common.", "data.folder", "data.cache", "data.splits_file")


class Choices:
    """What `--environment`, `--data` and `--set` make together."""

    def __init__(self, environment: str, data: Path | None, assignments: Sequence[str]) -> None:
        values = parse_assignments(assignments)
        self.hyperparameters: dict[str, Any]
        self.hyperparameters, settings = split_assignments(values)
        self.settings = tuple(settings)  # dotted names that were given
        self.environment: Environment = with_folders(
            load_environment(environment, settings), data=data
        )

    @property
    def runs(self) -> Runs:
        """The runs folder."""
        return Runs(self.environment.common.runs)


def machine_choices(
    environment: str, data: Path | None, assignments: Sequence[str] | None, owner: str = "study"
) -> Choices:
    """What the options make together where a study, or a model, brings all other settings.

    Raises CorrectableError for one that is the owner's.
    """
    for assignment in assignments or ():
        if not assignment.strip().startswith(MACHINE_SETTINGS):
            raise CorrectableError(
                f"--set {assignment}: the {owner} has its own; expected common.*, data.cache or "
                "data.splits_file"
            )
    return Choices(environment, data, assignments or ())
