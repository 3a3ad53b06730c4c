"""Names that the shell completes: `kidneyseg-search --install-completion` sets it up."""

from pathlib import Path

from kidneyseg.toml_files import shipped_folder


def complete_studies(incomplete: str) -> list[str]:
    """Study files below `studies/` here and those shipped, by the names that `--study` takes."""
    return _names("studies", incomplete)


def complete_environments(incomplete: str) -> list[str]:
    """Environments below `environments/` here and those shipped."""
    return _names("environments", incomplete)


def _names(kind: str, incomplete: str) -> list[str]:
    folders = (Path(kind), shipped_folder(kind))
    names = {path.stem for folder in folders for path in folder.glob("*.toml")}
    return sorted(name for name in names if name.startswith(incomplete))
