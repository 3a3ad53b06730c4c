"""What keeps a phantom from looking drawn with a compass: smooth random fields.

They are functions of the place in the patient, so that a coarse and a fine grid show the same body.
"""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]  # (H, W)
REACH_OF_WARP_MM = 9.0  # no point is displaced by more


@dataclass(frozen=True, slots=True, kw_only=True)
class Waves:
    """A smooth random field: a sum of plane waves, the same whatever the grid it is drawn on."""

    frequencies: NDArray[np.float64]  # (waves, 3) in radians a mm
    phases: NDArray[np.float64]  # (waves,)
    amplitude: float  # of each wave

    def at(self, points_mm: NDArray[np.float64]) -> NDArray[np.float64]:  # (points, 3) -> (points,)
        """The field at single points."""
        angles = (points_mm[:, None, :] * self.frequencies).sum(axis=2) + self.phases
        values: NDArray[np.float64] = self.amplitude * np.cos(angles).sum(axis=1)
        return values

    def on_plane(self, inferior_mm: float, rows_mm: Plane, columns_mm: Plane) -> Plane:
        """The field on one slice. cos(a + b) is parted, so that no cosine is taken a pixel."""
        down = self.frequencies[:, 0] * inferior_mm + self.phases
        row = self.frequencies[:, 1, None] * rows_mm + down[:, None]
        column = self.frequencies[:, 2, None] * columns_mm
        left = np.concatenate([np.cos(row), -np.sin(row)]).astype(np.float32)
        right = np.concatenate([np.cos(column), np.sin(column)]).astype(np.float32)
        plane = np.zeros((len(rows_mm), len(columns_mm)), np.float32)
        product = np.empty_like(plane)
        for k in range(len(left)):  # not a matrix product: its bits vary with the thread count
            plane += np.multiply(left[k][:, None], right[k], out=product)
        plane *= np.float32(self.amplitude)
        return plane


def random_waves(
    rng: np.random.Generator, count: int, wavelengths_mm: tuple[float, float], size: float
) -> Waves:
    """Waves in random directions whose sum has the standard deviation `size`."""
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    length = np.exp(
        rng.uniform(math.log(wavelengths_mm[0]), math.log(wavelengths_mm[1]), size=count)
    )
    return Waves(
        frequencies=2 * math.pi * direction / length[:, None],
        phases=rng.uniform(0, 2 * math.pi, size=count),
        amplitude=size * math.sqrt(2 / count),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Irregularity:
    """How one patient strays from the plan."""

    posterior: Waves  # displacement of the whole anatomy, mm
    left: Waves
    bumps: Waves  # of surfaces, standard deviation 1
    texture: Waves  # within tissues, standard deviation 1


def random_irregularity(rng: np.random.Generator) -> Irregularity:
    """Large organs are displaced by millimetres, surfaces are bumpy, tissues are uneven."""
    return Irregularity(
        posterior=random_waves(rng, 4, (110.0, 260.0), 2.2),
        left=random_waves(rng, 4, (110.0, 260.0), 2.2),
        bumps=random_waves(rng, 6, (22.0, 70.0), 1.0),
        texture=random_waves(rng, 12, (6.0, 30.0), 1.0),
    )
