"""The scanner of a phantom: what it looks at, its table, its blur, noise and padding."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter, uniform_filter

from kidneyseg.phantom.irregularity import Plane
from kidneyseg.phantom.physique import Physique
from kidneyseg.phantom.shapes import Canvas, Point, blend

# KiTS19's slice spacings and the number of cases that have them
SPACINGS_MM = {
    5.0: 86, 3.0: 38, 0.5: 31, 2.5: 23, 1.0: 18, 1.25: 5, 2.0: 4, 4.0: 2, 1.5: 2, 3.75: 1,
}  # fmt: skip
FIELD_OF_VIEW_MM = (224.0, 533.0)  # KiTS19's smallest and largest pixel times 512
PADDING_HU = (-1024.0, -2000.0, -3024.0)  # what scanners write where they have not looked
LOWEST_HU, HIGHEST_HU = -1024, 3071


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """Where the voxels of a scan lie in the patient."""

    slices_mm: NDArray[np.float64]  # (N,) inferior
    rows_mm: Plane  # (H,) posterior
    columns_mm: Plane  # (W,) left
    spacing_mm: Point


def grid(first_mm: Point, shape: tuple[int, int, int], spacing_mm: Point) -> Geometry:
    """The geometry whose first voxel's centre lies at `first_mm`."""
    lines = [
        first + step * np.arange(count, dtype=np.float64)
        for first, step, count in zip(first_mm, spacing_mm, shape, strict=True)
    ]
    return Geometry(
        slices_mm=lines[0],
        rows_mm=lines[1].astype(np.float32),
        columns_mm=lines[2].astype(np.float32),
        spacing_mm=spacing_mm,
    )


def full_geometry(
    rng: np.random.Generator, body: Physique, kidneys_mm: tuple[float, float]
) -> Geometry:
    """KiTS19's size; `kidneys_mm` is where the kidneys begin and end. 2 % are cut below."""
    spacings = np.array(list(SPACINGS_MM))
    counts = np.array(list(SPACINGS_MM.values()))
    spacing = float(rng.choice(spacings, p=counts / counts.sum()))
    above = float(np.clip(rng.normal(88, 28), 15, 160))
    below = float(np.clip(np.exp(rng.normal(np.log(105), 0.65)), 20, 280))
    if rng.random() < 0.02:
        below = -float(rng.uniform(10, 40))
    extent = kidneys_mm[1] - kidneys_mm[0] + above + below
    slices = int(np.clip(round(extent / spacing), 29, 1059))
    return _around(rng, body, kidneys_mm[0] - above, (slices, 512, 512), spacing)


def small_geometry(
    rng: np.random.Generator, body: Physique, kidneys_mm: tuple[float, float]
) -> Geometry:
    """For a laptop: 192 x 192, 28 to 45 slices, few of them without kidney."""
    extent = kidneys_mm[1] - kidneys_mm[0]
    above, below = (float(m) for m in rng.uniform(10, 22, 2))
    finest = (extent + above + below) / 45
    fitting = [s for s in (3.0, 3.75, 4.0, 5.0) if s >= finest] or [5.0]
    spacing = fitting[int(rng.integers(len(fitting)))]
    slices = int(np.clip(round((extent + above + below) / spacing), 28, 45))
    first = (kidneys_mm[0] + kidneys_mm[1]) / 2 - slices * spacing / 2 + (below - above) / 4
    return _around(rng, body, first, (slices, 192, 192), spacing)


def _around(
    rng: np.random.Generator,
    body: Physique,
    first_mm: float,
    shape: tuple[int, int, int],
    slice_mm: float,
) -> Geometry:
    """A square field of view around the body; some are too narrow for it, as in real ones."""
    width = 2 * max(body.half_width_mm, (body.back_mm - body.front_mm) / 2)
    view = float(np.clip(width * rng.uniform(0.96, 1.2), *FIELD_OF_VIEW_MM))
    pixel = view / shape[1]
    middle_row = (body.front_mm + body.back_mm) / 2 + rng.normal(0, 8)
    first_row = float(middle_row - view / 2 + pixel / 2)
    first_column = float(rng.normal(0, 5) - view / 2 + pixel / 2)
    return grid((first_mm, first_row, first_column), shape, (slice_mm, pixel, pixel))


@dataclass(slots=True, kw_only=True)
class Scanner:
    """How one scan was taken. It remembers the last slice's noise: neighbours share some."""

    noise_hu: float  # standard deviation in the middle of the body
    grain_px: float  # how coarse the noise is
    sharpness: float  # share of the low frequencies that the kernel takes out of the noise
    blur_px: float
    padding_hu: float | None
    table_gap_mm: float
    table_radius_mm: float
    noise_seed: tuple[int, ...]
    last: Plane | None = None


