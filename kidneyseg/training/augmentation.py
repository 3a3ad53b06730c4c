"""Random changes of slices while training: as if the patient lay, or the scanner was, different.

One strength rules them all, so that it can be searched: 0 is off, 1 the ranges below. A few numbers
for each slice are drawn on the CPU, among them a seed; all that is as large as a slice, the noise
too, is made on the slices' own device. Everything follows from torch's random numbers on the CPU.
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
        device, n = inputs.images.device, len(inputs.images)
        theta, gamma, level = self._numbers(n)
        knots = torch.randn(n, 2, ELASTIC_KNOTS, ELASTIC_KNOTS) * ELASTIC * self.strength
        seed = int(torch.randint(2**62, ()))
        grid = _grid(inputs.images.shape, _moved(theta, device), _moved(knots, device))
        images = _sample(inputs.images + 1, grid) - 1  # beyond the border lies the window's low end
        noise = _noise(images, seed) * _moved(level, device)
        images = _change_contrast(images, _moved(gamma, device)) + noise
        labels = _sample(inputs.labels, grid).clamp(0, 1)
        inside = _sample(inputs.inside.float(), grid) > 0.5
        return SliceInputs(images=images.clamp(-1, 1), labels=labels * inside, inside=inside)

    def _numbers(self, n: int) -> tuple[Tensor, Tensor, Tensor]:
        """Turn, scale and shift (n, 2, 3) in pixels; exponent and SD of the noise (n, 1, 1, 1)."""
        angle = self._uniform(n) * math.radians(ROTATION_DEGREES)
        scale = 1 + self._uniform(n) * SCALING
        shift = torch.stack([self._uniform(n), self._uniform(n)], 1) * 2 * TRANSLATION
        cosine, sine = torch.cos(angle) / scale, torch.sin(angle) / scale
        turn = torch.stack([cosine, -sine, sine, cosine], 1).view(n, 2, 2)
        theta = torch.cat([turn, shift.unsqueeze(2)], 2)
        gamma = (1 + GAMMA) ** self._uniform(n)
        level = self._uniform(n).abs() * NOISE
        return theta, gamma.view(n, 1, 1, 1), level.view(n, 1, 1, 1)

    def _uniform(self, n: int) -> Tensor:  # (n,) in [-strength, strength]
        return (torch.rand(n) * 2 - 1) * self.strength


def _grid(
    shape: torch.Size,  # (N, C, H, W)
    theta: Tensor,  # (N, 2, 3)
    knots: Tensor,  # (N, 2, k, k)
) -> Tensor:  # (N, H, W, 2) in [-1, 1]
    """Where each pixel of the changed slice comes from.

    Written out: the matrix product of `affine_grid` would be shortened by a GPU in TF32.
    """
    rows, columns = shape[2:]
    aspect = rows / columns  # grids are in half sizes, angles in pixels
    x = ((2 * torch.arange(columns, device=theta.device) + 1) / columns - 1).view(1, 1, -1)
    y = ((2 * torch.arange(rows, device=theta.device) + 1) / rows - 1).view(1, -1, 1)
    a, b, c, d, e, f = theta.view(-1, 6, 1, 1).unbind(1)
    grid = torch.stack([a * x + b * aspect * y + c, d / aspect * x + e * y + f], dim=3)
    bend = F.interpolate(knots, size=(rows, columns), mode="bicubic", align_corners=True)
    return grid + bend.permute(0, 2, 3, 1)


def _change_contrast(images: Tensor, gamma: Tensor) -> Tensor:
    """Gamma on images in [-1, 1]."""
    return ((images + 1) / 2).clamp(0, 1) ** gamma * 2 - 1


def _noise(images: Tensor, seed: int) -> Tensor:
    """Normal noise in the shape of the images, drawn on their device."""
    generator = torch.Generator(images.device).manual_seed(seed)
    return torch.randn(images.shape, generator=generator, device=images.device)


def _moved(numbers: Tensor, device: torch.device) -> Tensor:
    return numbers.to(device, non_blocking=True)


def _sample(planes: Tensor, grid: Tensor) -> Tensor:
    return F.grid_sample(planes, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
