"""A mask's surface: where it runs, and how large each piece of it is.

Between every eight neighbouring voxel centres lies a cell; a cell with some of its eight voxels in
the mask and some outside holds a piece of the surface. The pieces are those of marching cubes
(Lorensen and Cline 1987), whose area depends on the spacing alone, so 256 areas serve a volume.
`surface-distance`, the reference of the field, cuts cells the same way: areas agree to rounding.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product

import numpy as np
from numpy.typing import NDArray

CORNERS = tuple(product((0, 1), repeat=3))  # of a cell; corner i is bit i of its code
FULL = 255  # all eight voxels in the mask
SLICES_AT_ONCE = 8  # they fit into a processor's cache

Corner = tuple[int, ...]
Edge = tuple[Corner, Corner]
Vertex = NDArray[np.float64]  # (3,)


@dataclass(frozen=True, slots=True, kw_only=True)
class Surface:
    """The cells that a mask's surface runs through, in order."""

    cells: NDArray[np.int32]  # (M, 3), sorted; cell (i, j, k) ends at voxel (i, j, k)
    areas_mm2: NDArray[np.float64]  # (M,)

    @property
    def area_mm2(self) -> float:
        """The whole surface."""
        return float(self.areas_mm2.sum())


def find_surface(
    mask: NDArray[np.bool_],  # (slices, rows, columns); all around it is outside
    spacing_mm: tuple[float, float, float],
) -> Surface:
    """Find the surface of a mask; an empty one has none."""
    areas = surface_areas(spacing_mm)
    found = [_slab(mask, first) for first in range(0, len(mask) + 1, SLICES_AT_ONCE)]
    codes = np.concatenate([codes for _, codes in found])
    cells = np.concatenate([cells for cells, _ in found])
    return Surface(cells=cells, areas_mm2=areas[codes])


def surface_areas(spacing_mm: tuple[float, float, float]) -> NDArray[np.float64]:  # (256,) mm2
    """The area of the surface within a cell, by the code of its corners."""
    across_mm2 = np.prod(spacing_mm) / np.array(spacing_mm)  # of a face across each axis
    return np.array(
        [np.linalg.norm(normals * across_mm2, axis=1).sum() for normals in _normals_of_codes()]
    )


def _slab(
    mask: NDArray[np.bool_], first: int
) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:  # cells (M, 3), codes (M,)
    """The cells of some slices that hold surface."""
    n_slices, rows, columns = mask.shape
    last = min(first + SLICES_AT_ONCE, n_slices + 1)
    voxels = np.zeros((last - first + 1, rows + 2, columns + 2), np.uint8)
    low, high = max(first - 1, 0), min(last, n_slices)
    voxels[low - first + 1 : high - first + 1, 1:-1, 1:-1] = mask[low:high]
    codes = np.zeros((last - first, rows + 1, columns + 1), np.uint8)
    for bit, corner in enumerate(CORNERS):
        corner_voxels = voxels[tuple(map(_range, corner, codes.shape))]
        codes |= corner_voxels << np.uint8(bit)
    cells = np.argwhere((codes != 0) & (codes != FULL))
    found = codes[tuple(cells.T)]
    cells[:, 0] += first
    return cells.astype(np.int32), found


def _range(start: int, length: int) -> slice:
    return slice(start, start + length)


@cache
def _normals_of_codes() -> tuple[NDArray[np.float64], ...]:
    """Each code's triangles, as normals as long as their areas, (T, 3), in a cell of 1 x 1 x 1."""
    return tuple(_normals(code) for code in range(256))


def _normals(code: int) -> NDArray[np.float64]:  # (T, 3)
    inside = {corner for bit, corner in enumerate(CORNERS) if code >> bit & 1}
    if len(inside) in (0, 8):
        return np.zeros((0, 3))
    return np.concatenate([_cut(polygon) for polygon in _polygons(inside)])


def _cut(polygon: Sequence[Vertex]) -> NDArray[np.float64]:  # (T, 3)
    """Cut a polygon into triangles: of all ways, that of the largest area."""
    ways = [
        np.array([np.cross(b - a, c - a) / 2 for a, b, c in triangles])
        for triangles in _triangulations(polygon)
    ]
    return max(ways, key=lambda normals: float(np.linalg.norm(normals, axis=1).sum()))


def _triangulations(polygon: Sequence[Vertex]) -> Iterator[list[tuple[Vertex, Vertex, Vertex]]]:
    """Yield every way to cut a polygon into triangles by its diagonals."""
    if len(polygon) < 3:
        yield []
        return
    for tip in range(1, len(polygon) - 1):
        triangle = (polygon[0], polygon[tip], polygon[-1])
        before, after = polygon[: tip + 1], polygon[tip:]
        for some, others in product(_triangulations(before), _triangulations(after)):
            yield [*some, triangle, *others]


def _polygons(inside: set[Corner]) -> Iterator[list[Vertex]]:
    """Yield the closed lines in which the surface meets a cell's faces."""
    neighbours: dict[Edge, list[Edge]] = {}
    for ring in _faces():
        for first, second in _lines(ring, inside):
            neighbours.setdefault(first, []).append(second)
            neighbours.setdefault(second, []).append(first)
    while neighbours:
        edge: Edge | None = next(iter(neighbours))
        polygon = []
        while edge is not None:
            polygon.append(np.array(edge).mean(axis=0))
            edge = next((other for other in neighbours.pop(edge) if other in neighbours), None)
        yield polygon


def _lines(ring: Sequence[Corner], inside: set[Corner]) -> Iterator[tuple[Edge, Edge]]:
    """Yield the pairs of a face's edges that the surface joins.

    Where two opposite corners are inside, the surface parts them from each other if at most half
    of the cell is inside; else it parts the two corners outside.
    """
    edges = [_edge(ring[i - 1], ring[i]) for i in range(4)]
    crossed = [i for i in range(4) if (ring[i - 1] in inside) != (ring[i] in inside)]
    if len(crossed) == 2:
        yield edges[crossed[0]], edges[crossed[1]]
    elif crossed:
        for i in range(4):
            if (ring[i] in inside) == (len(inside) <= 4):
                yield edges[i], edges[(i + 1) % 4]


def _faces() -> Iterator[list[Corner]]:
    """Yield each face of a cell as its four corners, going round."""
    for axis, side in product(range(3), (0, 1)):
        yield [
            (*corner[:axis], side, *corner[axis:]) for corner in ((0, 0), (0, 1), (1, 1), (1, 0))
        ]


def _edge(first: Corner, second: Corner) -> Edge:
    return min(first, second), max(first, second)
