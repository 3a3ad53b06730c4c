"""`kidneyseg-search delete`: a study and its files."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.errors import CorrectableError

if TYPE_CHECKING:
    from kidneyseg.search.deletion import Deletion, Files


def delete(
    study: options.Study,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    storage: options.Storage = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Delete a study and its files, after saying what goes.

    Example: kidneyseg-search delete --study lr_loss
    """
    from kidneyseg.search.deletion import delete_study, plan_deletion
    from kidneyseg.search.storage import open_storage

    choices = machine_choices(environment, None, set_)
    opened = open_storage(storage_address(storage, choices.runs), create=False)
    deletion = plan_deletion(opened, study, choices.environment.common)
    typer.echo(_what_goes(deletion))
    if not yes and not _asked():
        typer.echo("nothing was deleted")
        return
    delete_study(opened, deletion, choices.environment.common)
    typer.echo(f"study {study} is deleted")


def _asked() -> bool:
    """Ask whoever is there. Raises CorrectableError where there is nobody."""
    try:
        return typer.confirm("Delete all of this?")
    except typer.Abort:
        raise CorrectableError(
            "nothing was deleted: nobody answered; expected y, or --yes where nobody can"
        ) from None


def _what_goes(deletion: "Deletion") -> str:
    from kidneyseg.cli.status_text import counted, hours_words

    status = deletion.status
    n = sum(status.states.values()) + status.handed_back
    goes = "goes" if n == 1 else "go"
    head = (
        f"study {status.study}: {counted(n, 'trial')} {goes} ({status.states['complete']} "
        f"complete, {status.states['pruned']} pruned), {counted(status.epochs, 'epoch')} and "
        f"{hours_words(status.hours)} of work"
    )
    return "\n".join([head, *map(_files, deletion.files), *_artifacts(deletion)])


def _artifacts(deletion: "Deletion") -> Iterator[str]:
    from kidneyseg.cli.status_text import counted

    if deletion.artifacts:
        yield f"{deletion.store}: {counted(len(deletion.artifacts), 'artifact')}"


def _files(files: "Files") -> str:
    from kidneyseg.cli.status_text import counted

    if files.target is not None:
        return f"{files.path}: the link goes; {files.target}, where it points, stays"
    return f"{files.path}: {counted(files.n_files, 'file')}, {size_words(files.size_bytes)}"


def size_words(size_bytes: int) -> str:
    """A size as people say it, in powers of 1000."""
    size, units = float(size_bytes), ["bytes", "kB", "MB", "GB", "TB"]
    while size >= 999.5 and len(units) > 1:
        size, units = size / 1000, units[1:]
    return f"{size:.3g} {units[0]}"
