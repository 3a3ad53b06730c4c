"""Phantoms: CT scans drawn from random numbers, with the labels of their kidneys and tumours.

They stand in for KiTS19 where its scans are not at hand: same layout, orientation, spacings, sizes
of kidneys and tumours. Nothing learnt on them says anything about patients.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
from numpy.typing import NDArray

from kidneyseg.errors import SettingsError
from kidneyseg.phantom.irregularity import Irregularity, random_irregularity
from kidneyseg.phantom.kidneys import build_kidneys, random_arrangement, random_contrast
from kidneyseg.phantom.labels import KidneysFromLabels, fit_body, measure, place
from kidneyseg.phantom.organs import build_organs
from kidneyseg.phantom.parenchyma import Kidney, paint_kidney
from kidneyseg.phantom.physique import Physique, random_physique
from kidneyseg.phantom.scanner import (
    Geometry,
    Scanner,
    full_geometry,
    paint_table,
    random_scanner,
    small_geometry,
    take,
)
from kidneyseg.phantom.shapes import Canvas, Group, group, new_canvas, paint
from kidneyseg.phantom.trunk import Trunk, build_trunk, paint_lungs, paint_trunk

BODY, SCAN, NOISE = range(3)  # streams of random numbers, apart so that none shifts another


class PhantomSize(StrEnum):
    """How many voxels a phantom has."""

    SMALL = "small"  # 192 x 192, some 36 slices: for a laptop
    FULL = "full"  # 512 x 512, KiTS19's slice spacings and counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Phantom:
    """A drawn scan and its labels; the axes grow to inferior, posterior, left, as KiTS19's do."""

    image: NDArray[np.int16]  # (N, H, W) HU
    labels: NDArray[np.uint8]  # (N, H, W); 0 background, 1 kidney, 2 tumour
    spacing_mm: tuple[float, float, float]  # (slice, row, column)


@dataclass(frozen=True, slots=True, kw_only=True)
class Patient:
    """All that is drawn of one body."""

    body: Physique
    uneven: Irregularity
    trunk: Trunk
    organs: Group
    kidneys: tuple[Kidney, ...]


def draw_phantom(seed: int, case_number: int, size: PhantomSize) -> Phantom:
    """The same numbers give the same bytes, in any process and any order."""
    if min(seed, case_number) < 0:
        raise SettingsError(f"phantom {case_number} of seed {seed}: both must be 0 or more")
    rng = _stream(seed, case_number, BODY)
    patient = _build_patient(rng, random_physique(rng))
    rng = _stream(seed, case_number, SCAN)
    choose = small_geometry if size is PhantomSize.SMALL else full_geometry
    geometry = choose(rng, patient.body, _kidneys_mm(patient.kidneys))
    scanner = random_scanner(
        rng, len(geometry.rows_mm), geometry.spacing_mm[0], (seed, case_number, NOISE)
    )
    return _scan(patient, scanner, geometry, lambda canvas, _: _paint_kidneys(canvas, patient))


def draw_phantom_around(
    labels: NDArray[np.uint8],  # (N, H, W); 0 background, 1 kidney, 2 tumour
    spacing_mm: tuple[float, float, float],
    seed: int,
    case_number: int,
) -> Phantom:
    """A scan in which the kidneys lie exactly as these labels say.

    The body is made wide enough for them and stands so that they lie beside its spine.
    """
    rng = _stream(seed, case_number, BODY)
    extent = measure(labels, spacing_mm)
    body = fit_body(random_physique(rng), extent)
    patient = _build_patient(rng, body)
    rng = _stream(seed, case_number, SCAN)
    kidneys = KidneysFromLabels(labels=labels, contrast=random_contrast(rng, body))
    scanner = random_scanner(rng, labels.shape[1], spacing_mm[0], (seed, case_number, NOISE))
    geometry = place(extent, body, labels.shape, spacing_mm)
    return _scan(patient, scanner, geometry, kidneys.paint)


def _stream(seed: int, case_number: int, stream: int) -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, case_number, stream])))


def _build_patient(rng: np.random.Generator, body: Physique) -> Patient:
    uneven = random_irregularity(rng)
    return Patient(
        body=body,
        uneven=uneven,
        trunk=build_trunk(rng, body, uneven),
        organs=group(build_organs(rng, body), uneven),
        kidneys=build_kidneys(rng, body, uneven, random_arrangement(rng)),
    )


def _kidneys_mm(kidneys: tuple[Kidney, ...]) -> tuple[float, float]:
    """Where the kidneys and their tumours begin and end, inferior."""
    ends = []
    for kidney in kidneys:
        ends += [kidney.centre_mm[0] + s * kidney.reach_mm[0] for s in (-1, 1)]
        for shape in kidney.tumours.shapes:
            ends += [shape.centre_mm[0] + s * shape.reach_mm[0] for s in (-1, 1)]
    return min(ends), max(ends)


def _scan(
    patient: Patient,
    scanner: Scanner,
    geometry: Geometry,
    paint_kidneys: Callable[[Canvas, int], None],
) -> Phantom:
    """Slice by slice: only the results are ever as large as the volume."""
    shape = (len(geometry.slices_mm), len(geometry.rows_mm), len(geometry.columns_mm))
    image, labels = np.empty(shape, np.int16), np.empty(shape, np.uint8)
    for k, inferior_mm in enumerate(geometry.slices_mm):
        canvas = new_canvas(
            float(inferior_mm),
            geometry.rows_mm,
            geometry.columns_mm,
            geometry.spacing_mm,
            patient.uneven,
        )
        _paint_body(canvas, patient, scanner)
        paint_kidneys(canvas, k)
        image[k] = take(canvas, scanner, k, patient.body)
        labels[k] = canvas.labels
    return Phantom(image=image, labels=labels, spacing_mm=geometry.spacing_mm)


def _paint_body(canvas: Canvas, patient: Patient, scanner: Scanner) -> None:
    """From behind to the front: what is painted later covers what was there."""
    paint_table(canvas, scanner, patient.body)
    paint_trunk(canvas, patient.body)
    paint_lungs(canvas, patient.trunk)
    paint(canvas, patient.trunk.fat)
    paint(canvas, patient.organs)
    paint(canvas, patient.trunk.muscles)
    paint(canvas, patient.trunk.bones)


def _paint_kidneys(canvas: Canvas, patient: Patient) -> None:
    for kidney in patient.kidneys:
        paint_kidney(canvas, kidney)
