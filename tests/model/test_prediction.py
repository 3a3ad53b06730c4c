"""Prediction: every slice, whatever the batches, in the scan's own shape and orientation."""

# mypy: disallow-untyped-calls=False
# Most of nibabel has no types.

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from nibabel.orientations import axcodes2ornt, io_orientation, ornt_transform
from numpy.typing import NDArray

from kidneyseg.ct.volumes import (
    Volume,
    read_geometry,
    read_labels,
    read_scan,
    write_kits19_case,
    write_mask,
)
from kidneyseg.model import prediction
from kidneyseg.model.folder import Model
from kidneyseg.model.prediction import predict_mask, predict_slices
from kidneyseg.settings import DataSettings

N_SLICES, ROWS, COLUMNS = 11, 52, 80
ORIENTATIONS = sorted(  # all 48
    "".join(names) for axes in permutations(("RL", "AP", "SI")) for names in product(*axes)
)[::5]


@pytest.fixture
def scan_path(tmp_path: Path) -> Path:
    """A scan of smooth noise, smaller than the network's slice in rows and larger in columns.

    At training resolution it has 26 x 40 pixels and the network sees 32 x 32 of them.
    """
    random = np.random.default_rng(0)
    coarse = random.normal(100, 150, (N_SLICES, ROWS // 4, COLUMNS // 4))
    hu = coarse.repeat(4, axis=1).repeat(4, axis=2).clip(-1000, 1000).astype(np.int16)
    labels = np.zeros(hu.shape, np.uint8)
    write_kits19_case(tmp_path / "case", hu, labels, spacing_mm=(3.0, 0.8, 0.8))
    return tmp_path / "case" / "imaging.nii.gz"


@pytest.fixture
def scan(scan_path: Path) -> Volume[np.int16]:
    return read_scan(scan_path)


def brute_force(model: Model, scan: Volume[np.int16]) -> NDArray[np.float32]:
    """Probabilities at full resolution, slice by slice, with torch's own resampling."""
    settings, reach = model.description.preprocessing, model.description.network.input_slices // 2
    low, high = settings.hu_window
    full = torch.from_numpy(scan.array).float()
    small = F.avg_pool2d(full[:, None], 2)[:, 0].round()  # (N, 26, 40)
    seen = small[:, :, 4:36]  # the middle 32 columns
    padded = F.pad(seen, (0, 0, 3, 3), value=-1024.0)
    x = (padded.clamp(low, high) - (low + high) / 2) / ((high - low) / 2)
    volume = np.zeros(scan.array.shape, np.float32)
    for i in range(len(x)):
        neighbours = [min(max(i + k, 0), len(x) - 1) for k in range(-reach, reach + 1)]
        with torch.no_grad():
            probabilities = torch.sigmoid(model.network(x[neighbours][None]))[:, :, 3:-3]
        whole = F.pad(probabilities, (4, 4))
        up = F.interpolate(whole, scale_factor=2, mode="bilinear", align_corners=False)
        volume[i] = up[0, 0].numpy()
    return volume


@pytest.fixture
def model(model: Model) -> Model:
    preprocessing = model.description.preprocessing.model_copy(update={"slice_size": (32, 32)})
    description = model.description.model_copy(update={"preprocessing": preprocessing})
    return Model(network=model.network, description=description, device=model.device)


@pytest.mark.parametrize("model", [{}, {"input_slices": 3}, {"input_slices": 5}], indirect=True)
def test_a_mask_is_that_of_brute_force(model: Model, scan: Volume[np.int16]) -> None:
    probabilities = brute_force(model, scan)
    mask = predict_mask(model, scan)
    assert 0.02 < mask.mean() < 0.98
    clear = np.abs(probabilities - 0.5) > 1e-4
    assert clear.mean() > 0.99
    np.testing.assert_array_equal(mask[clear], probabilities[clear] > 0.5)


def test_every_slice_is_predicted_once_and_in_order(model: Model, scan: Volume[np.int16]) -> None:
    parts = list(predict_slices(model, scan))
    assert len(parts) > 1
    predicted = [part.first + i for part in parts for i in range(len(part.mask))]
    assert predicted == list(range(N_SLICES))


@pytest.mark.parametrize("model", [{}, {"input_slices": 3}], indirect=True)
@pytest.mark.parametrize("block_slices", [3, 64])
@pytest.mark.parametrize("batch_size", [2, 5, 8, 100])
def test_where_a_batch_ends_does_not_matter(
    model: Model,
    scan: Volume[np.int16],
    batch_size: int,
    block_slices: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = predict_mask(model, scan)
    monkeypatch.setattr(prediction, "BLOCK_SLICES", block_slices)
    monkeypatch.setitem(prediction.BATCH_SIZE, "cpu", batch_size)
    differing = (predict_mask(model, scan) != expected).mean()
    assert differing < 1e-4  # other batches, other roundings of a float32


def test_what_the_network_does_not_see_is_not_kidney(model: Model, scan: Volume[np.int16]) -> None:
    """Columns of the scan beyond the network's 32 pixels."""
    with torch.no_grad():
        model.network.classifier.get_parameter("bias").fill_(1000)
    mask = predict_mask(model, scan)
    # Interpolation between seen (1) and unseen (0) pixels crosses 1/2 on the border itself.
    assert mask[:, :, 8:72].all()
    assert not mask[:, :, :8].any()
    assert not mask[:, :, 72:].any()


def test_a_higher_threshold_gives_a_smaller_mask(model: Model, scan: Volume[np.int16]) -> None:
    sizes = []
    seen = brute_force(model, scan)[:, :, 8:72]
    for threshold in np.quantile(seen, [0.2, 0.5, 0.8]):
        description = model.description.model_copy(update={"threshold": threshold})
        other = Model(network=model.network, description=description, device=model.device)
        sizes.append(int(predict_mask(other, scan).sum()))
    assert sizes[0] > sizes[1] > sizes[2] > 0


@pytest.mark.parametrize("pixels", [{"downsampling": 2}, {"spacing_mm": 1.9}], ids=str)
@pytest.mark.parametrize("axes", ORIENTATIONS)
def test_the_same_scan_stored_otherwise_gives_the_same_mask(
    model: Model, scan_path: Path, axes: str, pixels: dict[str, float], tmp_path: Path
) -> None:
    preprocessing = DataSettings.model_validate({**pixels, "slice_size": (32, 32)})
    description = model.description.model_copy(update={"preprocessing": preprocessing})
    model = Model(network=model.network, description=description, device=model.device)
    image = nib.Nifti1Image.from_filename(scan_path)
    turn = ornt_transform(io_orientation(image.affine), axcodes2ornt(tuple(axes)))
    turned_path = tmp_path / "turned.nii.gz"
    image.as_reoriented(turn).to_filename(turned_path)
    expected = predict_mask(model, read_scan(scan_path))
    turned = read_scan(turned_path)
    write_mask(tmp_path / "mask.nii.gz", predict_mask(model, turned), turned.geometry)
    stored = read_geometry(tmp_path / "mask.nii.gz")
    assert stored.header.get_data_shape() == turned.geometry.header.get_data_shape()
    np.testing.assert_array_equal(stored.affine, turned.geometry.affine)
    np.testing.assert_array_equal(read_labels(tmp_path / "mask.nii.gz").array, expected)


def test_a_mask_has_the_scans_shape_and_two_values(model: Model, scan: Volume[np.int16]) -> None:
    mask = predict_mask(model, scan)
    assert mask.shape == (N_SLICES, ROWS, COLUMNS)
    assert mask.dtype == np.uint8
    assert set(np.unique(mask)) == {0, 1}


def test_the_mask_is_one_part_of_full_resolution_and_not_only_its_middle(
    model: Model, scan: Volume[np.int16]
) -> None:
    """Cropping to what is above the threshold changes nothing: brute force with a high one."""
    threshold = float(np.quantile(brute_force(model, scan)[:, :, 8:72], 0.995))
    description = model.description.model_copy(update={"threshold": threshold})
    other = Model(network=model.network, description=description, device=model.device)
    probabilities = brute_force(model, scan)
    clear = np.abs(probabilities - threshold) > 1e-4
    mask = predict_mask(other, scan)
    assert mask.any()
    np.testing.assert_array_equal(mask[clear], probabilities[clear] > threshold)


def mirrored(scan: Volume[np.int16]) -> Volume[np.int16]:
    return Volume(array=np.ascontiguousarray(scan.array[:, :, ::-1]), geometry=scan.geometry)


def test_with_flips_a_mirrored_scan_gives_the_mirrored_mask(
    model: Model, scan: Volume[np.int16]
) -> None:
    flipped = predict_mask(model, mirrored(scan), flips=True)[:, :, ::-1]
    assert (flipped != predict_mask(model, scan, flips=True)).mean() < 1e-3
    plain = predict_mask(model, mirrored(scan))[:, :, ::-1]
    assert (plain != predict_mask(model, scan)).mean() > 0.01


def test_flips_average_probabilities_not_masks(model: Model, scan: Volume[np.int16]) -> None:
    both = (brute_force(model, scan) + brute_force(model, mirrored(scan))[:, :, ::-1]) / 2
    clear = np.abs(both - 0.5) > 1e-4
    mask = predict_mask(model, scan, flips=True)
    np.testing.assert_array_equal(mask[clear], both[clear] > 0.5)
