"""Phantom data sets on disk, in KiTS19's layout."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from filelock import FileLock

from kidneyseg.ct.volumes import read_labels, write_kits19_case
from kidneyseg.errors import DataError
from kidneyseg.files import replacing_folder
from kidneyseg.phantom.drawing import PhantomSize, draw_phantom, draw_phantom_around

DEMO_CASES = 12
DEMO_SEED = 0
NOTICES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")  # names of files that state a licence


def write_phantoms(folder: Path, n_cases: int, seed: int, size: PhantomSize) -> Iterator[Path]:
    """Draw cases and write them below `folder`, which must be empty; yield each case's folder.

    The same seed gives the same scans. Raises DataError when `folder` holds anything or is a file.
    """
    _check_new(folder)
    for number in range(n_cases):
        phantom = draw_phantom(seed, number, size)
        case = folder / f"case_{number:05d}"
        write_kits19_case(case, phantom.image, phantom.labels, phantom.spacing_mm)
        yield case


def find_segmentations(folder: Path) -> list[Path]:
    """The label maps of a folder in KiTS19's layout, by case; scans beside them are not looked at.

    Raises DataError where there are none.
    """
    found = sorted(folder.glob("*/segmentation.nii.gz")) + sorted(folder.glob("*/segmentation.nii"))
    if not found:
        raise DataError(f"{folder}: no label map; expected case_00000/segmentation.nii.gz")
    return found


def write_phantoms_around(folder: Path, segmentations: Sequence[Path], seed: int) -> Iterator[Path]:
    """Draw a scan around each label map, and write both below `folder`; yield each case's folder.

    Cases keep their names. What the labels' folder says of their licence is copied: it holds for
    drawings of them too. Raises DataError as `write_phantoms` does, and for a damaged label map.
    """
    _check_new(folder)
    for source in sorted({path.parents[1] for path in segmentations}):
        for notice in (path for path in source.iterdir() if path.stem.upper() in NOTICES):
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(notice, folder / notice.name)
    for number, path in enumerate(segmentations):
        labels = read_labels(path)
        phantom = draw_phantom_around(labels.array, labels.geometry.spacing_mm, seed, number)
        case = folder / path.parent.name
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


def _check_new(folder: Path) -> None:
    if folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: is not an empty folder; expected a new one for the phantoms")
