"""What every phantom is drawn with: soft ellipsoids, painted one over another, slice by slice.

Coordinates are the patient's, in mm: (inferior, posterior, left), the order of a volume's axes.
Their origin lies between the kidneys. A slice at a time is drawn, so that memory stays bounded.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from kidneyseg.phantom.irregularity import REACH_OF_WARP_MM, Irregularity, Plane

Point = tuple[float, float, float]  # (inferior, posterior, left)
Box = tuple[slice, slice]
Form = tuple[float, float, float, float, float, float]  # ii, ip, il, pp, pl, ll of a quadratic form
TUBE = 1.0e4  # a radius, in mm, that makes a shape go through all slices


@dataclass(frozen=True, slots=True, kw_only=True)
class Ellipsoid:
    """A piece of tissue: brighter or darker than what it is painted over, soft at its edge."""

    centre_mm: Point
    hu: float
    texture_hu: float  # how strongly the tissue varies within
    bumps: float  # how far the surface strays, as a share of the radius
    inside_cavity: bool  # cut off where the abdominal cavity ends
    form: Form
    reach_mm: Point  # half the bounding box


def ellipsoid(
    centre_mm: Point,
    radii_mm: Point,
    hu: float,
    *,
    axes: NDArray[np.float64] | None = None,  # (3, 3): a row is the direction of a radius
    texture_hu: float = 0.0,
    bumps: float = 0.0,
    inside_cavity: bool = False,
) -> Ellipsoid:
    """An ellipsoid from its radii and their directions; without these it stands upright."""
    form, reach = _upright(radii_mm) if axes is None else _tilted(radii_mm, axes)
    return Ellipsoid(
        centre_mm=centre_mm,
        hu=hu,
        texture_hu=texture_hu,
        bumps=bumps,
        inside_cavity=inside_cavity,
        form=form,
        reach_mm=reach,
    )


def _upright(radii_mm: Point) -> tuple[Form, Point]:
    a, b, c = radii_mm
    return (1 / (a * a), 0.0, 0.0, 1 / (b * b), 0.0, 1 / (c * c)), radii_mm


def _tilted(radii_mm: Point, axes: NDArray[np.float64]) -> tuple[Form, Point]:
    radii = np.asarray(radii_mm)[:, None]
    inverse = axes / radii
    form = (inverse[:, :, None] * inverse[:, None, :]).sum(axis=0)[np.triu_indices(3)]
    reach = np.sqrt(((axes * radii) ** 2).sum(axis=0))
    ii, ip, il, pp, pl, ll = form.tolist()
    inferior, posterior, left = reach.tolist()
    return (ii, ip, il, pp, pl, ll), (inferior, posterior, left)


def axes_along(direction: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float64]:
    """Three directions at right angles, the first of them the given one. (3, 3), a row each."""
    first = np.asarray(direction, dtype=np.float64)
    first = first / np.linalg.norm(first)
    second = cross(first, np.eye(3)[int(np.argmin(np.abs(first)))])
    second /= np.linalg.norm(second)
    return np.stack([first, second, cross(first, second)])


def turned(degrees: float) -> NDArray[np.float64]:
    """Axes turned within the slice: the second towards the left for positive angles."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.array([[1.0, 0.0, 0.0], [0.0, cosine, sine], [0.0, -sine, cosine]])


