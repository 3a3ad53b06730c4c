"""Every fault that a case can have, made and found; and KiTS19's odd cases, exactly."""

import gzip
import struct
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct import verification
from kidneyseg.ct.findings import CaseError, Finding, Kind
from kidneyseg.ct.layouts import CaseFiles, list_files
from kidneyseg.ct.process_pool import Died
from kidneyseg.ct.verification import (
    CheckedCase,
    check_case,
    check_cases,
    collect_findings,
    find_duplicates,
    hash_voxels,
)
from kidneyseg.ct.volumes import write_kits19_case
from kidneyseg.settings import DataSettings
from tests.machine import KITS19_LABELS, needs_kits19_labels

SHAPE = (12, 40, 40)
SETTINGS = DataSettings(downsampling=2, slice_size=(16, 16))
SHAPE_FIELD, SPACING_FIELD, SROW_FIELD = 42, 80, 280  # bytes into a NIfTI-1 header

Affine = NDArray[np.float64]
Change = Callable[[NDArray[Any], Affine], tuple[NDArray[Any], Affine]]


def write_sound_case(folder: Path, seed: int = 0) -> Path:
    """Write a body in air with two kidneys of 15 ml and a small tumour: nothing to find."""
    random = np.random.default_rng(seed)
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:9, 15:19, 5:11] = labels[4:9, 15:19, 29:35] = 1
    labels[4, 15:17, 5:8] = 2
    scan = np.full(SHAPE, -1000, np.int16)
    scan[:, 5:35, 2:38] = random.normal(40, 10, (12, 30, 36))
    scan[:, 30:33, 18:22] = 600  # spine
    scan[labels > 0] = 150
    write_kits19_case(folder, scan, labels, spacing_mm=(5.0, 5.0, 5.0))
    return folder


@pytest.fixture
def case(tmp_path: Path) -> Path:
    return write_sound_case(tmp_path / "data" / "case_00000")


def rewrite(path: Path, change: Change) -> None:
    """Change the array or the affine that a file holds."""
    image = nib.Nifti1Image.from_filename(path)
    array, affine = change(np.asarray(image.dataobj), np.asarray(image.affine))
    nib.Nifti1Image(array, affine).to_filename(path)


def patch_header(path: Path, offset: int, content: bytes) -> None:
    whole = bytearray(gzip.decompress(path.read_bytes()))
    whole[offset : offset + len(content)] = content
    path.write_bytes(gzip.compress(bytes(whole)))


def checked(case: Path, **options: Any) -> CheckedCase:
    [files] = [files for files in list_files(case.parent) if files.name == case.name]
    return check_case(files, options.pop("settings", SETTINGS), **options)


def found(case: Path, **options: Any) -> dict[Kind, str]:
    """Messages by kind, one line each."""
    findings = checked(case, **options).findings
    assert all(finding.case == case.name for finding in findings)
    assert not any("\n" in finding.message for finding in findings)
    assert len({finding.kind for finding in findings}) == len(findings)
    return {finding.kind: finding.message for finding in findings}


def test_nothing_is_found_in_a_sound_case(case: Path) -> None:
    assert found(case) == {}


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def spoil_checksum(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-8] ^= 1  # the first byte of gzip's CRC
    path.write_bytes(bytes(content))


def replace_by_text(path: Path) -> None:
    path.write_bytes(gzip.compress(b"<html>Sign in to go on</html>" * 40))


def stack(path: Path) -> None:
    rewrite(path, lambda array, affine: (np.stack([array, array], axis=-1), affine))


def colour(path: Path) -> None:
    dtype = [("R", "u1"), ("G", "u1"), ("B", "u1")]
    rewrite(path, lambda array, affine: (np.zeros(array.shape, dtype), affine))


def shear(path: Path) -> None:
    gantry = np.eye(4)
    gantry[1, 0] = 0.1  # rows move with the slices
    rewrite(path, lambda array, affine: (array, affine @ gantry))


def claim_a_terabyte(path: Path) -> None:
    patch_header(path, SHAPE_FIELD, struct.pack("<3h", 10_000, 10_000, 10_000))


def claim_a_long_axis(path: Path) -> None:
    patch_header(path, SHAPE_FIELD, struct.pack("<3h", 20_000, 1, 1))


def zero_spacing(path: Path) -> None:
    patch_header(path, SROW_FIELD, bytes(48))


