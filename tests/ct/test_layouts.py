"""Where cases are found: KiTS19's folders, nnU-Net's, a table of paths."""

from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.ct.cases import Case, list_cases, read_case
from kidneyseg.ct.development import find_development_cases
from kidneyseg.ct.layouts import CaseFiles, list_files
from kidneyseg.errors import DataError
from kidneyseg.settings import Environment

HEADER = "case,imaging,segmentation"


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def table_of(folder: Path, *lines: str) -> Path:
    table = folder / "cases.csv"
    table.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return table


def refusal(data: Path) -> str:
    with pytest.raises(DataError) as caught:
        list_files(data)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_case_folders_are_found_whole_or_not(tmp_path: Path) -> None:
    touch(
        tmp_path / "case_1" / "imaging.nii.gz",
        tmp_path / "case_1" / "segmentation.nii.gz",
        tmp_path / "case_0" / "segmentation.nii",
        tmp_path / ".snapshots" / "imaging.nii.gz",
        tmp_path / "kits.json",
    )
    found = list_files(tmp_path)
    assert [files.name for files in found] == ["case_0", "case_1"]
    assert found[0].imaging is None
    assert found[0].segmentation == tmp_path / "case_0" / "segmentation.nii"
    assert found[1].imaging == tmp_path / "case_1" / "imaging.nii.gz"


def test_nnunet_folders_are_found(tmp_path: Path) -> None:
    touch(
        tmp_path / "dataset.json",
        tmp_path / "imagesTr" / "kits_002_0000.nii.gz",
        tmp_path / "imagesTr" / "kits_001_0000.nii",
        tmp_path / "imagesTr" / "._kits_001_0000.nii.gz",
        tmp_path / "labelsTr" / "kits_001.nii.gz",
        tmp_path / "labelsTr" / "kits_003.nii.gz",
        tmp_path / "imagesTs" / "kits_009_0000.nii.gz",
    )
    assert list_files(tmp_path) == [
        CaseFiles(
            name=name,
            imaging=tmp_path / "imagesTr" / image if image else None,
            segmentation=tmp_path / "labelsTr" / labels if labels else None,
            patient=name,
            place=tmp_path / "imagesTr",
            scan_name=f"{name}_0000.nii.gz",
        )
        for name, image, labels in (
            ("kits_001", "kits_001_0000.nii", "kits_001.nii.gz"),
            ("kits_002", "kits_002_0000.nii.gz", None),
            ("kits_003", None, "kits_003.nii.gz"),
        )
    ]


@pytest.mark.parametrize("name", ["ct_0001.nii.gz", "ct.nii.gz"])
def test_more_channels_than_the_ct_are_refused(tmp_path: Path, name: str) -> None:
    touch(tmp_path / "imagesTr" / "ct_0000.nii.gz", tmp_path / "imagesTr" / name)
    expected = "expected one channel for each case, NAME_0000.nii.gz: the CT"
    assert refusal(tmp_path) == f"{tmp_path / 'imagesTr' / name}: {expected}"


def test_nnunet_labels_without_a_scan_say_where_it_belongs(tmp_path: Path) -> None:
    touch(tmp_path / "labelsTr" / "kits_003.nii.gz")
    with pytest.raises(DataError) as caught:
        list_cases(tmp_path)
    assert str(caught.value) == (
        f"{tmp_path / 'imagesTr'}: no kits_003_0000.nii.gz beside the segmentation; fetch it again"
    )


def test_a_table_names_paths_from_its_own_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere" / "ct.nii.gz"
    table = table_of(
        tmp_path,
        "\ufeffage, patient, case, segmentation, imaging",
        f"61, P7, b, masks/b.nii.gz, {elsewhere}",
        "58, , a, masks/a.nii.gz, scans/a.nii.gz",
    )
    a, b = list_files(table)
    assert (a.name, a.patient) == ("a", "a")
    assert (a.imaging, a.segmentation) == (tmp_path / "scans/a.nii.gz", tmp_path / "masks/a.nii.gz")
    assert (b.name, b.patient, b.imaging) == ("b", "P7", elsewhere)


