"""A surface's cells and areas: against closed forms and the reference of the field."""

import numpy as np
import pytest
from surface_distance.lookup_tables import create_table_neighbour_code_to_surface_area

from kidneyseg.evaluation.surfaces import CORNERS, find_surface, surface_areas


@pytest.mark.parametrize("spacing_mm", [(1.0, 1.0, 1.0), (5.0, 0.7, 0.9), (0.5, 1.2, 0.3)])
def test_every_code_has_the_area_of_the_reference(spacing_mm: tuple[float, float, float]) -> None:
    theirs = create_table_neighbour_code_to_surface_area(spacing_mm)
    codes = [sum((code >> bit & 1) << (7 - bit) for bit in range(8)) for code in range(256)]
    np.testing.assert_allclose(surface_areas(spacing_mm), theirs[codes], atol=1e-12)


def test_one_voxel_is_an_octahedron() -> None:
    mask = np.ones((1, 1, 1), np.bool_)
    surface = find_surface(mask, (2.0, 2.0, 2.0))
    assert len(surface.cells) == len(CORNERS)
    assert surface.area_mm2 == pytest.approx(np.sqrt(3) * 2**2)  # 2 sqrt(3) a^2, a = 2 / sqrt(2)


@pytest.mark.parametrize("n_slices", [1, 7, 8, 9, 20])
def test_a_slab_has_its_two_faces_and_its_rim(n_slices: int) -> None:
    """Between voxel centres a face is n - 1 wide; edges are cut off at 45 degrees."""
    n, mask = 30, np.zeros((n_slices + 4, 34, 34), np.bool_)
    mask[2:-2, 2:-2, 2:-2] = True
    area = find_surface(mask, (1.0, 1.0, 1.0)).area_mm2
    faces = 2 * (n - 1) ** 2 + 4 * (n - 1) * (n_slices - 1)
    edges = np.sqrt(0.5) * (8 * (n - 1) + 4 * (n_slices - 1))
    corners = 8 * np.sqrt(3) / 8
    assert area == pytest.approx(faces + edges + corners)


def test_a_mask_at_the_volumes_border_is_closed_there() -> None:
    inner = np.pad(np.ones((5, 6, 7), np.bool_), 3)
    whole = np.ones((5, 6, 7), np.bool_)
    spacing_mm = (2.0, 1.0, 0.5)
    first, second = find_surface(inner, spacing_mm), find_surface(whole, spacing_mm)
    assert first.area_mm2 == pytest.approx(second.area_mm2)
    np.testing.assert_array_equal(first.cells - 3, second.cells)


def test_an_empty_mask_has_no_surface() -> None:
    assert len(find_surface(np.zeros((4, 4, 4), np.bool_), (1.0, 1.0, 1.0)).cells) == 0
