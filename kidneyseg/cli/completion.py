"""Names that the shell completes: `kidneyseg-search --install-completion` sets it up."""

from pathlib import Path

import typer

from kidneyseg.environment_files import load_environment
from kidneyseg.errors import KidneysegError
from kidneyseg.runs import Runs
from kidneyseg.search.addresses import storage_address
from kidneyseg.search.name_query import query_names
from kidneyseg.toml_files import shipped_folder


def complete_studies(incomplete: str) -> list[str]:
    """Study files below `studies/` here and those shipped, by the names that `--study` takes."""
    return _names("studies", incomplete)


def complete_environments(incomplete: str) -> list[str]:
    """Environments below `environments/` here and those shipped."""
    return _names("environments", incomplete)


def complete_begun_studies(ctx: typer.Context, incomplete: str) -> list[str]:
    """Studies in the database that the line, or the environment, names so far."""
    try:
        environment = load_environment(ctx.params.get("environment") or "local", {})
        address = storage_address(ctx.params.get("storage"), Runs(environment.common.runs))
    except KidneysegError:
        return []
    return [name for name in query_names(address) if name.startswith(incomplete)]


def _names(kind: str, incomplete: str) -> list[str]:
    folders = (Path(kind), shipped_folder(kind))
    names = {path.stem for folder in folders for path in folder.glob("*.toml")}
    return sorted(name for name in names if name.startswith(incomplete))
