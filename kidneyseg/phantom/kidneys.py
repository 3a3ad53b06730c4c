"""How a patient's kidneys, tumours and cysts are laid out: number, size, place, brightness."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kidneyseg.phantom.irregularity import Irregularity
from kidneyseg.phantom.parenchyma import Contrast, Kidney
from kidneyseg.phantom.physique import FAT_HU, Physique
from kidneyseg.phantom.shapes import Ellipsoid, Point, cross, ellipsoid, group

SHAPE = (1.0, 0.43, 0.58)  # half length, half thickness, half breadth from hilum to outer border
FULL_SHARE = 0.86  # of the bent ellipsoid's volume; the hilum takes the rest
Frame = tuple[Point, Point, NDArray[np.float64]]  # a kidney's centre, radii and axes


class Arrangement(StrEnum):
    """How many kidneys a patient has. In KiTS19: 206 pairs, 3 single ones, 1 joined."""

    PAIR = "pair"
    SINGLE = "single"
    JOINED = "joined"  # across the midline, in front of the great vessels


def random_arrangement(rng: np.random.Generator) -> Arrangement:
    """Mostly a pair."""
    chance = rng.random()
    if chance < 0.02:
        return Arrangement.SINGLE
    return Arrangement.JOINED if chance < 0.03 else Arrangement.PAIR


def build_kidneys(
    rng: np.random.Generator, body: Physique, uneven: Irregularity, arrangement: Arrangement
) -> tuple[Kidney, ...]:
    """The kidneys of one patient; one of them carries a tumour."""
    volumes_ml = _volumes_ml(rng)
    contrast = random_contrast(rng, body)
    sides = [-1.0, 1.0]
    if arrangement is Arrangement.SINGLE:
        sides = [sides[int(rng.integers(2))]]
        volumes_ml = np.minimum(volumes_ml * 1.35, 400)
    joined = arrangement is Arrangement.JOINED
    sick = int(rng.integers(len(sides)))
    kidneys = []
    for k, side in enumerate(sides):
        plan = Plan(side=side, volume_ml=float(volumes_ml[k]), joined=joined, sick=k == sick)
        kidneys.append(_kidney(rng, body, uneven, contrast, plan))
    return tuple(kidneys)


def _volumes_ml(rng: np.random.Generator) -> NDArray[np.float64]:
    """KiTS19's: both together 91 to 765 ml, median 408."""
    both = float(np.clip(rng.normal(412, 100), 190, 690))
    share = 0.5 + 0.5 * float(np.clip(rng.normal(0, 0.08), -0.3, 0.3))
    return np.array([both * share, both * (1 - share)])


