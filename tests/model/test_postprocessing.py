"""Opening, closing and parts: against morphology with an explicit ball, on uneven spacing."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct.volumes import Geometry, read_geometry, write_kits19_case
from kidneyseg.model import postprocessing
from kidneyseg.model.postprocessing import (
    Postprocessing,
    clean_mask,
    close_mask,
    keep_parts,
    open_mask,
)

SHAPE = (14, 40, 44)
SPACING_MM = (3.0, 0.9, 1.4)
RADIUS_MM = 4.0


@pytest.fixture(scope="module")
def geometry(tmp_path_factory: pytest.TempPathFactory) -> Geometry:
    folder = tmp_path_factory.mktemp("case")
    empty = np.zeros(SHAPE)
    write_kits19_case(folder, empty.astype(np.int16), empty.astype(np.uint8), SPACING_MM)
    return read_geometry(folder / "imaging.nii.gz")


def ball() -> NDArray[np.bool_]:
    """Voxels within the radius of the middle one."""
    reach = [int(RADIUS_MM / mm) for mm in SPACING_MM]
    grid = np.meshgrid(*(np.arange(-n, n + 1) for n in reach), indexing="ij")
    squares = [(axis * mm) ** 2 for axis, mm in zip(grid, SPACING_MM, strict=True)]
    return np.asarray(sum(squares) <= RADIUS_MM**2 + 1e-9)


@pytest.fixture
def blobs() -> NDArray[np.uint8]:
    """Smooth random shapes with thin parts and gaps, away from the borders."""
    noise = np.random.default_rng(3).normal(size=SHAPE)
    smooth = ndimage.gaussian_filter(noise, (1.2, 4.0, 2.6))
    mask: NDArray[np.uint8] = (smooth > 0.2 * smooth.std()).astype(np.uint8)
    mask[[0, 1, 2, -3, -2, -1]] = 0
    mask[:, :8], mask[:, -8:], mask[:, :, :6], mask[:, :, -6:] = 0, 0, 0, 0
    return mask


@pytest.fixture(params=[1, 5, 64])
def slab_slices(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postprocessing, "SLAB_SLICES", request.param)


@pytest.mark.usefixtures("slab_slices")
def test_opening_is_that_of_an_explicit_ball(blobs: NDArray[np.uint8], geometry: Geometry) -> None:
    expected = ndimage.binary_opening(blobs, ball())
    assert 0 < expected.sum() < blobs.sum()
    np.testing.assert_array_equal(open_mask(blobs, geometry, RADIUS_MM), expected)


@pytest.mark.usefixtures("slab_slices")
def test_closing_is_that_of_an_explicit_ball(blobs: NDArray[np.uint8], geometry: Geometry) -> None:
    wide = np.pad(blobs, 12)
    expected = ndimage.binary_closing(wide, ball())[12:-12, 12:-12, 12:-12]
    closed = close_mask(blobs, geometry, RADIUS_MM)
    assert closed.sum() > blobs.sum()
    np.testing.assert_array_equal(closed, expected)


def test_a_kidney_that_the_field_of_view_cuts_stays_cut_flat(geometry: Geometry) -> None:
    mask = np.zeros(SHAPE, np.uint8)
    mask[:, 10:30, 10:30] = 1  # from the first slice to the last
    opened = open_mask(mask, geometry, RADIUS_MM)
    assert (opened[0] == opened[7]).all()
    assert (opened[-1] == opened[7]).all()
    closed = close_mask(mask, geometry, RADIUS_MM)
    np.testing.assert_array_equal(closed, mask)


def part_mask() -> NDArray[np.uint8]:
    """Parts of 8, 6.05, 1.5 and 0.004 ml; a voxel has 0.00378 ml."""
    mask = np.zeros(SHAPE, np.uint8)
    mask[0:6, 0:20, 0:18] = 1  # 2160 voxels, 8.2 ml
    mask[8:13, 0:20, 0:16] = 1  # 1600 voxels, 6.0 ml
    mask[8:12, 25:35, 0:10] = 1  # 400 voxels, 1.5 ml
    mask[0, 39, 43] = 1
    return mask


@pytest.mark.parametrize(
    ("steps", "sizes"),
    [
        (Postprocessing(), [2160, 1600, 400, 1]),
        (Postprocessing(smallest_ml=1.0), [2160, 1600, 400]),
        (Postprocessing(smallest_ml=2.0), [2160, 1600]),
        (Postprocessing(smallest_ml=7.0), [2160]),
        (Postprocessing(smallest_ml=70.0), []),
        (Postprocessing(largest_two=True), [2160, 1600]),
        (Postprocessing(largest_two=True, smallest_ml=7.0), [2160]),
    ],
)
def test_parts_are_kept_by_volume_and_number(
    steps: Postprocessing, sizes: list[int], geometry: Geometry
) -> None:
    mask = part_mask()
    kept = clean_mask(mask, geometry, steps)
    numbers, _ = ndimage.label(kept)
    assert sorted(np.bincount(numbers.ravel())[1:].tolist(), reverse=True) == sizes
    assert mask.sum() == 4161  # the one given is left as it was


def test_a_single_kidney_does_not_get_a_speck_as_its_second(geometry: Geometry) -> None:
    mask = part_mask()
    mask[8:13, 0:20, 0:16] = 0
    kept = keep_parts(mask, geometry, Postprocessing(largest_two=True))
    assert kept.sum() == 2160


@pytest.mark.parametrize(
    "steps",
    [
        Postprocessing(opening_mm=3),
        Postprocessing(closing_mm=3),
        Postprocessing(smallest_ml=1),
        Postprocessing(largest_two=True),
    ],
)
def test_an_empty_mask_stays_empty(steps: Postprocessing, geometry: Geometry) -> None:
    assert not clean_mask(np.zeros(SHAPE, np.uint8), geometry, steps).any()