@pytest.mark.parametrize("name", ["imaging", "segmentation"])
@pytest.mark.parametrize(
    ("damage", "kind", "words"),
    [
        (cut, Kind.DAMAGED, "cut or damaged ("),
        (spoil_checksum, Kind.DAMAGED, "cut or damaged ("),
        (replace_by_text, Kind.NOT_NIFTI, "not a NIfTI-1 file ("),
        (stack, Kind.NOT_3D, "shape (12, 40, 40, 2); expected three dimensions"),
        (colour, Kind.VOXEL_TYPE, "expected whole or real numbers"),
        (shear, Kind.SHEARED, "sheared affine (cosine 0.1"),
        (claim_a_terabyte, Kind.DAMAGED, "cut or damaged (its header promises "),
        (claim_a_long_axis, Kind.TOO_LARGE, "shape (20000, 1, 1); expected 1 to 16384 voxels"),
        (zero_spacing, Kind.SPACING, "spacing [0.0, 0.0, 0.0] mm; expected it above 0"),
    ],
)
def test_a_file_that_cannot_be_read_is_an_error_with_its_reason(
    case: Path, name: str, damage: Callable[[Path], None], kind: Kind, words: str
) -> None:
    path = case / f"{name}.nii.gz"
    damage(path)
    told = found(case)
    assert list(told) == [kind]
    assert told[kind].startswith(f"{path}: ")
    assert words in told[kind]


def test_both_files_of_a_case_are_told(case: Path) -> None:
    for name in ("imaging", "segmentation"):
        cut(case / f"{name}.nii.gz")
    findings = checked(case).findings
    assert [finding.kind for finding in findings] == [Kind.DAMAGED] * 2
    assert [Path(finding.message.split(": ")[0]).name for finding in findings] == [
        "segmentation.nii.gz",
        "imaging.nii.gz",
    ]


def test_labels_without_their_scan(case: Path) -> None:
    (case / "imaging.nii.gz").unlink()
    expected = f"{case}: no imaging.nii.gz beside the segmentation; fetch it again"
    assert found(case) == {Kind.MISSING: expected}
    assert found(case, labels_only=True) == {}


@pytest.mark.parametrize(
    ("missing", "words"),
    [
        (["segmentation"], "no labels: not used in training"),
        (["segmentation", "imaging"], "neither scan nor labels: not used in training"),
    ],
)
def test_a_case_without_labels_is_only_noted(case: Path, missing: list[str], words: str) -> None:
    write_sound_case(case.parent / "case_00001")
    for name in missing:
        (case / f"{name}.nii.gz").unlink()
    assert found(case) == {Kind.LEFT_OUT: f"{case}: {words}"}


def test_a_file_that_only_a_table_knows(case: Path, tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(
        f"case,imaging,segmentation\na,nowhere.nii.gz,{case}/segmentation.nii.gz\n",
        encoding="utf-8",
    )
    [files] = list_files(table)
    [finding] = check_case(files, SETTINGS).findings
    assert finding == Finding(
        case="a", kind=Kind.MISSING, message=f"{tmp_path / 'nowhere.nii.gz'}: no such file"
    )


def test_a_file_that_may_not_be_read(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("isal.igzip.open", refuse)
    path = case / "segmentation.nii.gz"
    told = found(case, labels_only=True)
    assert told == {Kind.UNREADABLE: f"{path}: cannot be read ([Errno 13] Permission denied)"}


def test_labels_of_another_shape(case: Path) -> None:
    path = case / "segmentation.nii.gz"
    rewrite(path, lambda array, affine: (array[:-1], affine))
    assert found(case) == {
        Kind.GRID: f"{path}: shape (11, 40, 40) (slices, rows, columns); expected the scan's "
        "(12, 40, 40)"
    }


def test_labels_beside_the_scan(case: Path) -> None:
    path = case / "segmentation.nii.gz"
    rewrite(path, lambda array, affine: (array, moved(affine, 2.0)))
    told = found(case)
    assert list(told) == [Kind.GRID]
    assert told[Kind.GRID].startswith(f"{path}: its affine puts a corner 2 mm from the scan's")


def moved(affine: Affine, mm: float) -> Affine:
    """The same grid, `mm` to the right."""
    result = affine.copy()
    result[0, 3] += mm
    return result


def test_float_noise_between_the_headers_is_nothing(case: Path) -> None:
    rewrite(case / "segmentation.nii.gz", lambda array, affine: (array, moved(affine, 1e-4)))
    assert found(case) == {}


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda hu: hu + 1024, "values from 24 to 1624, as without the intercept"),
        (lambda hu: np.clip((hu + 160) * 255 / 400, 0, 255).astype(np.uint8), "a picture of 8"),
        (lambda hu: (hu / 400).astype(np.float32), "values from -2 to 2, as scaled for a network"),
        (lambda hu: np.where(hu == -1000, -2000, hu + 1024), "the median under the kidney labels"),
        (lambda hu: np.clip(hu, -50, 250), "cut to less than data.hu_window [-79.0, 304.0]"),
        (lambda hu: hu * 0 + 7, "values from 7 to 7"),
    ],
)
def test_values_that_are_not_hu(
    case: Path, change: Callable[[NDArray[Any]], NDArray[Any]], words: str
) -> None:
    path = case / "imaging.nii.gz"
    rewrite(path, lambda array, affine: (change(array), affine))
    told = found(case)
    assert list(told) == [Kind.NOT_HU]
    assert told[Kind.NOT_HU].startswith(f"{path}: ")
    assert words in told[Kind.NOT_HU]