def cross(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """The vector product; numpy's own takes many times as long for single vectors."""
    return np.array(
        [a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """One slice while it is drawn."""

    inferior_mm: float  # where the slice lies
    rows_mm: Plane  # (H,) posterior
    columns_mm: Plane  # (W,) left
    voxel_mm: Point
    posterior: Plane  # (H, W) where a pixel lies in the anatomy, irregularity taken off
    left: Plane
    bumps: Plane
    texture: Plane
    hu: Plane
    labels: NDArray[np.uint8]  # (H, W)
    cavity: Plane  # (H, W) the share within the abdomen

    def box(self, centre_mm: Point, reach_mm: Point, margin_mm: float = 1.0) -> Box | None:
        """The pixels that a thing of this reach can touch, or None."""
        rows = _span(self.rows_mm, self.voxel_mm[1], centre_mm[1], 1.15 * reach_mm[1] + margin_mm)
        columns = _span(
            self.columns_mm, self.voxel_mm[2], centre_mm[2], 1.15 * reach_mm[2] + margin_mm
        )
        if rows.start >= rows.stop or columns.start >= columns.stop:
            return None
        return rows, columns


def _span(line_mm: Plane, step_mm: float, centre_mm: float, reach_mm: float) -> slice:
    first = math.floor((centre_mm - reach_mm - line_mm.item(0)) / step_mm)
    last = math.ceil((centre_mm + reach_mm - line_mm.item(0)) / step_mm)
    return slice(max(0, first), min(len(line_mm), last + 1))


def new_canvas(
    inferior_mm: float, rows_mm: Plane, columns_mm: Plane, voxel_mm: Point, uneven: Irregularity
) -> Canvas:
    """An empty slice: air everywhere, no label."""
    place = (inferior_mm, rows_mm, columns_mm)
    shape = (len(rows_mm), len(columns_mm))
    limit = np.float32(REACH_OF_WARP_MM)
    down, side = uneven.posterior.on_plane(*place), uneven.left.on_plane(*place)
    return Canvas(
        inferior_mm=inferior_mm,
        rows_mm=rows_mm,
        columns_mm=columns_mm,
        voxel_mm=voxel_mm,
        posterior=np.clip(down, -limit, limit, out=down) + rows_mm[:, None],
        left=np.clip(side, -limit, limit, out=side) + columns_mm,
        bumps=uneven.bumps.on_plane(*place),
        texture=uneven.texture.on_plane(*place),
        hu=np.full(shape, -1000, np.float32),
        labels=np.zeros(shape, np.uint8),
        cavity=np.zeros(shape, np.float32),
    )


def coverage(canvas: Canvas, shape: Ellipsoid, box: Box) -> Plane:
    """The share of each pixel in the box that the shape fills, in [0, 1].

    A voxel is cut by a plane: its share goes from 0 to 1 while the surface crosses the voxel's
    extent along the surface's normal. So a slanting surface blurs more in thicker slices.
    """
    down = canvas.inferior_mm - shape.centre_mm[0]
    row = (canvas.rows_mm[box[0]] - np.float32(shape.centre_mm[1]))[:, None]
    column = canvas.columns_mm[box[1]] - np.float32(shape.centre_mm[2])
    upright = not any(shape.form[k] for k in (1, 2, 4))
    depth, width = (_measure_upright if upright else _measure_tilted)(
        shape.form, (down, row, column), canvas.voxel_mm
    )
    if shape.bumps:
        depth += np.float32(shape.bumps) * canvas.bumps[box]
    share = _share(depth, width)
    return share * canvas.cavity[box] if shape.inside_cavity else share


Away = tuple[float, Plane, Plane]  # from a centre, in mm: a number, a column (H, 1), a row (W,)


def _measure_upright(form: Form, away: Away, voxel_mm: Point) -> tuple[Plane, Plane]:
    """1 - d @ form @ d, and by how much it changes across a voxel, where rows and columns part."""
    down, row, column = away
    ii, pp, ll = form[0], np.float32(form[3]), np.float32(form[5])
    per_row, per_column = pp * row, ll * column
    depth: Plane = (np.float32(1 - ii * down * down) - per_row * row) - per_column * column
    fixed = np.float32(2 * voxel_mm[0] * abs(ii * down) + 1e-6)
    across = np.abs(per_row) * np.float32(2 * voxel_mm[1]) + fixed
    width: Plane = across + np.abs(per_column) * np.float32(2 * voxel_mm[2])
    return depth, width


def _measure_tilted(form: Form, away: Away, voxel_mm: Point) -> tuple[Plane, Plane]:
    """The same for any direction of the axes."""
    down = np.float32(away[0])
    row, column = away[1:]
    ii, ip, il, pp, pl, ll = (np.float32(value) for value in form)
    slopes = [
        (ii * down + ip * row) + il * column,
        (ip * down + pp * row) + pl * column,
        (il * down + pl * row) + ll * column,
    ]
    depth = np.subtract(
        1, slopes[0] * down + slopes[1] * row + slopes[2] * column, dtype=np.float32
    )
    return depth, _width(slopes, voxel_mm)


def _width(slopes: Sequence[Plane], voxel_mm: Point) -> Plane:
    """How much a depth changes across a voxel; `slopes` is half of its gradient a mm."""
    inferior, posterior, left = (
        np.multiply(np.abs(slope), 2 * size, dtype=np.float32)
        for slope, size in zip(slopes, voxel_mm, strict=True)
    )
    width: Plane = posterior + left + inferior + np.float32(1e-6)
    return width


def _share(depth: Plane, width: Plane) -> Plane:
    share = np.divide(depth, width, dtype=np.float32)
    share += np.float32(0.5)
    return np.clip(share, 0, 1, out=share)


def edge(depth: Plane, slopes: Sequence[Plane], voxel_mm: Point) -> Plane:
    """The share of a voxel within {depth > 0}; `slopes` is half of depth's gradient a mm."""
    return _share(depth, _width(slopes, voxel_mm))


def blend(canvas: Canvas, box: Box, share: Plane, hu: float | np.float32 | Plane) -> None:
    """Lay a tissue over what is there, by the share of each pixel."""
    under = canvas.hu[box]
    under += share * (hu - under)


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Shapes in the order in which they are painted, quick to ask which of them a slice meets."""

    shapes: tuple[Ellipsoid, ...]
    first_mm: NDArray[np.float64]  # (shapes,) inferior
    last_mm: NDArray[np.float64]


def group(shapes: Iterable[Ellipsoid], uneven: Irregularity) -> Group:
    """The shapes where the irregularity moves them."""
    drawn = tuple(shapes)
    centres = np.array([shape.centre_mm for shape in drawn]).reshape(-1, 3)
    moved = centres - np.stack(
        [0 * centres[:, 0], uneven.posterior.at(centres), uneven.left.at(centres)], axis=1
    )
    reach = 1.15 * np.array([shape.reach_mm[0] for shape in drawn])
    return Group(
        shapes=tuple(
            replace(shape, centre_mm=tuple(centre))
            for shape, centre in zip(drawn, moved.tolist(), strict=True)
        ),
        first_mm=centres[:, 0] - reach,
        last_mm=centres[:, 0] + reach,
    )


def met(canvas: Canvas, among: Group) -> Iterator[tuple[Ellipsoid, Box]]:
    """The shapes that this slice meets, in order, with the pixels they can touch."""
    half = canvas.voxel_mm[0] / 2
    hit = (among.first_mm < canvas.inferior_mm + half) & (among.last_mm > canvas.inferior_mm - half)
    for k in np.flatnonzero(hit):
        shape = among.shapes[k]
        box = canvas.box(shape.centre_mm, shape.reach_mm)
        if box is not None:
            yield shape, box


def paint(canvas: Canvas, among: Group) -> None:
    """Paint the shapes that this slice meets, in order."""
    for shape, box in met(canvas, among):
        blend(canvas, box, coverage(canvas, shape, box), tissue(canvas, shape, box))


def tissue(canvas: Canvas, shape: Ellipsoid, box: Box) -> float | Plane:
    """What a shape consists of."""
    if not shape.texture_hu:
        return shape.hu
    return shape.hu + np.float32(shape.texture_hu) * canvas.texture[box]
