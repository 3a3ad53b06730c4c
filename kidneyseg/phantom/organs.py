"""The organs of a phantom beside its kidneys: as bright as they are, and close to them."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from kidneyseg.phantom.physique import Physique
from kidneyseg.phantom.shapes import TUBE, Ellipsoid, Point, axes_along, ellipsoid, turned

GAS_HU = -930.0


def build_organs(rng: np.random.Generator, body: Physique) -> tuple[Ellipsoid, ...]:
    """Everything in the cavity but the kidneys, in the order in which it is painted."""
    liver_hu = rng.uniform(95, 135)
    return (
        *_mesentery(rng, body),
        *_spleen(rng, body, liver_hu + rng.uniform(5, 35)),
        *_liver(rng, body, liver_hu),
        *_stomach(rng, body),
        *_bowel(rng, body),
        *_pancreas(rng, body),
        *_vessels(rng, body),
    )


def _organ(
    centre: Point, radii: Point, hu: float, bumps: float = 0.1, turn: float = 0.0
) -> Ellipsoid:
    axes = turned(turn) if turn else None
    return ellipsoid(centre, radii, hu, axes=axes, texture_hu=4, bumps=bumps, inside_cavity=True)


def _liver(rng: np.random.Generator, body: Physique, hu: float) -> Iterator[Ellipsoid]:
    """Right lobe down to beside the kidney, left lobe across the midline, veins, gallbladder."""
    width, depth = body.cavity_half_width_mm, body.cavity_half_depth_mm
    lowest = rng.uniform(0, 55)
    centre = (lowest - 92, -0.1 * depth, -0.58 * width)
    yield _organ(centre, (94.0, 1.02 * depth, 0.62 * width), hu, 0.08)
    yield _organ(
        (lowest - 102, -0.55 * depth, 0.0),
        (52.0, 0.5 * depth, rng.uniform(0.35, 0.8) * width),
        hu,
        0.12,
    )
    yield _organ((-62.0, -0.02 * depth, -26.0), (30.0, 24.0, 24.0), hu, 0.1)
    for _ in range(24):
        start = np.array(centre) + rng.uniform(-0.75, 0.75, 3) * (55, 0.6 * depth, 0.45 * width)
        yield _rod(rng, start, rng.uniform(10, 26), rng.uniform(1.5, 4.5), hu + rng.uniform(15, 50))
    gallbladder = (lowest - 25, -0.5 * depth, -0.42 * width)
    yield _organ(gallbladder, (26.0, 17.0, 13.0), rng.uniform(4, 16), 0.08)


def _rod(
    rng: np.random.Generator,
    centre: NDArray[np.float64],
    half_length: float,
    radius: float,
    hu: float,
) -> Ellipsoid:
    """A piece of a vessel in a random direction, more within the slice than through it."""
    direction = rng.normal(size=3) * (0.5, 1.0, 1.0)
    place = (float(centre[0]), float(centre[1]), float(centre[2]))
    radii = (half_length, radius, radius)
    return ellipsoid(place, radii, hu, axes=axes_along(direction), bumps=0.2, inside_cavity=True)


def _spleen(rng: np.random.Generator, body: Physique, hu: float) -> Iterator[Ellipsoid]:
    """Behind and to the left, its lower end above and beside the kidney; hollow towards it."""
    width, depth = body.cavity_half_width_mm, body.cavity_half_depth_mm
    down, size = rng.uniform(-75, -25), rng.uniform(0.85, 1.2)
    centre = (down, 0.32 * depth, 0.80 * width)
    yield _organ(centre, (55 * size, 52 * size, 27 * size), hu, 0.13, rng.uniform(-32, -12))


def _stomach(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """A wall, fluid or contrast within, gas in front (patients lie on their backs)."""
    width, depth = body.cavity_half_width_mm, body.cavity_half_depth_mm
    size = rng.uniform(0.6, 1.1)
    centre = (
        rng.uniform(-95, -55), rng.uniform(-0.5, -0.25) * depth, rng.uniform(0.35, 0.55) * width
    )  # fmt: skip
    fluid_hu = rng.uniform(10, 60) if rng.random() < 0.7 else rng.uniform(120, 260)
    yield _organ(centre, (50 * size, 36 * size, 42 * size), 85.0, 0.12)
    yield _organ(centre, (46 * size, 32 * size, 38 * size), fluid_hu, 0.12)
    filled = rng.uniform(0.2, 0.6)  # with gas, in front
    gas = (centre[0], centre[1] - (1 - filled) * 29 * size, centre[2])
    yield _organ(gas, (30 * size, filled * 27 * size, 26 * size), GAS_HU, 0.08)


def _pancreas(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """From the duodenum over the spine to the spleen: lumps with fat between."""
    spine = body.spine_posterior_mm
    for share in np.linspace(0, 1, 12):
        centre = (
            float(12 - 50 * share + rng.normal(0, 2)),
            float(spine - 52 - 26 * np.sin(2.2 * share) + 45 * share**2 + rng.normal(0, 3)),
            float(-36 + 115 * share + rng.normal(0, 2)),
        )
        size = float(rng.uniform(8, 12) * (1.2 - 0.4 * share))
        yield _organ(centre, (size, size, 1.2 * size), rng.uniform(80, 110), 0.25)


def _vessels(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """Aorta and vena cava in front of the spine, their branches to the kidneys and the bowel."""
    spine, hu = body.spine_posterior_mm, body.vessel_hu
    aorta = (0.0, spine - 29, 9.0)
    yield ellipsoid(aorta, (TUBE, 10.5, 10.5), hu, texture_hu=3, bumps=0.06)
    if rng.random() < 0.4:
        yield ellipsoid((rng.uniform(-40, 40), spine - 19, 12.0), (12.0, 1.6, 5.0), 600.0)
    yield ellipsoid((0.0, spine - 27, -19.0), (TUBE, 10.0, 12.5), hu - 12, texture_hu=4, bumps=0.12)
    down = rng.uniform(-8, 8)
    for side in (-1.0, 1.0):
        vein = (down + 4 - 6 * side, spine - 22, side * 32)
        yield _organ(vein, (4.5, 4.5, 26.0), hu - 15, 0.1, side * -14)
    yield _organ((down - 12, spine - 45, 4.0), (28.0, 4.5, 4.5), hu)
    yield _organ((down - 10, spine - 46, -10.0), (34.0, 6.0, 6.0), hu - 10)


def _mesentery(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """Small vessels and strands in the fat between the loops."""
    width, depth = body.cavity_half_width_mm, body.cavity_half_depth_mm
    for _ in range(130):
        place = rng.uniform((-60, -0.85 * depth, -0.7 * width), (190, 0.1 * depth, 0.7 * width))
        yield _rod(rng, place, rng.uniform(5, 16), rng.uniform(0.9, 2.4), rng.uniform(20, 150))


def _bowel(rng: np.random.Generator, body: Physique) -> Iterator[Ellipsoid]:
    """All walls first, then what is within, so that a loop is one hollow."""
    oral_contrast = bool(rng.random() < 0.4)
    loops = [*_small_bowel(rng, body), *_colon(rng, body)]
    for chain, in_colon in loops:
        wall_hu, within = rng.uniform(70, 115), _content_hu(rng, in_colon, oral_contrast)
        wall_mm = rng.uniform(2.0, 3.2)
        yield from (_organ(c, (r, r, r), wall_hu, 0.12) for c, r in chain)
        for centre, r in chain:
            hollow = r - wall_mm
            yield _organ(centre, (hollow, hollow, hollow), within, 0.12)
        if in_colon and rng.random() < 0.6:
            yield from _gas(rng, chain)


Chain = list[tuple[Point, float]]  # centres and radii


def _content_hu(rng: np.random.Generator, in_colon: bool, oral_contrast: bool) -> float:
    """Fluid, a collapsed loop, faeces, or contrast that the patient drank."""
    if oral_contrast and rng.random() < 0.6:
        return float(rng.uniform(120, 340))
    low, high = (-60, 50) if in_colon else (10, 100)
    return float(rng.uniform(low, high))


def _gas(rng: np.random.Generator, chain: Chain) -> Iterator[Ellipsoid]:
    """Bubbles in the upper part of each piece."""
    fill = rng.uniform(0.35, 0.85)
    for (down, posterior, left), r in chain:
        inner = fill * (r - 3)
        centre = (down, posterior - (r - 3 - inner) * 0.9, left)
        yield _organ(centre, (inner, inner, inner), GAS_HU, 0.15)


def _small_bowel(rng: np.random.Generator, body: Physique) -> Iterator[tuple[Chain, bool]]:
    """Loops that wander through the front of the cavity, and the duodenum beside the kidney."""
    width, depth = body.cavity_half_width_mm, body.cavity_half_depth_mm
    for _ in range(76):
        start = rng.uniform((-15, -0.75 * depth, -0.5 * width), (190, 0.12 * depth, 0.72 * width))
        yield _wander(rng, start, int(rng.integers(4, 9)), rng.uniform(8.5, 15)), False
    spine = body.spine_posterior_mm
    start = np.array([-15.0, spine - 38, -44.0]) + rng.normal(0, 3, 3)
    yield _wander(rng, start, 6, 12.0, (1.0, 0.0, 0.0)), False


def _wander(
    rng: np.random.Generator,
    start: NDArray[np.float64],
    count: int,
    radius: float,
    drift: Point = (0.0, 0.0, 0.0),
) -> Chain:
    """Spheres along a path that turns at random."""
    heading = rng.normal(size=3) * (0.6, 1.0, 1.0) + np.array(drift) * 4
    chain: Chain = []
    here = start
    for _ in range(count):
        chain.append(((float(here[0]), float(here[1]), float(here[2])), float(radius)))
        heading = heading / np.linalg.norm(heading) + rng.normal(0, 0.35, 3)
        here = here + heading / np.linalg.norm(heading) * radius * 0.75
        radius = float(np.clip(radius * rng.uniform(0.9, 1.1), 7, 16))
    return chain


def _colon(rng: np.random.Generator, body: Physique) -> Iterator[tuple[Chain, bool]]:
    """Up at the right, across in front, down at the left; its flexures touch the kidneys."""
    width, depth = body.cavity_half_width_mm, body.cavity_half_depth_mm
    flexure = rng.uniform(10, 50)
    yield _wander(rng, _at(flexure, 0.30 * depth, -0.72 * width), 9, 18.0, (1.0, 0.05, -0.05)), True
    yield (
        _wander(rng, _at(flexure - 8, -0.1 * depth, -0.6 * width), 6, 15.0, (0.0, -1.0, 0.7)),
        True,
    )
    yield (
        _wander(rng, _at(flexure + 10, -0.72 * depth, -0.3 * width), 9, 15.0, (0.1, 0.0, 1.0)),
        True,
    )
    left = flexure - rng.uniform(30, 60)
    yield _wander(rng, _at(left, -0.3 * depth, 0.74 * width), 6, 14.0, (0.1, 0.8, 0.2)), True
    yield _wander(rng, _at(left + 10, 0.36 * depth, 0.80 * width), 18, 12.5, (1.0, 0.0, 0.0)), True


def _at(*place: float) -> NDArray[np.float64]:
    return np.array(place)