def test_labels_of_another_scan_show_in_its_values(case: Path) -> None:
    rewrite(case / "segmentation.nii.gz", lambda array, affine: (np.roll(array, 20, 1), affine))
    assert "the median under the kidney labels is -1000" in found(case)[Kind.NOT_HU]


def swap_labels(first: Path, second: Path) -> None:
    """Give two patients, whose scans have one shape, each other's labels."""
    one, other = (folder / "segmentation.nii.gz" for folder in (first, second))
    kept = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(kept)


def test_labels_swapped_between_patients_show_where_they_lie_on_air(
    case: Path, tmp_path: Path
) -> None:
    other = write_sound_case(tmp_path / "data" / "case_00001", seed=1)
    for name in ("imaging", "segmentation"):  # the patient lies 100 mm lower in the picture
        path = other / f"{name}.nii.gz"
        rewrite(path, lambda array, affine: (np.roll(array, 20, axis=1), affine))
    assert found(case) == found(other) == {}
    swap_labels(case, other)
    for each in (case, other):
        assert "the median under the kidney labels is -1000" in found(each)[Kind.NOT_HU]


def test_labels_swapped_between_patients_who_lie_alike_do_not_show(
    case: Path, tmp_path: Path
) -> None:
    """What docs/evaluation.md says cannot be seen: the labels lie on soft tissue."""
    other = write_sound_case(tmp_path / "data" / "case_00001", seed=1)
    for name in ("imaging", "segmentation"):
        path = other / f"{name}.nii.gz"
        rewrite(path, lambda array, affine: (np.roll(array, 8, axis=1), affine))
    swap_labels(case, other)
    assert found(case) == found(other) == {}


def test_a_scan_cut_to_a_wide_window_is_only_noted(case: Path) -> None:
    path = case / "imaging.nii.gz"
    rewrite(path, lambda array, affine: (np.clip(array, -200, 400), affine))
    assert found(case) == {Kind.WINDOWED: f"{path}: values from -200 to 400: no air"}


def test_nan_in_a_scan(case: Path) -> None:
    path = case / "imaging.nii.gz"
    rewrite(path, lambda array, affine: (np.where(array == 600, np.nan, array), affine))
    expected = f"{path}: holds NaN or infinite values; expected HU everywhere"
    assert found(case) == {Kind.NOT_FINITE: expected}


@pytest.mark.parametrize(("value", "word"), [(0.5, "0.5"), (np.nan, "nan"), (-1.0, "-1.0")])
def test_labels_that_are_not_whole_numbers(case: Path, value: float, word: str) -> None:
    path = case / "segmentation.nii.gz"
    rewrite(path, lambda array, affine: (np.where(array == 2, value, array), affine))
    expected = f"{path}: holds the label {word}; expected whole numbers from 0 to 255"
    assert found(case) == {Kind.LABEL_VALUES: expected}


def test_labels_that_nobody_named(case: Path) -> None:
    path = case / "segmentation.nii.gz"
    rewrite(path, lambda array, affine: (np.where(array == 2, 7, array), affine))
    expected = f"{path}: holds the labels [7]; expected 0 and [1, 2] (data.kidney_labels) or ["
    message = found(case)[Kind.UNKNOWN_LABELS]
    assert message.startswith(expected)
    assert "data.other_labels" in Kind.UNKNOWN_LABELS.cure
    assert found(case, settings=SETTINGS.model_copy(update={"other_labels": (7,)})) == {}


def test_labels_of_ones_own_are_honoured(case: Path) -> None:
    rewrite(case / "segmentation.nii.gz", lambda array, affine: (array * 3, affine))
    own = SETTINGS.model_copy(update={"kidney_labels": (3, 6)})
    assert found(case, settings=own) == {}
    assert list(found(case)) == [Kind.UNKNOWN_LABELS, Kind.NO_KIDNEY]


