"""Phantom data sets on disk, in KiTS19's layout."""

from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock

from kidneyseg.ct.volumes import write_kits19_case
from kidneyseg.errors import DataError
from kidneyseg.files import replacing_folder
from kidneyseg.phantom.drawing import PhantomSize, draw_phantom

DEMO_CASES = 12
DEMO_SEED = 0


def write_phantoms(folder: Path, n_cases: int, seed: int, size: PhantomSize) -> Iterator[Path]:
    """Draw cases and write them below `folder`, which must be empty; yield each case's folder.

    The same seed gives the same scans. Raises DataError when `folder` holds anything or is a file.
    """
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: is not an empty folder; expected a new one for the phantoms")
    for number in range(n_cases):
        phantom = draw_phantom(seed, number, size)
        case = folder / f"case_{number:05d}"
        write_kits19_case(case, phantom.image, phantom.labels, phantom.spacing_mm)
        yield case


def make_demo_phantoms(folder: Path) -> Iterator[Path]:
    """Make the data set that is used when none is given, unless it is there; yield each case.

    Several processes may ask at once; it is whole or not there.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if folder.is_dir():
            return
        with replacing_folder(folder) as temporary:
            yield from write_phantoms(temporary, DEMO_CASES, DEMO_SEED, PhantomSize.SMALL)
