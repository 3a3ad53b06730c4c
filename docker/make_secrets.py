"""Make up the passwords of an installation, once: files in a folder that only containers see.

    python make_secrets.py /secrets

database_password     PostgreSQL's
storage               the database's address, with that password
dashboard_password    the dashboard's login

A file that is there stays as it is. Nothing is printed but the names.
"""

# ruff: noqa: INP001 - a script of the image, in no package
import os
import secrets
import sys
from pathlib import Path

ADDRESS = "postgresql://kidneyseg:{password}@database:5432/trials"
OURS = 0o400
READABLE = 0o444  # in its container PostgreSQL runs as another user


def make_secrets(folder: Path) -> list[str]:
    """Make the files that are missing, and return their names."""
    made = [_write(folder / "database_password", secrets.token_hex(24), READABLE)]
    password = (folder / "database_password").read_text().strip()
    made.append(_write(folder / "storage", ADDRESS.format(password=password)))
    made.append(_write(folder / "dashboard_password", secrets.token_urlsafe(18)))
    return [name for name in made if name]


def _write(path: Path, text: str, mode: int = OURS) -> str:
    """Write a file whole or not at all, unless it is there; return its name if it was written."""
    if path.exists():
        return ""
    unfinished = path.with_suffix(".unfinished")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(descriptor, "w") as file:
        file.write(f"{text}\n")
    unfinished.rename(path)
    return path.name


if __name__ == "__main__":
    sys.stdout.write(f"made {', '.join(make_secrets(Path(sys.argv[1]))) or 'nothing: all there'}\n")