def test_empty_labels(case: Path) -> None:
    path = case / "segmentation.nii.gz"
    rewrite(path, lambda array, affine: (array * 0, affine))
    expected = f"{path}: no voxel is kidney; leave the case out or label it"
    assert found(case) == {Kind.NO_KIDNEY: expected}


def both_files(case: Path, change: Change) -> None:
    for name in ("imaging", "segmentation"):
        rewrite(case / f"{name}.nii.gz", change)


@pytest.mark.parametrize(
    ("spacing_mm", "series", "pixels"),
    [((1.0, 5.0, 1.0), "a coronal", "5 x 1"), ((1.0, 1.0, 5.0), "a sagittal", "1 x 5")],
)
def test_a_series_that_is_not_axial(
    case: Path, spacing_mm: tuple[float, float, float], series: str, pixels: str
) -> None:
    stretch = np.diag([*np.array(spacing_mm) / 5.0, 1.0])
    both_files(case, lambda array, affine: (array, affine @ stretch))
    findings = checked(case).findings
    assert [finding.kind for finding in findings if finding.is_error] == [Kind.NOT_AXIAL] * 2
    assert findings[-1].message == (
        f"{case / 'imaging.nii.gz'}: axial pixels of {pixels} mm, as in {series} series; "
        "expected square ones"
    )


def test_thin_axial_slices_are_axial(case: Path) -> None:
    both_files(case, lambda array, affine: (array, affine @ np.diag([0.5, 1.0, 1.0, 1.0])))
    assert found(case) == {}


@pytest.mark.parametrize(("degrees", "kinds"), [(10, []), (30, [Kind.NOT_AXIAL] * 2)])
def test_oblique_slices_are_not_axial(case: Path, degrees: float, kinds: list[Kind]) -> None:
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    turn = np.eye(4)
    turn[1:3, 1:3] = [[cosine, -sine], [sine, cosine]]
    both_files(case, lambda array, affine: (array, turn @ affine))
    findings = checked(case).findings
    assert [finding.kind for finding in findings] == kinds
    words = "slices tilted by 30 degrees from the patient's axis; expected at most 20"
    assert all(words in finding.message for finding in findings)


def set_codes(path: Path, *, qform: int) -> None:
    """Take the sform away; the affine stays in the qform, with its code."""
    image = nib.Nifti1Image.from_filename(path)
    affine = image.affine
    image.set_qform(affine, qform)
    image.set_sform(affine, 0)
    image.to_filename(path)


def test_a_file_without_orientation(case: Path) -> None:
    path = case / "imaging.nii.gz"
    set_codes(path, qform=0)
    expected = f"{path}: neither sform nor qform; expected one of them"
    assert found(case)[Kind.NO_ORIENTATION] == expected


def test_a_qform_alone_is_noted_once(case: Path) -> None:
    for name in ("imaging", "segmentation"):
        set_codes(case / f"{name}.nii.gz", qform=1)
    expected = "segmentation.nii.gz: its affine stands in the qform alone"
    assert found(case) == {Kind.QFORM_ONLY: expected}


def test_slices_that_are_not_square_are_noted_once(case: Path) -> None:
    both_files(case, lambda array, affine: (array[:, :36], affine))
    assert found(case) == {Kind.NOT_SQUARE: "segmentation.nii.gz: slices of 36 x 40 pixels"}


def test_odd_kidneys_are_noted(case: Path) -> None:
    rewrite(
        case / "segmentation.nii.gz",
        lambda array, affine: (np.where(np.arange(40) < 20, array, 0), affine),
    )
    assert found(case) == {Kind.ONE_KIDNEY: "15 ml on the right"}


