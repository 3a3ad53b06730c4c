"""Kidneys that are given as a label map: a phantom is drawn around them."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import distance_transform_edt, gaussian_filter

from kidneyseg.errors import DataError
from kidneyseg.phantom.irregularity import Plane
from kidneyseg.phantom.parenchyma import KIDNEY_LABEL, TUMOUR_LABEL, Contrast
from kidneyseg.phantom.physique import FAT_HU, Physique
from kidneyseg.phantom.scanner import Geometry, grid
from kidneyseg.phantom.shapes import Box, Canvas, Point, blend

HALO_MM = 16.0  # around the labels, within which fat and sinus are drawn
CORTEX_MM = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """Where the labels lie, in mm from the first voxel's centre: (inferior, posterior, left)."""

    first_mm: Point
    last_mm: Point
    midline_mm: float  # left: halfway between the kidneys, or the image's middle
    view_mm: float  # width of the image


def measure(labels: NDArray[np.uint8], spacing_mm: Point) -> Extent:
    """Look through the label map a slice at a time, so that no copy of it is made."""
    if labels.ndim != 3:
        raise DataError(f"label map of shape {labels.shape}: expected three axes")
    slices = np.array([plane.any() for plane in labels])
    if not slices.any():
        raise DataError("label map without a label: a phantom is drawn around at least one kidney")
    numbers = np.flatnonzero(slices)
    footprint = np.logical_or.reduce([labels[k] > 0 for k in numbers])
    lines = (slices, footprint.any(axis=1), footprint.any(axis=0))
    ends = [np.flatnonzero(line)[[0, -1]] * s for line, s in zip(lines, spacing_mm, strict=True)]
    middle = (labels.shape[2] - 1) * spacing_mm[2] / 2
    first, last = (float(end) for end in ends[2])
    both = first < middle - 25 and last > middle + 25
    return Extent(
        first_mm=(float(ends[0][0]), float(ends[1][0]), first),
        last_mm=(float(ends[0][1]), float(ends[1][1]), last),
        midline_mm=(first + last) / 4 + middle / 2 if both else middle,
        view_mm=labels.shape[2] * spacing_mm[2],
    )


def fit_body(body: Physique, extent: Extent) -> Physique:
    """Wide enough for the kidneys; as fat as the field of view allows."""
    reach = max(extent.last_mm[2] - extent.midline_mm, extent.midline_mm - extent.first_mm[2])
    inner = max(body.cavity_half_width_mm, reach + 8)
    room = max(4.0, 0.52 * extent.view_mm - inner - body.wall_mm)
    return replace(body, cavity_half_width_mm=inner, fat_side_mm=min(body.fat_side_mm, room))


def place(extent: Extent, body: Physique, shape: tuple[int, ...], spacing_mm: Point) -> Geometry:
    """The patient's coordinates of the voxels: the kidneys' middle comes to lie at the origin.

    The rearmost label is put where kidneys end behind: a little behind the vertebrae's middle.
    """
    first = (
        -(extent.first_mm[0] + extent.last_mm[0]) / 2,
        body.spine_posterior_mm + 28 - extent.last_mm[1],
        -extent.midline_mm,
    )
    return grid(first, (shape[0], shape[1], shape[2]), spacing_mm)