def random_contrast(rng: np.random.Generator, body: Physique) -> Contrast:
    """From the corticomedullary to the nephrographic phase."""
    cortex_hu = float(rng.uniform(112, 166))
    return Contrast(
        cortex_hu=cortex_hu,
        medulla_hu=cortex_hu * float(rng.uniform(0.5, 0.85)),
        pelvis_hu=float(rng.uniform(-5, 30)),
        vein_hu=body.vessel_hu - 10,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What is settled of a kidney before it is drawn."""

    side: float  # -1 right, 1 left
    volume_ml: float
    joined: bool  # with the other, across the midline
    sick: bool  # it carries the tumour


def _kidney(
    rng: np.random.Generator, body: Physique, uneven: Irregularity, contrast: Contrast, plan: Plan
) -> Kidney:
    axes, radii = _axes(rng, plan), _radii(rng, plan.volume_ml)
    centre = _centre(rng, body, plan, radii)
    frame: Frame = (centre, radii, axes)
    return Kidney(
        centre_mm=centre,
        axes=axes,
        radii_mm=radii,
        bend=float(rng.uniform(0.25, 0.45)),
        hilum=tuple(rng.uniform((0.42, 0.32, 0.45), (0.58, 0.5, 0.7)).tolist()),
        contrast=contrast,
        halo=group(_halo(rng, *frame), uneven),
        tumours=group(_tumours(rng, *frame, contrast) if plan.sick else (), uneven),
        parts=group((*_cysts(rng, *frame), *_bridge(body, contrast, plan, frame)), uneven),
        bumps=0.05,
    )


def _radii(rng: np.random.Generator, volume_ml: float) -> Point:
    """From the volume of an ellipsoid, 4/3 pi abc, of which the hilum takes a part."""
    product = SHAPE[0] * SHAPE[1] * SHAPE[2]
    length = (3000 * volume_ml / (4 * math.pi * FULL_SHARE * product)) ** (1 / 3)
    stretch = float(rng.uniform(0.92, 1.1))
    slim = length / math.sqrt(stretch)
    return length * stretch * SHAPE[0], slim * SHAPE[1], slim * SHAPE[2]


def _axes(rng: np.random.Generator, plan: Plan) -> NDArray[np.float64]:
    """The lower pole points outwards and forwards, the hilum inwards and forwards."""
    side = plan.side
    outwards = -0.35 if plan.joined else float(rng.uniform(0.12, 0.32))
    forwards = 0.4 if plan.joined else float(rng.uniform(0.05, 0.28))
    long = np.array([1.0, -forwards, side * outwards])
    long /= np.linalg.norm(long)
    angle = math.radians(float(rng.uniform(25, 50)))
    hilum = np.array([0.0, -math.sin(angle), -side * math.cos(angle)])
    hilum -= (hilum @ long) * long
    hilum /= np.linalg.norm(hilum)
    back = cross(hilum, long) * side
    return np.stack([long, -back if back[1] < 0 else back, hilum])


def _centre(rng: np.random.Generator, body: Physique, plan: Plan, radii: Point) -> Point:
    """Beside the spine, the right one lower, as far out as its breadth asks for."""
    side, closeness = plan.side, 0.75 if plan.joined else 0.95
    out = 0.32 * body.cavity_half_width_mm + closeness * radii[2] + rng.normal(0, 3)
    return (
        float(-7 * side + rng.normal(0, 7)),
        float(body.spine_posterior_mm - 2 + rng.normal(0, 4)),
        float(side * out),
    )


def _bridge(body: Physique, contrast: Contrast, plan: Plan, frame: Frame) -> Iterator[Ellipsoid]:
    """From the lower pole of a joined kidney to the midline, in front of the great vessels."""
    if not plan.joined:
        return
    centre, radii, axes = frame
    pole = np.asarray(centre) + 0.8 * radii[0] * axes[0]
    middle = np.array([30.0, body.spine_posterior_mm - 50, 0.0])
    for share in np.linspace(0, 1, 6):
        yield _lump(pole + share * (middle - pole), (15.0, 12.0, 12.0), contrast.cortex_hu - 8, 6)


def _lump(
    place: NDArray[np.float64], radii: Point, hu: float, texture_hu: float, bumps: float = 0.08
) -> Ellipsoid:
    at = (float(place[0]), float(place[1]), float(place[2]))
    return ellipsoid(at, radii, hu, texture_hu=texture_hu, bumps=bumps)


def _halo(
    rng: np.random.Generator, centre: Point, radii: Point, axes: NDArray[np.float64]
) -> Iterator[Ellipsoid]:
    """Fat around the kidney, off its centre: on one side the neighbours touch it."""
    widen = rng.uniform(2, 14)
    shift = rng.normal(0, 5, 3)
    yield ellipsoid(
        (centre[0] + float(shift[0]), centre[1] + float(shift[1]), centre[2] + float(shift[2])),
        (radii[0] + widen, radii[1] + widen, radii[2] + widen),
        FAT_HU,
        axes=axes,
        texture_hu=8,
        bumps=0.15,
        inside_cavity=True,
    )


def _tumours(
    rng: np.random.Generator,
    centre: Point,
    radii: Point,
    axes: NDArray[np.float64],
    contrast: Contrast,
) -> Iterator[Ellipsoid]:
    """One mass of KiTS19's sizes (0.8 to 1464 ml, median 30) at the kidney's surface.

    Large ones grow outwards and forwards, where there is room, and are dead in the middle.
    """
    volume_ml = float(np.clip(math.exp(rng.normal(math.log(32), 1.45)), 0.8, 900))
    radius = (3000 * volume_ml / (4 * math.pi)) ** (1 / 3)
    own = rng.normal(size=3) * (1.0, 0.8, 0.7)
    own -= np.array([0.0, 0.6, 1.0]) * min(1.3, radius / 25)
    own *= (rng.uniform(0.55, 1.05) + 0.25 * radius / radii[0]) / np.linalg.norm(own)
    place = np.asarray(centre) + (own * radii) @ axes
    squash = rng.uniform(0.88, 1.14, 3)
    sizes = radius * squash / np.cbrt(squash.prod())
    hu = float(rng.uniform(40, 0.9 * contrast.cortex_hu))
    core = float(rng.uniform(0.2, 0.75)) if radius > 15 else 0.2
    for share, bright, bumps in ((1.0, 1.0, 0.09), (core, float(rng.uniform(0.4, 0.9)), 0.35)):
        size = (share * float(sizes[0]), share * float(sizes[1]), share * float(sizes[2]))
        yield _lump(place, size, bright * hu, 12, bumps)


def _cysts(
    rng: np.random.Generator, centre: Point, radii: Point, axes: NDArray[np.float64]
) -> Iterator[Ellipsoid]:
    """Few and small."""
    for _ in range(int(rng.poisson(0.7))):
        own = rng.normal(size=3) - (0.0, 0.0, 0.5)
        own *= rng.uniform(0.6, 0.95) / np.linalg.norm(own)
        radius = float(rng.uniform(3, 12))
        place = np.asarray(centre) + (own * radii) @ axes
        yield _lump(place, (radius, radius, radius), float(rng.uniform(-2, 22)), 0)
