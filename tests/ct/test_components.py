"""Parts of a mask are those that scipy finds in one go, in order of size."""

import numpy as np
import pytest
from scipy import ndimage

from kidneyseg.ct.components import count_where, find_components, relabel


@pytest.mark.parametrize("density", [0.05, 0.25, 0.35, 0.6])
def test_parts_are_those_of_scipy(density: float) -> None:
    random = np.random.default_rng(int(density * 100))
    inside = random.random((12, 17, 23)) < density
    numbers, n_parts = ndimage.label(inside)
    found = find_components(inside)
    assert len(found) == len(find_components(inside.astype(np.uint8))) == n_parts
    sizes = ndimage.sum_labels(inside, numbers, np.arange(1, n_parts + 1))
    assert found.n_voxels.tolist() == sorted(sizes.astype(int).tolist(), reverse=True)
    largest = relabel(inside, found, (np.arange(n_parts) == 0).astype(np.uint8))
    values = np.unique(numbers[largest == 1])
    assert len(values) == 1
    assert (largest == 1).sum() == (numbers == values[0]).sum() == found.n_voxels[0]
    np.testing.assert_allclose(found.centres[0], ndimage.center_of_mass(largest))


def test_the_wanted_voxels_of_each_part_are_counted() -> None:
    random = np.random.default_rng(5)
    inside, wanted = random.random((12, 17, 23)) < 0.3, random.random((12, 17, 23)) < 0.5
    found = find_components(inside)
    assert len(found) > 255
    counts = count_where(inside, found, wanted)
    assert counts.shape == found.n_voxels.shape
    assert counts.sum() == (inside & wanted).sum()
    for part in (0, 1, 100, len(found) - 1):
        only = relabel(inside, found, (np.arange(len(found)) == part).astype(np.uint8))
        assert counts[part] == (wanted & (only == 1)).sum()
    assert not count_where(inside, found, np.zeros_like(inside)).any()


def test_a_mask_without_voxels_has_no_parts() -> None:
    mask = np.zeros((3, 4, 5), np.uint8)
    found = find_components(mask)
    assert len(found) == 0
    assert not relabel(mask, found, np.zeros(0, np.uint8)).any()


def test_a_u_that_joins_in_a_later_slice_is_one_part() -> None:
    mask = np.zeros((3, 3, 5), np.uint8)
    mask[:, 1, 0], mask[:, 1, 4], mask[2, 1, :] = 1, 1, 1
    assert find_components(mask).n_voxels.tolist() == [9]


def test_voxels_that_touch_by_an_edge_are_apart() -> None:
    mask = np.zeros((2, 2, 2), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 0] = 1
    assert find_components(mask).n_voxels.tolist() == [1, 1]
