"""Where a number comes from: code, versions, machine."""

import hashlib
import platform
import socket
from importlib.metadata import version
from pathlib import Path

from kidneyseg.settings import Part

LIBRARIES = ("torch", "numpy", "nibabel", "optuna")


class Provenance(Part):
    """What made a network, so that it can be made again."""

    data: str  # fingerprint of the data set
    split: str  # fingerprint of the split
    code: str  # fingerprint of the package's source
    versions: dict[str, str]
    seed: int
    device: str
    host: str
    study: str | None = None
    trial: int | None = None


def library_versions() -> dict[str, str]:
    """Versions of this package, Python and the libraries that decide a result."""
    versions = {name: version(name) for name in ("kidneyseg", *LIBRARIES)}
    return {**versions, "python": platform.python_version()}


def code_fingerprint() -> str:
    """SHA-256 of the package's Python files: their names and contents."""
    root = Path(__file__).parent
    digest = hashlib.sha256()
    for path in sorted(root.rglob("*.py"), key=lambda path: path.relative_to(root).as_posix()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def host_name() -> str:
    """The name of this machine."""
    return socket.gethostname()