def random_scanner(
    rng: np.random.Generator, pixels: int, slice_mm: float, noise_seed: tuple[int, ...]
) -> Scanner:
    """Thin slices and small pixels are noisier."""
    noise = float(np.exp(rng.normal(np.log(17), 0.3))) * (3.0 / max(slice_mm, 1.0)) ** 0.25
    scale = pixels / 512
    return Scanner(
        noise_hu=noise * (0.75 + 0.25 * scale),
        grain_px=0.35 + float(rng.uniform(0.4, 0.9)) * scale,
        sharpness=float(rng.uniform(0.3, 0.8)),
        blur_px=0.3 + float(rng.uniform(0.1, 0.5)) * scale,
        padding_hu=float(rng.choice(PADDING_HU)) if rng.random() < 0.45 else None,
        table_gap_mm=float(rng.uniform(0, 12)),
        table_radius_mm=float(rng.uniform(350, 900)),
        noise_seed=noise_seed,
    )


def paint_table(canvas: Canvas, scanner: Scanner, body: Physique) -> None:
    """A curved plate of foam between two thin shells."""
    middle = body.back_mm + scanner.table_gap_mm + 4
    columns, rows = canvas.columns_mm, canvas.rows_mm[:, None]
    drop = rows - np.float32(middle) + columns * columns / np.float32(2 * scanner.table_radius_mm)
    pixel = np.float32(canvas.voxel_mm[1])
    reach = np.clip((np.float32(205) - np.abs(columns)) / pixel, 0, 1)
    whole = (slice(None), slice(None))
    for top, bottom, hu in ((0, 26, 120.0), (1.8, 24.2, -930.0)):
        inside = np.minimum(drop - np.float32(top), np.float32(bottom) - drop) / pixel
        blend(canvas, whole, reach * np.clip(inside + np.float32(0.5), 0, 1), hu)


def take(canvas: Canvas, scanner: Scanner, number: int, body: Physique) -> NDArray[np.int16]:
    """The slice as the scanner stores it: blurred, noisy, padded, whole HU."""
    noise = _fresh_noise(canvas.hu.shape, scanner, number)
    last = scanner.last if scanner.last is not None else _fresh_noise(noise.shape, scanner, -1)
    scanner.last = noise
    hu = gaussian_filter(canvas.hu, scanner.blur_px, truncate=3)
    share = 0.35 if canvas.voxel_mm[0] > 2 else 0.6
    mixed = noise * np.float32((1 - share**2) ** 0.5) + last * np.float32(share)
    hu += mixed * (_noise_level(canvas, body) * np.float32(scanner.noise_hu))
    np.clip(np.rint(hu, out=hu), LOWEST_HU, HIGHEST_HU, out=hu)
    if scanner.padding_hu is not None:
        hu[_outside(canvas)] = scanner.padding_hu
    return hu.astype(np.int16)


def _fresh_noise(shape: tuple[int, ...], scanner: Scanner, number: int) -> Plane:
    """Noise of one slice with standard deviation 1, coloured as a reconstruction kernel does."""
    seed = np.random.SeedSequence([*scanner.noise_seed, number + 1])
    rng = np.random.Generator(np.random.PCG64(seed))
    white = rng.standard_normal(shape, dtype=np.float32)
    noise = gaussian_filter(white, scanner.grain_px, truncate=3, mode="wrap")
    broad = uniform_filter(noise, max(3, round(6 * scanner.grain_px)), mode="wrap")
    noise -= np.float32(scanner.sharpness) * broad
    return noise / np.float32(noise.std())


def _noise_level(canvas: Canvas, body: Physique) -> Plane:
    """Most in the middle of the body, where the fewest photons come through."""
    middle = np.float32((body.front_mm + body.back_mm) / 2)
    row = (canvas.rows_mm - middle) / np.float32((body.back_mm - body.front_mm) / 2)
    column = canvas.columns_mm / np.float32(body.half_width_mm)
    return np.clip(1.1 - 0.5 * (row[:, None] ** 2 + column**2), 0.4, 1.1)


def _outside(canvas: Canvas) -> NDArray[np.bool_]:
    """What the round field of view does not reach: the corners."""
    rows, columns = (line - line.mean() for line in (canvas.rows_mm, canvas.columns_mm))
    radius = max(float(rows[-1]), float(columns[-1]))
    corners: NDArray[np.bool_] = rows[:, None] ** 2 + columns**2 > np.float32(radius**2)
    return corners