def test_no_memory_for_a_file_is_a_finding(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(path: Path) -> None:
        raise MemoryError

    monkeypatch.setattr(verification, "read_scan", fail)
    told = found(case)
    assert list(told) == [Kind.OUT_OF_MEMORY]
    assert told[Kind.OUT_OF_MEMORY].startswith(f"{case / 'imaging.nii.gz'}: not enough memory")


def test_a_file_that_nobody_foresaw_is_a_finding(
    case: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(path: Path) -> None:
        raise ZeroDivisionError("by nothing\nat all")

    monkeypatch.setattr(verification, "read_labels", fail)
    expected = f"{case / 'segmentation.nii.gz'}: unexpected ZeroDivisionError: by nothing at all"
    assert found(case) == {Kind.UNREADABLE: expected}


def test_a_process_that_dies_is_a_finding(case: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def die(work: object, cases: list[CaseFiles], n_processes: int) -> Any:
        yield from ((files, Died(-9)) for files in cases)

    monkeypatch.setattr(verification, "work_on_each", die)
    [finding] = collect_findings(check_cases(list_files(case.parent), SETTINGS))
    assert finding.kind is Kind.OUT_OF_MEMORY
    assert finding.message == (
        f"{case}: the process that read it died (exit code -9), for want of memory as a rule"
    )


def duplicates(data: Path) -> list[tuple[str, str]]:
    cases = [check_case(files, SETTINGS) for files in list_files(data)]
    found = find_duplicates(cases)
    assert {finding.kind for finding in found} <= {Kind.DUPLICATE}
    return [(finding.case, finding.message) for finding in found]


def test_the_same_case_under_another_name(case: Path) -> None:
    copy = write_sound_case(case.parent / "case_00001")
    write_sound_case(case.parent / "case_00002", seed=1)
    (copy / "segmentation.nii.gz").unlink()
    rewrite(
        case.parent / "case_00002" / "segmentation.nii.gz",
        lambda array, affine: (np.roll(array, 1, 2), affine),
    )
    assert duplicates(case.parent) == []
    write_sound_case(copy)
    same = "holds the same voxels as the scan of case_00000 and the labels of case_00000"
    assert duplicates(case.parent) == [("case_00001", same)]


def test_the_same_labels_for_another_scan(case: Path) -> None:
    write_sound_case(case.parent / "case_00001", seed=1)
    expected = "holds the same voxels as the labels of case_00000"
    assert duplicates(case.parent) == [("case_00001", expected)]


def test_the_same_scan_in_another_orientation(case: Path) -> None:
    copy = write_sound_case(case.parent / "case_00001")
    flip = np.array([[-1.0, 0, 0, 11], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    both_files(copy, lambda array, affine: (array[::-1], affine @ flip))
    assert [name for name, _ in duplicates(case.parent)] == ["case_00001"]


def test_voxels_are_hashed_however_they_lie_in_memory() -> None:
    array = np.random.default_rng(0).integers(0, 99, (70, 65, 130), dtype=np.int16)
    assert hash_voxels(array) == hash_voxels(np.asfortranarray(array))
    assert hash_voxels(array) != hash_voxels(array[:, :, ::-1])
    changed = array.copy()
    changed[69, 64, 129] += 1
    assert hash_voxels(array) != hash_voxels(changed)
    assert hash_voxels(array) != hash_voxels(array.reshape(65, 70, 130))


def test_findings_come_by_kind_errors_first_and_by_case() -> None:
    first, second = CheckedCase(name="a"), CheckedCase(name="b")
    first.add(Kind.ONE_KIDNEY, "")
    first.add(Kind.NO_KIDNEY, "")
    second.add(Kind.DAMAGED, "")
    second.add(Kind.ONE_KIDNEY, "")
    found = collect_findings([second, first])
    assert [(finding.kind, finding.case) for finding in found] == [
        (Kind.DAMAGED, "b"),
        (Kind.NO_KIDNEY, "a"),
        (Kind.ONE_KIDNEY, "a"),
        (Kind.ONE_KIDNEY, "b"),
    ]


def test_every_kind_has_words_of_its_own_and_a_cure() -> None:
    assert len({kind.words for kind in Kind}) == len(Kind)
    assert all(kind.cure for kind in Kind)


def test_an_error_keeps_its_kind_between_processes() -> None:
    import pickle

    error = pickle.loads(pickle.dumps(CaseError("what", Kind.SHEARED)))
    assert (str(error), error.kind) == ("what", Kind.SHEARED)


NOTES_OF_KITS19 = {  # counted for themselves, apart from this program
    Kind.NOT_SQUARE: [160],
    Kind.QFORM_ONLY: [15, 23, 37, 116],
    Kind.ONE_KIDNEY: [5, 165],
    Kind.JOINED: [151],
    Kind.ACROSS_MIDLINE: [40],
    Kind.LAST_SLICE: [10, 83],
    Kind.LARGE_TUMOUR: [
        *(5, 24, 28, 37, 47, 55, 89, 102, 114, 116, 119, 145, 151, 179, 187, 200, 204),
    ],
}


@pytest.mark.slow
@needs_kits19_labels
def test_the_odd_cases_of_kits19_are_exactly_these() -> None:
    cases = list_files(KITS19_LABELS)
    notes: dict[Kind, list[int]] = defaultdict(list)
    for finding in collect_findings(check_cases(cases, SETTINGS, labels_only=True)):
        notes[finding.kind].append(int(finding.case.removeprefix("case_")))
    assert len(cases) == 59
    assert notes == NOTES_OF_KITS19