@dataclass(frozen=True, slots=True, kw_only=True)
class KidneysFromLabels:
    """Draws the slices of a label map."""

    labels: NDArray[np.uint8]  # (N, H, W)
    contrast: Contrast

    def paint(self, canvas: Canvas, number: int) -> None:
        """Fat around the labels, what lies between them, parenchyma, tumour."""
        given = self.labels[number]
        canvas.labels[:] = given
        box = _box(self._neighbourhood(number).max(axis=0) > 0, canvas.voxel_mm)
        if box is None:
            return
        self._paint_fat(canvas, box, given[box] > 0)
        for label in (KIDNEY_LABEL, TUMOUR_LABEL):
            share = self._share(number, box, label)
            hu = self._kidney_hu if label == KIDNEY_LABEL else self._tumour_hu
            if share.any():
                blend(canvas, box, share, hu(canvas, box, given[box]))

    def _neighbourhood(self, number: int) -> NDArray[np.uint8]:
        """The slice between its neighbours; at an end it is its own neighbour. Shape (3, H, W)."""
        last = len(self.labels) - 1
        return self.labels[[max(0, number - 1), number, min(last, number + 1)]]

    def _share(self, number: int, box: Box, label: int) -> Plane:
        """Partial volume: neighbouring slices and pixels mix."""
        above, here, below = (self._neighbourhood(number)[:, *box] == label).astype(np.float32)
        return gaussian_filter(0.15 * (above + below) + 0.7 * here, 0.6, truncate=3)

    def _paint_fat(self, canvas: Canvas, box: Box, inside: NDArray[np.bool_]) -> None:
        """A rim of fat of uneven width; none where the neighbours touch the kidney."""
        away_mm = _distance_mm(~inside, canvas.voxel_mm)
        width_mm = 5 + 4 * canvas.bumps[box]
        rim = np.clip((width_mm - away_mm) / np.float32(canvas.voxel_mm[1]) + 0.5, 0, 1)
        blend(canvas, box, rim, FAT_HU + 8 * canvas.texture[box])
        pixel = np.float32(canvas.voxel_mm[1])
        enclosed = gaussian_filter(inside.astype(np.float32), 7 / pixel, truncate=2)
        sinus = np.clip((enclosed - 0.5) * 8, 0, 1) * np.clip(0.5 * (away_mm - 2), 0, 1)
        vein = np.clip(canvas.texture[box] * 2 - 0.6, 0, 1)
        hu = self.contrast.pelvis_hu + vein * (self.contrast.vein_hu - self.contrast.pelvis_hu)
        blend(canvas, box, sinus * np.float32(0.8), hu)

    def _kidney_hu(self, canvas: Canvas, box: Box, given: NDArray[np.uint8]) -> Plane:
        """Cortex at the surface, pyramids of medulla within."""
        depth_mm = _distance_mm(given > 0, canvas.voxel_mm)
        pattern = canvas.texture[box] + np.float32(0.6) * canvas.bumps[box]
        pyramids = np.clip(0.4 * (depth_mm - CORTEX_MM), 0, 1) * np.clip(0.5 + pattern, 0, 1)
        hu: Plane = self.contrast.cortex_hu + 6 * canvas.texture[box]
        hu -= pyramids * np.float32(self.contrast.cortex_hu - self.contrast.medulla_hu)
        return hu

    def _tumour_hu(self, canvas: Canvas, box: Box, given: NDArray[np.uint8]) -> Plane:
        """Uneven, and dead in the middle where it is large."""
        depth_mm = _distance_mm(given == TUMOUR_LABEL, canvas.voxel_mm)
        dead = np.clip(0.15 * (depth_mm - 12 + 5 * canvas.bumps[box]), 0, 1)
        living = 0.3 * self.contrast.cortex_hu + 0.5 * self.contrast.medulla_hu
        hu: Plane = living + 12 * canvas.texture[box]
        hu -= dead * np.float32(0.55 * living)
        return hu


def _distance_mm(inside: NDArray[np.bool_], voxel_mm: Point) -> Plane:
    """Within the slice, to the nearest pixel outside; 0 there."""
    distance: Plane = distance_transform_edt(inside, sampling=voxel_mm[1:]).astype(np.float32)
    return distance


def _box(inside: NDArray[np.bool_], voxel_mm: Point) -> Box | None:
    """The pixels within reach of the labels, or None."""
    spans = []
    for axis, step in ((1, voxel_mm[1]), (0, voxel_mm[2])):
        hit = np.flatnonzero(inside.any(axis=axis))
        if not len(hit):
            return None
        margin = round(HALO_MM / step)
        spans.append(slice(max(0, int(hit[0]) - margin), int(hit[-1]) + margin + 1))
    return spans[0], spans[1]
