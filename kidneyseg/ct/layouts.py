"""Where the files of cases lie, in the three layouts that people have.

    case_00000/imaging.nii.gz, segmentation.nii.gz           KiTS19
    imagesTr/NAME_0000.nii.gz, labelsTr/NAME.nii.gz          nnU-Net; imagesTs is not looked at
    a .csv with the columns case, imaging, segmentation and, optionally, patient

Relative paths in a table start at its folder and stay within it.
"""

import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from kidneyseg.errors import DataError

SUFFIXES = (".nii.gz", ".nii")
CASE_NAME = re.compile(r"\w[\w .-]{0,99}")  # it names folders of the cache too
COLUMNS = ("case", "imaging", "segmentation")
CHANNEL = re.compile(r"(.+)_(\d{4})")  # nnU-Net's number of an image's channel


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFiles:
    """The files of a case that are named or there; what they hold is not known yet."""

    name: str
    imaging: Path | None
    segmentation: Path | None
    patient: str
    place: Path  # where a person looks for a scan that is missing: a folder, or the table
    scan_name: str  # and what it is called there


def list_files(data: Path) -> list[CaseFiles]:
    """List the cases of a data folder, or of a table of paths, by name; whole or not.

    Raises DataError where there is no such folder or table, it cannot be understood, or no case in
    it has labels.
    """
    cases = _list_any(data)
    if all(files.segmentation is None for files in cases):
        raise DataError(
            f"{data}: no labelled case; expected case_00000/imaging.nii.gz and "
            "segmentation.nii.gz, as in KiTS19, or imagesTr and labelsTr, as in nnU-Net"
        )
    return cases


def _list_any(data: Path) -> list[CaseFiles]:
    if data.suffix.lower() == ".csv":
        return sorted(_read_table(data), key=lambda files: files.name)
    if not data.is_dir():
        raise DataError(
            f"{data}: no such data folder; expected one with case folders as KiTS19, with "
            "imagesTr and labelsTr as nnU-Net, or a table of paths (.csv)"
        )
    if (data / "imagesTr").is_dir() or (data / "labelsTr").is_dir():
        return _nnunet_files(data)
    return _kits19_files(data)


def _kits19_files(data: Path) -> list[CaseFiles]:
    places = sorted(path for path in data.iterdir() if path.is_dir() and path.name[0] != ".")
    return [
        CaseFiles(
            name=place.name,
            imaging=_file(place, "imaging"),
            segmentation=_file(place, "segmentation"),
            patient=place.name,
            place=place,
            scan_name="imaging.nii.gz",
        )
        for place in places
    ]


def _file(place: Path, stem: str) -> Path | None:
    for suffix in SUFFIXES:
        if (place / f"{stem}{suffix}").is_file():
            return place / f"{stem}{suffix}"
    return None


def _nnunet_files(data: Path) -> list[CaseFiles]:
    images = {_case_of(path): path for path in _by_stem(data / "imagesTr").values()}
    labels = _by_stem(data / "labelsTr")
    return [
        CaseFiles(
            name=name,
            imaging=images.get(name),
            segmentation=labels.get(name),
            patient=name,
            place=data / "imagesTr",
            scan_name=f"{name}_0000.nii.gz",
        )
        for name in sorted(images.keys() | labels.keys())
    ]


def _by_stem(folder: Path) -> dict[str, Path]:
    """The NIfTI files of a folder by name without suffix; .nii.gz before .nii."""
    found: dict[str, Path] = {}
    for suffix in SUFFIXES if folder.is_dir() else ():
        for path in sorted(folder.glob(f"[!.]*{suffix}")):
            found.setdefault(path.name.removesuffix(suffix), path)
    return found


def _case_of(image: Path) -> str:
    """The case of an image in imagesTr. Raises DataError for a second channel, or none."""
    stem = image.name.removesuffix(".gz").removesuffix(".nii")
    named = CHANNEL.fullmatch(stem)
    if named is None or named[2] != "0000":
        raise DataError(f"{image}: expected one channel for each case, NAME_0000.nii.gz: the CT")
    return named[1]


def _read_table(table: Path) -> Iterator[CaseFiles]:
    seen: set[str] = set()
    for number, row in _rows(table):
        where = f"{table}, line {number}"
        name = row["case"]
        if not CASE_NAME.fullmatch(name):
            raise DataError(
                f"{where}: case {name!r}; expected letters, digits, '_', '.', '-' and spaces, "
                "at most 100"
            )
        if name in seen:
            raise DataError(f"{where}: case {name!r} stands there twice; expected one line each")
        seen.add(name)
        yield CaseFiles(
            name=name,
            imaging=_named_path(table, row["imaging"], where),
            segmentation=_named_path(table, row["segmentation"], where),
            patient=row.get("patient", "") or name,
            place=table,
            scan_name=f"imaging of {name}",
        )


def _rows(table: Path) -> Iterator[tuple[int, Mapping[str, str]]]:
    """The lines of a table with their numbers; cells without surrounding spaces."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as stream:  # spreadsheets write a mark
            reader = csv.DictReader(stream, skipinitialspace=True, restval="")
            columns = [column.strip() for column in reader.fieldnames or ()]
            if missing := [column for column in COLUMNS if column not in columns]:
                raise DataError(
                    f"{table}: no column {', '.join(missing)} in {columns}; expected "
                    f"{','.join(COLUMNS)} and, if wanted, patient in the first line"
                )
            reader.fieldnames = columns
            for row in reader:
                yield reader.line_num, {key: row[key].strip() for key in columns}
    except OSError as error:
        raise DataError(f"{table}: no such table of paths ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table}: not a table in UTF-8 with commas ({error})") from error


def _named_path(table: Path, cell: str, where: str) -> Path | None:
    """The path that a cell names; None for an empty cell."""
    if not cell:
        return None
    path = Path(cell)
    if ".." in path.parts:
        raise DataError(f"{where}: path {cell!r} leaves its folder; expected one without '..'")
    return table.parent / path
