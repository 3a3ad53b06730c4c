"""`kidneyseg predict`: files and folders, options, what cannot be used, and the JSON document."""

# mypy: disallow-untyped-calls=False
# Most of nibabel has no types.

import json
import math
import shutil
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import torch
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from kidneyseg.cli.main import kidneyseg
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import ModelDescription, Validation
from kidneyseg.model.folder import save_model
from kidneyseg.network import build_quicknat
from kidneyseg.provenance import Provenance
from kidneyseg.settings import DataSettings, NetworkSettings

SHAPE = (12, 60, 100)  # slices, rows, columns
SPACING_MM = (5.0, 3.0, 3.0)
KIDNEYS = (np.s_[3:9, 20:36, 12:30], np.s_[4:10, 22:34, 66:86])  # right and left
AIR_HU, BODY_HU, KIDNEY_HU = -1000, 40, 250


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that marks what is brighter than 150 HU, as far as its random weights let it."""
    settings = NetworkSettings(filters=2, kernel_size=1, squeeze_excitation="none")
    torch.manual_seed(0)
    network = build_quicknat(settings, dropout=0.5)
    for parameter in network.parameters():
        torch.nn.init.zeros_(parameter)
    make_bright_finder(network)
    description = ModelDescription(
        format=1,
        network=settings,
        preprocessing=DataSettings(downsampling=2, slice_size=(32, 64), hu_window=(-100, 400)),
        threshold=0.5,
        hyperparameters=Hyperparameters(dropout=0.5),
        validation=Validation(
            epoch=1, dice=0.5, dice_of_case={"a": 0.5}, loss=1.0, small_batch_size=4
        ),
        provenance=Provenance(
            data="d", split="e", code="f", versions={}, seed=0, device="cpu", host="h"
        ),
        weights_sha256="",
    )
    folder = tmp_path_factory.mktemp("model") / "model"
    save_model(folder, network, description)
    return folder


def make_bright_finder(network: torch.nn.Module) -> None:
    """Let the first channel of the last decoder be the input's brightness, and the rest nothing.

    The input goes through the first encoder's third convolution (1 x 1, of x, a and b), into the
    skip, and through the last decoder's: normalised with fresh statistics, it is left as it is.
    """
    with torch.no_grad():
        for name in ("encode1", "decode3"):
            dense = network.get_submodule(f"{name}.dense")
            for number in (1, 2, 3):
                dense.get_submodule(f"batchnorm{number}").get_parameter("weight").fill_(1)
            dense.get_submodule("conv3").get_parameter("weight")[0, 0] = 1.0
        classifier = network.get_submodule("classifier")
        classifier.get_parameter("weight")[0, 0] = 50.0
        classifier.get_parameter("bias").fill_(-10.0)  # 0.2 of the window's half: 200 HU


def hu_with(kidneys: tuple[tuple[slice, ...], ...]) -> NDArray[np.int16]:
    hu = np.full(SHAPE, AIR_HU, np.int16)
    hu[:, 6:-6, 4:-4] = BODY_HU
    for place in kidneys:
        hu[place] = KIDNEY_HU
    return hu


def write_scan(path: Path, hu: NDArray[Any], axes: str = "IPL") -> None:
    affine = np.array(
        [[0, 0, -SPACING_MM[2], 7], [0, -SPACING_MM[1], 0, 5], [-SPACING_MM[0], 0, 0, 3],
         [0, 0, 0, 1]], dtype=np.float64,
    )  # fmt: skip
    image = nib.Nifti1Image(hu, affine)
    turn = ornt_transform(io_orientation(affine), axcodes2ornt(tuple(axes)))
    turned = image.as_reoriented(turn)
    turned.header.set_sform(turned.affine, 2)
    turned.header.set_qform(turned.affine, 1)
    path.parent.mkdir(parents=True, exist_ok=True)
    turned.to_filename(path)


@pytest.fixture
def scan(workplace: Path) -> Path:
    write_scan(workplace / "ct.nii.gz", hu_with(KIDNEYS))
    return workplace / "ct.nii.gz"


def predict(model: Path, scan: Path | str, mask: Path | str, *more: str) -> int:
    given = ["predict", "--model", str(model), "-i", str(scan), "-o", str(mask), *more]
    return kidneyseg([*given, "--device", "cpu"])


def read(path: Path | str) -> NDArray[np.uint8]:
    return np.asarray(nib.Nifti1Image.from_filename(path).dataobj)


def ml(place: tuple[slice, ...]) -> float:
    return float(np.zeros(SHAPE)[place].size * math.prod(SPACING_MM) / 1000)


def test_the_volumes_of_both_kidneys_are_told(
    model_folder: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model_folder, scan, "mask.nii.gz") == 0
    right, left = map(ml, KIDNEYS)
    assert capsys.readouterr().out == (
        f"{right + left:.0f} ml of kidney: right {right:.0f} ml, left {left:.0f} ml: "
        "written to mask.nii.gz\n"
    )
    mask = read("mask.nii.gz")
    assert mask.dtype == np.uint8
    np.testing.assert_array_equal(mask == 1, hu_with(KIDNEYS) == KIDNEY_HU)


@pytest.mark.parametrize("axes", ["RAS", "LPS", "SAL"])
def test_a_mask_of_sides_has_the_scans_own_header(
    model_folder: Path, workplace: Path, axes: str
) -> None:
    write_scan(Path("ct.nii"), hu_with(KIDNEYS), axes)
    assert predict(model_folder, "ct.nii", "mask.nii", "--sides") == 0
    ct, mask = (nib.Nifti1Image.from_filename(name) for name in ("ct.nii", "mask.nii"))
    assert mask.shape == ct.shape
    np.testing.assert_array_equal(mask.affine, ct.affine)
    for code in ("sform_code", "qform_code"):
        assert mask.header[code] == ct.header[code]
    back = ornt_transform(io_orientation(mask.affine), axcodes2ornt(("I", "P", "L")))
    canonical = np.asarray(mask.as_reoriented(back).dataobj)
    for place, side in zip(KIDNEYS, (1, 2), strict=True):
        assert (canonical[place] == side).all()
    assert (canonical > 0).sum() == sum(canonical[place].size for place in KIDNEYS)


def test_json_is_one_document_on_stdout(
    model_folder: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model_folder, scan, "mask.nii.gz", "--json", "--uncertainty", "3") == 0
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert (document["written"], document["skipped"], document["failed"]) == (1, 0, 0)
    (told,) = document["scans"]
    assert told["scan"] == str(scan)
    assert told["kidneys"] == "two"
    assert told["right_ml"] == pytest.approx(ml(KIDNEYS[0]))
    assert told["left_ml"] == pytest.approx(ml(KIDNEYS[1]))
    assert told["uncertainty"]["passes"] == 3
    assert "volume over 3 passes with dropout" in said.err


def test_steps_after_prediction_are_off_until_asked_for(
    model_folder: Path, workplace: Path
) -> None:
    hu = hu_with(KIDNEYS)
    hu[1, 10:12, 46:48] = KIDNEY_HU  # 4 voxels, 0.18 ml
    write_scan(Path("ct.nii.gz"), hu)
    n_kidney = int((hu == KIDNEY_HU).sum()) - 4
    for option, n_voxels in (
        ([], n_kidney + 4),
        (["--min-ml", "1"], n_kidney),
        (["--largest-two"], n_kidney),
        (["--opening-mm", "4"], n_kidney),
        (["--flips"], n_kidney + 4),
    ):
        assert predict(model_folder, "ct.nii.gz", "mask.nii.gz", *option) == 0
        found = int(read("mask.nii.gz").sum())
        if option[:1] == ["--opening-mm"]:
            assert 0.9 * n_voxels < found <= n_voxels  # corners go
        else:
            assert found == n_voxels


def test_a_folder_keeps_names_and_goes_on_after_a_broken_file(
    model_folder: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write_scan(Path("scans/b.nii"), hu_with(KIDNEYS))
    shutil.copy(scan, "scans/a.nii.gz")
    Path("scans/broken.nii.gz").write_bytes(scan.read_bytes()[:-100])
    Path("scans/notes.txt").write_text("not a scan", encoding="utf-8")
    assert predict(model_folder, "scans", "masks") == 1
    said = capsys.readouterr()
    assert "failed: scans/broken.nii.gz: cut or damaged" in said.err
    assert said.out.splitlines()[-1] == "2 masks written, 1 scans failed: masks"
    assert sorted(path.name for path in Path("masks").iterdir()) == ["a.nii.gz", "b.nii"]


def test_masks_that_are_there_stay_unless_overwrite_is_given(
    model_folder: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scans").mkdir()
    Path("masks").mkdir()
    shutil.copy(scan, "scans/a.nii.gz")
    Path("masks/a.nii.gz").write_text("corrected by hand", encoding="utf-8")
    assert predict(model_folder, "scans", "masks") == 0
    assert "0 masks written, 1 were there (--overwrite replaces them)" in capsys.readouterr().out
    assert Path("masks/a.nii.gz").read_text(encoding="utf-8") == "corrected by hand"
    assert predict(model_folder, "scans", "masks", "--overwrite") == 0
    assert read("masks/a.nii.gz").any()


def test_two_scans_with_one_mask_are_refused_before_any_is_predicted(
    model_folder: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("scans/a").mkdir(parents=True)
    shutil.copy(scan, "scans/a.nii.gz")
    Path("scans/a/1.dcm").write_bytes(bytes(128) + b"DICM")
    line = refusal(predict(model_folder, "scans", "masks"), capsys)
    assert "scans/a and scans/a.nii.gz: both have the mask masks/a.nii.gz" in line
    assert not Path("masks").exists()


def refusal(code: int, capsys: pytest.CaptureFixture[str]) -> str:
    assert code == 2
    said = capsys.readouterr()
    assert said.out == ""
    (line,) = said.err.splitlines()
    return line


def hu_range(low: int, high: int) -> NDArray[np.int16]:
    return np.linspace(low, high, math.prod(SHAPE)).reshape(SHAPE).astype(np.int16)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (hu_range(0, 255), "not HU: values from 0 to 255, as in a picture of 8 bits"),
        (hu_range(0, 2900), "not HU: values from 0 to 2900, as without the intercept"),
        (hu_range(-2, 2), "not HU: values from -2 to 2, as scaled for a network"),
        (np.zeros((*SHAPE, 2), np.int16), "expected three dimensions"),
        (np.full(SHAPE, np.nan, np.float32), "holds NaN or infinite values"),
    ],
)
def test_what_cannot_be_a_ct_is_refused_in_one_line(
    values: NDArray[Any],
    words: str,
    model_folder: Path,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_scan(Path("ct.nii.gz"), values)
    line = refusal(predict(model_folder, "ct.nii.gz", "mask.nii.gz"), capsys)
    assert line.startswith("kidneyseg: ct.nii.gz: ")
    assert words in line
    assert not Path("mask.nii.gz").exists()


@pytest.mark.parametrize(
    ("kidneys", "words"),
    [
        ((), "no kidney was found: look at the scan"),
        (KIDNEYS[:1], "one kidney, on the right: look at it"),
        (KIDNEYS[1:], "one kidney, on the left: look at it"),
        ((np.s_[:3, 20:36, 12:30], KIDNEYS[1]), "kidney on the topmost of 12 slices"),
        ((np.s_[9:, 20:36, 12:30], KIDNEYS[1]), "kidney on the lowest of 12 slices"),
        ((np.s_[4:9, 20:36, 20:80],), "the kidneys are joined"),
    ],
)
def test_what_a_person_should_look_at_is_said(
    kidneys: tuple[tuple[slice, ...], ...],
    words: str,
    model_folder: Path,
    workplace: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    write_scan(Path("ct.nii.gz"), hu_with(kidneys))
    assert predict(model_folder, "ct.nii.gz", "mask.nii.gz") == 0
    assert f"ct.nii.gz: {words}" in capsys.readouterr().err


def test_two_kidneys_in_their_place_need_no_note(
    model_folder: Path, scan: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert predict(model_folder, scan, "mask.nii.gz") == 0
    assert "ct.nii.gz" not in capsys.readouterr().err


@pytest.mark.parametrize(
    ("scan_name", "mask_name", "more", "words"),
    [
        ("scans", "scans", [], "holds the scans themselves"),
        ("scans", "mask.nii.gz", [], "mask.nii.gz: expected a folder for the masks"),
        ("empty", "masks", [], "empty: no scan in it"),
        ("scans/a.nii.gz", "scans", [], "expected a name that ends in .nii or .nii.gz"),
        ("scans/a.nii.gz", "m.nii.gz", ["--uncertainty", "1"], "expected 2 or more"),
        ("scans/a.nii.gz", "m.nii.gz", ["--min-ml", "-1"], "--min-ml"),
    ],
)
def test_what_a_person_can_put_right(
    scan_name: str,
    mask_name: str,
    more: list[str],
    words: str,
    model_folder: Path,
    scan: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Path("scans").mkdir()
    Path("empty").mkdir()
    shutil.copy(scan, "scans/a.nii.gz")
    assert words in refusal(predict(model_folder, scan_name, mask_name, *more), capsys)
    assert [path.name for path in Path("scans").iterdir()] == ["a.nii.gz"]


def test_a_model_folder_works_wherever_it_is_moved(
    model_folder: Path, scan: Path, tmp_path: Path
) -> None:
    moved = shutil.copytree(model_folder, tmp_path / "another machine" / "model")
    assert predict(model_folder, scan, "first.nii.gz") == 0
    assert predict(moved, scan, "second.nii.gz") == 0
    np.testing.assert_array_equal(read("first.nii.gz"), read("second.nii.gz"))


def test_dicom_series_are_predicted_alone_and_in_folders(
    model_folder: Path, workplace: Path
) -> None:
    sitk = pytest.importorskip("SimpleITK", reason="needs the extra `dicom`")
    hu = hu_with(KIDNEYS)
    Path("scans/patient").mkdir(parents=True)
    for number, values in enumerate(hu[::-1]):  # from the feet up
        image = sitk.GetImageFromArray(values[None])
        image.SetSpacing((SPACING_MM[2], SPACING_MM[1], 1.0))
        for key, value in (
            ("0008|0060", "CT"),
            ("0020|000e", "1.2.3.4"),
            ("0020|0032", f"0\\0\\{number * SPACING_MM[0]:g}"),
            ("0020|0037", "1\\0\\0\\0\\1\\0"),
            ("0028|1052", "-1024"),
            ("0028|1053", "1"),
        ):
            image.SetMetaData(key, value)
        writer = sitk.ImageFileWriter()
        writer.KeepOriginalImageUIDOn()
        writer.SetFileName(f"scans/patient/{number}.dcm")
        writer.Execute(image)
    assert predict(model_folder, "scans/patient", "mask.nii.gz") == 0
    assert predict(model_folder, "scans", "masks") == 0
    mask = read("mask.nii.gz")  # (columns, rows, slices from the feet up)
    np.testing.assert_array_equal(mask.transpose(2, 1, 0)[::-1] == 1, hu == KIDNEY_HU)
    np.testing.assert_array_equal(read("masks/patient.nii.gz"), mask)
