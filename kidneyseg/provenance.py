"""Where a number comes from: code, versions, machine."""

import hashlib
import platform
import socket
from importlib.metadata import version
from pathlib import Path

from kidneyseg.settings import Part

LIBRARIES = ("torch", "numpy", "nibabel", "optuna")
PROCESSOR_FILE = Path("/proc/cpuinfo")  # on Linux


class Provenance(Part):
    """What made a network, so that it can be made again."""

    data: str  # fingerprint of the data set
    split: str  # fingerprint of the split
    pseudonyms: str | None = None  # fingerprint of their key; None: cases have their own names
    code: str  # fingerprint of the package's source
    versions: dict[str, str]
    seed: int
    device: str
    host: str
    processor: str | None = None  # model name; None in older files
    threads: int | None = None  # of the processor; None in older files
    gpu: str | None = None  # model name, where the device is one
    study: str | None = None
    trial: int | None = None


def find_provenance(
    *,
    data: str,  # fingerprint of the data set
    split: str,  # fingerprint of the split
    seed: int,
    device: str,
    threads: int,  # of the processor, for the training
    study: str | None = None,
    trial: int | None = None,
) -> Provenance:
    """The provenance of a training on this machine with this code.

    A GPU's name is added where the training runs (`kidneyseg/model/recording.py`): to ask for it
    takes memory of the GPU.
    """
    return Provenance(
        data=data,
        split=split,
        code=code_fingerprint(),
        versions=library_versions(),
        seed=seed,
        device=device,
        host=host_name(),
        processor=processor_name(),
        threads=threads,
        study=study,
        trial=trial,
    )


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


def processor_name() -> str:
    """The processor's model name, as far as the system tells it; else its architecture."""
    if PROCESSOR_FILE.is_file():
        for line in PROCESSOR_FILE.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, name = line.partition(":")
            if key.strip() == "model name":
                return name.strip()
    return platform.processor() or platform.machine()
