"""Random changes of slices while training: as if the patient lay, or the scanner was, different.

One strength rules them all, so that it can be searched: 0 is off, 1 the ranges below. Everything is
computed on the slices' device; the dice are thrown on the CPU, the same for every device.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from kidneyseg.training.inputs import SliceInputs

ROTATION_DEGREES = 20.0  # either way
SCALING = 0.2  # larger or smaller by this share
TRANSLATION = 0.1  # of the slice's size, either way
ELASTIC = 0.03  # of the slice's half size: SD of the displacement at the knots
ELASTIC_KNOTS = 6  # along each axis
NOISE = 0.1  # SD, of the HU window's half width
GAMMA = 0.3  # exponent from 1 / (1 + this) to 1 + this


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Rotation, scaling, translation, elastic deformation, noise and gamma, drawn per slice."""

    strength: float  # 0 to 1

    def __call__(self, inputs: SliceInputs) -> SliceInputs:
        """Change every slice at random; neighbouring channels of a slice move together."""
        if self.strength == 0:
            return inputs
        grid = self._grid(inputs.images)
        images = _sample(inputs.images + 1, grid) - 1  # beyond the border lies the window's low end
        images = self._change_intensities(images)
        labels = _sample(inputs.labels, grid).clamp(0, 1)
        inside = _sample(inputs.inside.float(), grid) > 0.5
        return SliceInputs(images=images, labels=labels * inside, inside=inside)

    def _grid(self, images: Tensor) -> Tensor:  # (N, C, H, W) -> (N, H, W, 2) in [-1, 1]
        """Where each pixel of the changed slice comes from."""
        n, _, rows, columns = images.shape
        angle = self._uniform(n) * math.radians(ROTATION_DEGREES)
        scale = 1 + self._uniform(n) * SCALING
        shift = torch.stack([self._uniform(n), self._uniform(n)], 1) * 2 * TRANSLATION
        cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
        aspect = rows / columns  # grids are in half sizes, angles in pixels
        turn = torch.stack([cosine, -sine * aspect, sine / aspect, cosine], 1).view(n, 2, 2)
        theta = torch.cat([turn, shift.unsqueeze(2)], 2)
        grid = F.affine_grid(theta, [n, 1, rows, columns], align_corners=False)
        knots = torch.randn(n, 2, ELASTIC_KNOTS, ELASTIC_KNOTS) * ELASTIC * self.strength
        bend = F.interpolate(knots, size=(rows, columns), mode="bicubic", align_corners=True)
        return (grid + bend.permute(0, 2, 3, 1)).to(images.device, non_blocking=True)

    def _change_intensities(self, images: Tensor) -> Tensor:
        """Gamma and noise on images in [-1, 1]."""
        n = len(images)
        gamma = (1 + GAMMA) ** self._uniform(n)
        bright = (images + 1) / 2
        changed = bright.clamp(0, 1) ** gamma.view(-1, 1, 1, 1).to(images.device, non_blocking=True)
        level = self._uniform(n).abs() * NOISE
        noise = torch.randn(images.shape) * level.view(-1, 1, 1, 1)
        return (changed * 2 - 1 + noise.to(images.device, non_blocking=True)).clamp(-1, 1)

    def _uniform(self, n: int) -> Tensor:  # (n,) in [-strength, strength]
        return (torch.rand(n) * 2 - 1) * self.strength


def _sample(planes: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
