"""All measures of predicted cases, two ways.

    python benchmarks/measures.py
    python benchmarks/measures.py --labels kits19/data --cases 3

    ours    cut to the box of both masks, each surface found once, nearest cells by a k-d tree
    plain   as MedPy and most evaluation scripts do it: every measure on its own, over the voxels
            of the whole volume, with a distance transform for each measure and direction

Both give Dice, surface Dice at two tolerances, HD95, the mean distance both ways and the volume
error, for both kidneys together, for the right and for the left. The plain way counts voxels, ours
weighs by area, so surface figures differ; Dice and volume error must be the same, and the program
stops where they are not. Cases are two ellipsoids with a wavy prediction, or label maps of a folder
with the same waves. Processor time of one thread.
"""

import argparse
import itertools
import platform
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import scipy
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct.laterality import Side, part_sides
from kidneyseg.ct.volumes import read_labels
from kidneyseg.evaluation.evaluating import measure_case
from kidneyseg.evaluation.masks import cut_masks
from kidneyseg.evaluation.matching import match_sides
from kidneyseg.phantom.data_set import find_segmentations

Mask = NDArray[np.bool_]
Spacing = tuple[float, float, float]
Figures = dict[str, tuple[float, float]]  # Dice and volume error in ml, by structure

SHAPE, SPACING_MM = (48, 128, 128), (4.0, 3.0, 3.0)
TOLERANCES_MM = (1.033, 2.0)


def draw_cases(n_cases: int) -> Iterator[tuple[Mask, Mask, Spacing]]:
    """Two ellipsoids a case, and a prediction of them."""
    grid = np.moveaxis(np.indices(SHAPE), 0, -1) * np.array(SPACING_MM)
    for seed in range(n_cases):
        shift = np.random.default_rng(seed).uniform(-8, 8, 3)
        truth = np.zeros(SHAPE, np.bool_)
        for column_mm in (120.0, 260.0):
            offset = (grid - (95, 200, column_mm) - shift) / (52, 28, 26)
            truth |= (offset**2).sum(axis=-1) < 1
        yield truth, predict(truth, seed), SPACING_MM


def read_cases(labels: Path, n_cases: int) -> Iterator[tuple[Mask, Mask, Spacing]]:
    """Label maps of a folder, and a prediction of them."""
    for seed, labelled in enumerate(find_segmentations(labels)[:n_cases]):
        volume = read_labels(labelled.path)
        truth = np.ascontiguousarray(volume.array > 0)
        yield truth, predict(truth, seed), volume.geometry.spacing_mm


def predict(truth: Mask, seed: int) -> Mask:
    """The truth with a boundary moved back and forth by a voxel or two, and a false part."""
    coarse = np.random.default_rng(seed).normal(size=[-(-n // 8) for n in truth.shape])
    first, *rest = (slice(0, n) for n in truth.shape)
    waves = coarse.repeat(8, axis=0).repeat(8, axis=1).repeat(8, axis=2)[(first, *rest)] > 0
    larger = ndimage.binary_dilation(truth, iterations=1)
    smaller = ndimage.binary_erosion(truth, iterations=1)
    predicted = np.where(waves, larger, smaller).astype(np.bool_)
    predicted[1:4, 4:10, 4:10] = True
    return predicted


def ours(truth: Mask, predicted: Mask, spacing_mm: Spacing) -> Figures:
    """Everything from the box of both masks."""
    masks = cut_masks(truth, predicted, spacing_mm)
    measures = measure_case(masks, match_sides(masks))
    return {name: (one.dice, one.volume_error_ml) for name, one in measures.items()}


def plain(truth: Mask, predicted: Mask, spacing_mm: Spacing) -> Figures:
    """The usual way: a function for each measure, whole volumes."""
    figures = {}
    true_sides, _ = part_sides(truth, spacing_mm, (truth.shape[2] - 1) / 2)
    masks = cut_masks(truth, predicted, spacing_mm)
    predicted_sides = np.zeros(truth.shape, np.uint8)
    predicted_sides[predicted] = match_sides(masks).predicted[masks.predicted]
    pairs = {"kidneys": (truth, predicted)}
    for side in Side:
        pairs[side.name.lower()] = (true_sides == side, predicted_sides == side)
    for name, (t, p) in pairs.items():
        for tolerance_mm in TOLERANCES_MM:
            plain_surface_dice(t, p, spacing_mm, tolerance_mm)
        plain_hd95(t, p, spacing_mm)
        plain_mean(t, p, spacing_mm)
        plain_mean(p, t, spacing_mm)
        error_ml = (int(p.sum()) - int(t.sum())) * float(np.prod(spacing_mm)) / 1000
        figures[name] = (2 * float((t & p).sum()) / float(t.sum() + p.sum()), error_ml)
    return figures


def plain_distances(first: Mask, second: Mask, spacing_mm: Spacing) -> NDArray[np.float64]:
    """From the surface voxels of one mask to those of another."""
    surfaces = [mask ^ ndimage.binary_erosion(mask) for mask in (first, second)]
    far = ndimage.distance_transform_edt(~surfaces[1], sampling=spacing_mm)
    distances: NDArray[np.float64] = np.asarray(far)[surfaces[0]]
    return distances


def plain_mean(first: Mask, second: Mask, spacing_mm: Spacing) -> float:
    """The mean distance one way."""
    return float(plain_distances(first, second, spacing_mm).mean())


def plain_hd95(first: Mask, second: Mask, spacing_mm: Spacing) -> float:
    """The 95th percentile of both ways."""
    there = plain_distances(first, second, spacing_mm)
    back = plain_distances(second, first, spacing_mm)
    return float(np.percentile(np.concatenate([there, back]), 95))


def plain_surface_dice(
    first: Mask, second: Mask, spacing_mm: Spacing, tolerance_mm: float
) -> float:
    """The share of surface voxels within a tolerance."""
    there = plain_distances(first, second, spacing_mm)
    back = plain_distances(second, first, spacing_mm)
    within = (there <= tolerance_mm).sum() + (back <= tolerance_mm).sum()
    return float(within / (len(there) + len(back)))


def timed(way: Callable[[], Figures]) -> tuple[Figures, float]:
    """What a way finds, and its seconds of processor time."""
    start = time.process_time()
    return way(), time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--labels", type=Path, help="folder of label maps, as in KiTS19")
    parser.add_argument("--cases", type=int, default=27)
    given = parser.parse_args()
    found = read_cases(given.labels, given.cases) if given.labels else draw_cases(given.cases)
    seconds = {"ours": 0.0, "plain": 0.0}
    n_cases = 0
    for truth, predicted, spacing_mm in itertools.islice(found, given.cases):
        first, taken = timed(lambda: ours(truth, predicted, spacing_mm))  # noqa: B023 - at once
        seconds["ours"] += taken
        second, taken = timed(lambda: plain(truth, predicted, spacing_mm))  # noqa: B023 - at once
        seconds["plain"] += taken
        n_cases += 1
        for name, figures in first.items():
            if not np.allclose(figures, second[name]):
                raise SystemExit(f"{name}: {figures}, the plain way {second[name]}")
    print(f"Python {platform.python_version()}, numpy {np.__version__}, scipy {scipy.__version__}")
    for name, total in seconds.items():
        print(f"{name:<6} {n_cases} cases  {total:8.1f} s  {total / n_cases:7.2f} s a case")
    print(f"plain / ours: {seconds['plain'] / seconds['ours']:.1f}")


if __name__ == "__main__":
    main()
