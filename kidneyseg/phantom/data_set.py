"""Phantom data sets on disk, in KiTS19's layout.

Each case is drawn into a temporary folder and renamed: what is there is whole. `phantoms.json` says
what it was drawn from, so that the same command goes on where it was interrupted, and another one
is refused.
"""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from kidneyseg.ct.fingerprints import file_sha256
from kidneyseg.ct.layouts import list_files
from kidneyseg.ct.process_pool import Died, count_processes, work_on_each
from kidneyseg.ct.volumes import read_labels, write_kits19_case
from kidneyseg.errors import DataError, PreparationError
from kidneyseg.files import replacing_folder, write_text
from kidneyseg.phantom.drawing import PhantomSize, draw_phantom, draw_phantom_around
from kidneyseg.settings import Part

DEMO_CASES = 12
DEMO_SEED = 0
NOTICES = ("LICENSE", "LICENCE", "COPYING", "NOTICE")  # names of files that state a licence
RECIPE = "phantoms.json"
MEMORY_SMALL, MEMORY_FULL = 2**28, 2**31  # bytes for one process


class Recipe(Part):
    """What a folder of phantoms was drawn from."""

    seed: int
    size: PhantomSize | None  # None: around label maps
    labels: tuple[str, ...] = ()  # name and SHA-256 of each label map, in the order of drawing

    def goes_on(self, before: "Recipe") -> bool:
        """Whether it draws the same cases, or fewer or more of them."""
        n = min(len(self.labels), len(before.labels)) if self.size is None else 0
        shared = self.labels[:n] == before.labels[:n]
        return (self.seed, self.size) == (before.seed, before.size) and shared

    def in_words(self) -> str:
        """What a person gave."""
        kind = "around label maps" if self.size is None else f"of --size {self.size}"
        return f"phantoms {kind} with --seed {self.seed}"


def holds_phantoms(folder: Path | None) -> bool:
    """Whether a data folder's scans were drawn by this program."""
    return folder is not None and (folder / RECIPE).is_file()


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelMap:
    """A label map to draw a scan around."""

    name: str  # of its case
    path: Path
    data: Path  # the folder in which its licence may lie


def write_phantoms(
    folder: Path, n_cases: int, seed: int, size: PhantomSize, *, n_processes: int | None = None
) -> Iterator[Path]:
    """Draw cases and write them below `folder`; yield each case's folder when it is whole.

    The same seed gives the same bytes, however many processes draw: as many as cores and memory
    allow, or `n_processes`. Cases that are there already, drawn from the same, are yielded first.
    Raises DataError when `folder` is a file or holds anything else.
    """
    if n_processes is None:
        n_processes = count_processes(
            n_cases, MEMORY_SMALL if size is PhantomSize.SMALL else MEMORY_FULL
        )
    cases = [_Drawn(name=f"case_{number:05d}", number=number) for number in range(n_cases)]
    draw = _Draw(folder=folder, recipe=Recipe(seed=seed, size=size))
    yield from _write(draw, cases, n_processes)


def find_segmentations(data: Path) -> list[LabelMap]:
    """The label maps of a data folder or table, by case; scans beside them are not looked at.

    Raises DataError where there are none.
    """
    folder = data if data.is_dir() else data.parent
    return [
        LabelMap(name=files.name, path=files.segmentation, data=folder)
        for files in list_files(data)
        if files.segmentation is not None
    ]


def write_phantoms_around(
    folder: Path, maps: Sequence[LabelMap], seed: int, *, n_processes: int | None = None
) -> Iterator[Path]:
    """Draw a scan around each label map, and write both below `folder`, as `write_phantoms` does.

    Cases keep their names. What the labels' folder says of their licence is copied: it holds for
    drawings of them too. Raises DataError as `write_phantoms` does, and for a damaged label map.
    """
    if n_processes is None:
        n_processes = count_processes(len(maps), MEMORY_FULL)
    labels = tuple(f"{one.name} {_sha256(one)}" for one in maps)
    cases = [_Drawn(name=one.name, number=n, labels=one.path) for n, one in enumerate(maps)]
    draw = _Draw(folder=folder, recipe=Recipe(seed=seed, size=None, labels=labels))
    yield from _write(draw, cases, n_processes, sorted({one.data for one in maps}))


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


@dataclass(frozen=True, slots=True, kw_only=True)
class _Drawn:
    """A case to draw."""

    name: str
    number: int
    labels: Path | None = None  # the label map around which it is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class _Draw:
    """The drawing of cases, to be sent to other processes."""

    folder: Path
    recipe: Recipe

    def __call__(self, case: _Drawn) -> Path:
        seed, size = self.recipe.seed, self.recipe.size
        if case.labels is not None:
            given = read_labels(case.labels)
            spacing_mm = given.geometry.spacing_mm
            phantom = draw_phantom_around(given.array, spacing_mm, seed, case.number)
        else:
            phantom = draw_phantom(seed, case.number, size or PhantomSize.SMALL)
        with replacing_folder(self.folder / case.name) as temporary:
            write_kits19_case(temporary, phantom.image, phantom.labels, phantom.spacing_mm)
        return self.folder / case.name


def _write(
    draw: _Draw, cases: Sequence[_Drawn], n_processes: int, licences: Sequence[Path] = ()
) -> Iterator[Path]:
    """Draw the cases that are not there yet, and yield them all."""
    folder = draw.folder
    _take_folder(folder, draw.recipe)
    for source in licences:
        for notice in (path for path in source.iterdir() if path.stem.upper() in NOTICES):
            shutil.copyfile(notice, folder / notice.name)
    missing = [case for case in cases if not (folder / case.name).is_dir()]
    yield from (folder / case.name for case in cases if case not in missing)
    try:
        if n_processes == 1:
            yield from map(draw, missing)
            return
        with closing(work_on_each(draw, missing, n_processes)) as answers:
            for case, answer in answers:
                if isinstance(answer, Died):
                    raise PreparationError(_last_words(folder / case.name, answer, n_processes))
                yield answer
    finally:
        _sweep(folder)


def _take_folder(folder: Path, recipe: Recipe) -> None:
    """Begin in a new folder, or go on in one that was drawn from the same."""
    path = folder / RECIPE
    if path.is_file():
        try:
            before = Recipe.model_validate_json(path.read_bytes())
        except ValidationError as error:
            raise DataError(f"{path}: damaged; expected a new folder for the phantoms") from error
        if not recipe.goes_on(before):
            raise DataError(
                f"{folder}: holds {before.in_words()}; expected the same command again, or a new "
                "folder for others"
            )
        if len(recipe.labels) <= len(before.labels):
            recipe = before
    elif folder.exists() and not (folder.is_dir() and not any(folder.iterdir())):
        raise DataError(f"{folder}: is not an empty folder; expected a new one for the phantoms")
    _sweep(folder)
    write_text(path, recipe.model_dump_json(indent=2) + "\n")


def _sweep(folder: Path) -> None:
    """Remove cases that were half drawn when their process ended."""
    for leftover in folder.glob(".*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)


def _sha256(labels: LabelMap) -> str:
    if not labels.path.is_file():
        raise DataError(f"{labels.path}: no such file; expected the label map of {labels.name}")
    return file_sha256(labels.path)


def _last_words(case: Path, died: Died, n_processes: int) -> str:
    return (
        f"{case}: the process that drew it died (exit code {died.exit_code}), for want of memory "
        f"as a rule: {n_processes} of them ran; the same command goes on"
    )