def test_empty_cells_of_a_table_are_files_that_are_not_there(tmp_path: Path) -> None:
    no_labels, no_scan = list_files(table_of(tmp_path, HEADER, "a,a.nii.gz,", "b,,b.nii.gz"))
    assert no_labels.segmentation is None
    assert no_scan.imaging is None


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["case;imaging;segmentation"], "no column case, imaging, segmentation in"),
        (["case,imaging"], "no column segmentation in ['case', 'imaging']; expected"),
        ([HEADER, "../a,x.nii,y.nii"], "line 2: case '../a'; expected letters"),
        ([HEADER, ",x.nii,y.nii"], "line 2: case ''; expected letters"),
        ([HEADER, "a,x.nii,y.nii", "a,z.nii,y.nii"], "line 3: case 'a' stands there twice"),
        ([HEADER, "a,../x.nii,y.nii"], "line 2: path '../x.nii' leaves its folder; expected one"),
        ([HEADER, "a,x.nii,/data/../y.nii"], "line 2: path '/data/../y.nii' leaves its folder"),
    ],
)
def test_a_table_that_cannot_be_understood_is_refused(
    tmp_path: Path, lines: list[str], words: str
) -> None:
    message = refusal(table_of(tmp_path, *lines))
    assert message.startswith(str(tmp_path / "cases.csv"))
    assert words in message


def test_a_table_that_is_no_text_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_bytes(b"case,imaging,segmentation\n\xff\xfe")
    assert refusal(table).startswith(f"{table}: not a table in UTF-8 with commas (")


def test_a_table_that_is_not_there_is_said(tmp_path: Path) -> None:
    expected = "no such table of paths (No such file or directory)"
    assert refusal(tmp_path / "cases.csv") == f"{tmp_path / 'cases.csv'}: {expected}"


def test_a_folder_that_is_not_there_is_said(tmp_path: Path) -> None:
    message = refusal(tmp_path / "nothing")
    assert message.startswith(
        f"{tmp_path / 'nothing'}: no such data folder; expected one with case"
    )


def test_a_file_that_a_table_names_must_be_there(
    tmp_path: Path, write_case: Callable[..., Case]
) -> None:
    case = write_case()
    table = table_of(tmp_path, HEADER, f"a,scans/a.nii.gz,{case.segmentation}")
    with pytest.raises(DataError) as caught:
        list_cases(table)
    expected = f"no such file, named in {table}"
    assert str(caught.value) == f"{tmp_path / 'scans' / 'a.nii.gz'}: {expected}"


def table_with_pairs(tmp_path: Path, write_case: Callable[..., Case]) -> Path:
    """Eight scans of four patients."""
    lines = [f"{HEADER},patient"]
    for number in range(8):
        case = write_case(f"case_{number}", seed=number)
        scan, labels = (path.relative_to(tmp_path) for path in (case.imaging, case.segmentation))
        lines.append(f"{case.name},{scan},{labels},P{number % 4}")
    return table_of(tmp_path, *lines)


def test_cases_of_a_table_are_read_like_others(
    tmp_path: Path, write_case: Callable[..., Case]
) -> None:
    table = table_with_pairs(tmp_path, write_case)
    by_table, by_folder = list_cases(table), list_cases(tmp_path / "data")
    assert [case.patient for case in by_table] == ["P0", "P1", "P2", "P3"] * 2
    assert [case.patient for case in by_folder] == [case.name for case in by_folder]
    read = [read_case(cases[5], (1, 2)).scan_hu for cases in (by_table, by_folder)]
    assert (read[0] == read[1]).all()


def test_two_scans_of_a_patient_have_one_use(
    tmp_path: Path, write_case: Callable[..., Case]
) -> None:
    table = table_with_pairs(tmp_path, write_case)
    environment = Environment.model_validate(
        {
            "data": {"folder": table, "downsampling": 2, "slice_size": (16, 16)},
            "common": {"runs": tmp_path / "runs"},
        }
    )
    split = find_development_cases(environment).split
    for use, n_cases in ((split.test, 2), (split.validation, 2), (split.training, 4)):
        assert len(use) == n_cases
        assert {f"case_{(int(name[-1]) + 4) % 8}" for name in use} == set(use)
