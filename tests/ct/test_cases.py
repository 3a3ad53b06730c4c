"""Case folders: which are found, and which are refused with what words."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray

from kidneyseg.ct.cases import Case, list_cases, read_case
from kidneyseg.errors import DataError

KIDNEY_VOXELS, TUMOUR_VOXELS = 3 * 6 * 8 - 4, 4

Change = Callable[[NDArray[Any], NDArray[np.float64]], tuple[NDArray[Any], NDArray[np.float64]]]


def rewrite(path: Path, change: Change) -> None:
    """Change the array or the affine that a file holds."""
    image = nib.Nifti1Image.from_filename(path)
    array, affine = change(np.asarray(image.dataobj), np.asarray(image.affine))
    nib.Nifti1Image(array, affine).to_filename(path)


def refusal(case: Case, kidney_labels: tuple[int, ...] = (1, 2)) -> str:
    with pytest.raises(DataError) as caught:
        read_case(case, kidney_labels)
    message = str(caught.value)
    assert message.startswith(f"{case.segmentation}: ")
    return message.removeprefix(f"{case.segmentation}: ")


def test_cases_are_listed_by_name(write_case: Callable[..., Case]) -> None:
    written = [write_case(f"case_0000{number}") for number in (2, 0, 1)]
    data = written[0].imaging.parent.parent
    (data / "kits.json").write_text("{}", encoding="utf-8")
    assert list_cases(data) == sorted(written, key=lambda case: case.name)


def test_a_scan_without_labels_is_left_out(write_case: Callable[..., Case]) -> None:
    labelled, unlabelled = write_case("case_00000"), write_case("case_00001")
    unlabelled.segmentation.unlink()
    assert list_cases(labelled.imaging.parent.parent) == [labelled]


def test_files_that_are_not_compressed_are_found_too(write_case: Callable[..., Case]) -> None:
    case = write_case()
    plain = case.imaging.with_name("imaging.nii")
    nib.Nifti1Image.from_filename(case.imaging).to_filename(plain)
    case.imaging.unlink()
    [found] = list_cases(plain.parent.parent)
    assert found.imaging == plain
    assert read_case(found, (1, 2)).scan_hu.shape == (9, 20, 24)


def test_labels_without_a_scan_are_refused(write_case: Callable[..., Case]) -> None:
    case = write_case()
    case.imaging.unlink()
    folder = case.imaging.parent
    with pytest.raises(DataError) as caught:
        list_cases(folder.parent)
    expected = f"{folder}: no imaging.nii.gz beside the segmentation; fetch it again"
    assert str(caught.value) == expected


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        list_cases(tmp_path / "kits19")
    assert str(caught.value).startswith(f"{tmp_path / 'kits19'}: no such data folder; expected")


def test_a_folder_without_cases_says_what_was_expected(tmp_path: Path) -> None:
    (tmp_path / "case_00000").mkdir()
    with pytest.raises(DataError) as caught:
        list_cases(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path}: no labelled case; expected case_00000/")


def test_tumour_is_kidney(write_case: Callable[..., Case]) -> None:
    volumes = read_case(write_case(), (1, 2))
    assert volumes.kidney.sum() == KIDNEY_VOXELS + TUMOUR_VOXELS
    assert volumes.kidney.dtype == np.bool_
    assert volumes.geometry.spacing_mm == pytest.approx((3.0, 0.8, 0.7))


def test_a_label_that_nobody_named_is_refused(write_case: Callable[..., Case]) -> None:
    message = refusal(write_case(), kidney_labels=(1,))
    assert message == (
        "holds the labels [2]; expected 0 and [1] (data.kidney_labels) or [] (data.other_labels: "
        "known, counted as background)"
    )


def with_other_organs(case: Case) -> None:
    """Put a liver of 5 and a spleen of 9 beside the kidney."""

    def put(array: NDArray[Any], affine: NDArray[np.float64]) -> tuple[NDArray[Any], Any]:
        array = array.copy()
        array[3:6, 14:18, 4:12], array[8, 14:18, 14:18] = 5, 9
        return array, affine

    rewrite(case.segmentation, put)


def test_other_organs_that_are_named_are_background(write_case: Callable[..., Case]) -> None:
    case = write_case()
    kidney = read_case(case, (1, 2)).kidney
    with_other_organs(case)
    volumes = read_case(case, (1, 2), other_labels=(5, 9))
    np.testing.assert_array_equal(volumes.kidney, kidney)
    assert volumes.kidney.dtype == np.bool_
    with pytest.raises(DataError, match=r"holds the labels \[9\]; expected .* or \[5\]"):
        read_case(case, (1, 2), other_labels=(5,))


def test_other_organs_alone_are_no_kidney(write_case: Callable[..., Case]) -> None:
    with pytest.raises(DataError, match="no voxel is kidney"):
        read_case(write_case(), (3,), other_labels=(1, 2))


def test_labels_without_kidney_are_refused(write_case: Callable[..., Case]) -> None:
    case = write_case()
    rewrite(case.segmentation, lambda array, affine: (array * 0, affine))
    assert refusal(case) == "no voxel is kidney; leave the case out or label it"


def test_labels_of_another_shape_are_refused(write_case: Callable[..., Case]) -> None:
    case = write_case()
    rewrite(case.segmentation, lambda array, affine: (array[:-1], affine))
    expected = "shape (8, 20, 24) (slices, rows, columns); expected the scan's (9, 20, 24)"
    assert refusal(case) == expected


def shifted(affine: NDArray[np.float64], mm: float) -> NDArray[np.float64]:
    moved = affine.copy()
    moved[0, 3] += mm
    return moved


def test_labels_beside_the_scan_are_refused(write_case: Callable[..., Case]) -> None:
    case = write_case()
    rewrite(case.segmentation, lambda array, affine: (array, shifted(affine, 1.5)))
    message = refusal(case)
    assert message.startswith("its affine puts a corner 1.5 mm from the scan's; expected at most")
    assert "label the scan on its own grid" in message


def test_a_small_error_of_spacing_counts_over_the_whole_width(
    write_case: Callable[..., Case],
) -> None:
    """0.009 mm a column is float noise to nobody: 0.2 mm at the 24th."""
    case = write_case()
    rewrite(
        case.segmentation,
        lambda array, affine: (array, affine @ np.diag([1, 1, 1 + 0.009 / 0.7, 1])),
    )
    assert refusal(case).startswith("its affine puts a corner 0.207 mm from the scan's")


def test_float_noise_between_two_headers_is_accepted(write_case: Callable[..., Case]) -> None:
    case = write_case()
    rewrite(case.segmentation, lambda array, affine: (array, shifted(affine, 1e-3)))
    assert read_case(case, (1, 2)).kidney.any()


def test_labels_stored_in_another_orientation_fit_their_scan(
    write_case: Callable[..., Case],
) -> None:
    case = write_case()
    before = read_case(case, (1, 2))
    flip = np.array([[-1.0, 0, 0, 8], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    rewrite(case.segmentation, lambda array, affine: (array[::-1], affine @ flip))
    after = read_case(case, (1, 2))
    np.testing.assert_array_equal(after.kidney, before.kidney)


def test_damage_names_the_damaged_file(write_case: Callable[..., Case]) -> None:
    case = write_case()
    case.imaging.write_bytes(case.imaging.read_bytes()[:-3])
    with pytest.raises(DataError) as caught:
        read_case(case, (1, 2))
    assert str(caught.value).startswith(f"{case.imaging}: cut or damaged (")
