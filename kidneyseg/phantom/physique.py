"""How a body is built: the few numbers that everything in a phantom is placed by."""

from dataclasses import dataclass

import numpy as np

SKIN_MM = 2.2
SPINE_BEFORE_CAVITY_END_MM = 40.0  # a vertebra's centre lies so far in front of the cavity's end
FAT_HU = -104.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Physique:
    """How a body is built; what everything else is placed by."""

    cavity_half_width_mm: float
    cavity_half_depth_mm: float
    fat_side_mm: float  # below the skin
    fat_front_mm: float
    fat_back_mm: float
    wall_mm: float  # of muscle, beside and in front
    squareness: float  # of the outline: 0 an ellipse, 1 a rectangle
    muscle_hu: float
    bone_hu: float  # spongy bone
    vessel_hu: float  # large veins and the aorta after contrast

    @property
    def spine_posterior_mm(self) -> float:
        """Where the centres of the vertebrae lie."""
        return self.cavity_half_depth_mm - SPINE_BEFORE_CAVITY_END_MM

    @property
    def half_width_mm(self) -> float:
        """From the middle to the skin at the side."""
        return self.cavity_half_width_mm + self.wall_mm + self.fat_side_mm + SKIN_MM

    @property
    def front_mm(self) -> float:
        """Posterior coordinate of the skin in front."""
        return -self.cavity_half_depth_mm - self.wall_mm - self.fat_front_mm - SKIN_MM

    @property
    def back_mm(self) -> float:
        """Posterior coordinate of the skin at the back."""
        return self.cavity_half_depth_mm + 26.0 + self.fat_back_mm + SKIN_MM


def random_physique(rng: np.random.Generator) -> Physique:
    """From slim to obese: fat within and below the skin go together."""
    weight = float(rng.beta(2.0, 2.6))
    return Physique(
        cavity_half_width_mm=122 + 28 * weight + rng.normal(0, 4),
        cavity_half_depth_mm=78 + 32 * weight + rng.normal(0, 4),
        fat_side_mm=7 + 42 * weight * rng.uniform(0.6, 1.0),
        fat_front_mm=5 + 32 * weight * rng.uniform(0.5, 1.2),
        fat_back_mm=6 + 32 * weight * rng.uniform(0.5, 1.0),
        wall_mm=rng.uniform(9, 14),
        squareness=rng.uniform(0.2, 0.5),
        muscle_hu=rng.uniform(48, 66),
        bone_hu=rng.uniform(130, 215),
        vessel_hu=rng.uniform(120, 190),
    )
