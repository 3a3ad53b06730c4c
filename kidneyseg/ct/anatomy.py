"""What a label map says about the kidneys that is odd but may be right.

Parts are voxels of kidney and tumour, connected by faces, of at least 5 ml: in KiTS19 what is
smaller is a speck (at most 0.9 ml), and kidneys have 100 ml or more. A part lies on a side of the
image's midline with at least 5 ml too: a kidney whose hilum just touches it does not.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct.findings import Kind
from kidneyseg.ct.volumes import Geometry, Volume

LARGE_TUMOUR = 0.1225  # of kidney and tumour; the report's 136 of 210 cases lie below
SMALLEST_PART_ML = 5.0
MOST_PARTS = 8  # the largest ones are looked at
FAR_OUT_MM = 50.0  # kidneys in their place reach 78 mm or more from the midline (59 of KiTS19)
MOST_VOXELS = 2**26  # numbered at once: 256 MiB


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelBox:
    """The part of a label map that holds its labels, and where it lies."""

    labels: NDArray[np.uint8]  # (slices, rows, columns), contiguous
    first: tuple[int, int, int]  # its first slice, row and column in the volume
    geometry: Geometry  # of the whole volume

    @property
    def place(self) -> tuple[slice, slice, slice]:
        """Where it lies, to index a volume."""
        slices, rows, columns = (
            slice(first, first + length)
            for first, length in zip(self.first, self.labels.shape, strict=True)
        )
        return slices, rows, columns


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A connected part of the kidneys, seen from the image's midline."""

    right_ml: float  # the patient's right: columns before the midline
    left_ml: float
    right_mm: float  # how far it reaches out there; negative when it does not reach the midline
    left_mm: float

    @property
    def on_both_sides(self) -> bool:
        """Whether enough of it lies on either side."""
        return min(self.right_ml, self.left_ml) >= SMALLEST_PART_ML


def cut_to_labels(volume: Volume[np.uint8]) -> LabelBox:
    """Cut a label map to the smallest box with all its labels; an empty map gives an empty box."""
    array = volume.array
    from_front = array.max(axis=2)  # (slices, rows)
    extents = [
        np.flatnonzero(from_front.max(axis=1)),
        np.flatnonzero(from_front.max(axis=0)),
        np.flatnonzero(array.max(axis=(0, 1))),
    ]
    first, last = ([int(found[end]) if found.size else end for found in extents] for end in (0, -1))
    place = tuple(slice(start, end + 1) for start, end in zip(first, last, strict=True))
    return LabelBox(
        labels=np.ascontiguousarray(array[place]),
        first=(first[0], first[1], first[2]),
        geometry=volume.geometry,
    )


def count_labels(box: LabelBox) -> NDArray[np.int64]:  # (256,)
    """Count the voxels of each label in the box, 0 included."""
    counts = np.zeros(256, np.int64)
    for slice_ in box.labels:  # one at a time: counting takes eight bytes a voxel
        counts += np.bincount(slice_.ravel(), minlength=256)
    return counts


def note_anatomy(
    box: LabelBox, kidney_labels: tuple[int, ...], tumor_labels: tuple[int, ...]
) -> Iterator[tuple[Kind, str]]:
    """Yield what is odd about the kidneys: a kind, and where."""
    kidney = _having(box, kidney_labels)
    yield from _note_ends(kidney, box)
    yield from _note_parts(find_parts(kidney, box.first[2], box.geometry))
    tumour = _having(box, tumor_labels)
    fraction = float(tumour.sum() / (kidney | tumour).sum())
    if fraction > LARGE_TUMOUR:
        yield (
            Kind.LARGE_TUMOUR,
            f"tumour is {fraction:.4f} of kidney and tumour, above {LARGE_TUMOUR}",
        )


def find_parts(
    kidney: NDArray[np.bool_],  # (slices, rows, columns), a box of the volume
    first_column: int,
    geometry: Geometry,
) -> list[Part]:
    """Find the connected parts of at least 5 ml, the largest first.

    A box too large to number its voxels (labels strewn over a whole scan) is halved in rows and
    columns first; a pixel of the halves is kidney where one of its four is.
    """
    voxel_ml, column_mm = geometry.voxel_ml, geometry.spacing_mm[2]
    middle = (geometry.shape[2] - 1) / 2 - first_column
    while kidney.size > MOST_VOXELS:
        kidney, voxel_ml, column_mm = _halved(kidney), voxel_ml * 4, column_mm * 2
        middle = (middle - 0.5) / 2
    numbers = np.zeros(kidney.shape, np.int32)
    n_parts = ndimage.label(kidney, output=numbers)
    sizes = np.zeros(n_parts + 1, np.int64)
    for slice_ in numbers:
        counts = np.bincount(slice_.ravel())
        sizes[: len(counts)] += counts
    order = np.argsort(-sizes[1:], kind="stable")[:MOST_PARTS] + 1
    offsets_mm = (np.arange(kidney.shape[2]) - middle) * column_mm  # positive: the patient's left
    return [
        _part((numbers == number).sum(axis=(0, 1)), voxel_ml, offsets_mm)
        for number in order
        if sizes[number] * voxel_ml >= SMALLEST_PART_ML
    ]


def _having(box: LabelBox, labels: tuple[int, ...]) -> NDArray[np.bool_]:
    return np.isin(np.arange(256), labels)[box.labels]


def _part(
    profile: NDArray[np.int64],  # (columns,) voxels
    voxel_ml: float,
    offsets_mm: NDArray[np.floating],  # (columns,) from the midline
) -> Part:
    reached = offsets_mm[profile > 0]
    return Part(
        right_ml=float(profile[offsets_mm < 0].sum() * voxel_ml),
        left_ml=float(profile[offsets_mm > 0].sum() * voxel_ml),
        right_mm=float(-reached.min()),
        left_mm=float(reached.max()),
    )


def _halved(kidney: NDArray[np.bool_]) -> NDArray[np.bool_]:
    _, rows, columns = kidney.shape
    even = np.pad(kidney, ((0, 0), (0, rows % 2), (0, columns % 2)))
    half: NDArray[np.bool_] = even[:, ::2, ::2] | even[:, 1::2, ::2]
    half |= even[:, ::2, 1::2]
    half |= even[:, 1::2, 1::2]
    return half


def _note_ends(kidney: NDArray[np.bool_], box: LabelBox) -> Iterator[tuple[Kind, str]]:
    """Note a kidney that the field of view cuts above or below."""
    n_slices = box.geometry.shape[0]
    if box.first[0] == 0 and kidney[0].any():
        yield Kind.FIRST_SLICE, f"kidney on the topmost of {n_slices} slices"
    if box.place[0].stop == n_slices and kidney[-1].any():
        yield Kind.LAST_SLICE, f"kidney on the lowest of {n_slices} slices"


def _note_parts(parts: list[Part]) -> Iterator[tuple[Kind, str]]:
    """Note one kidney, joined kidneys, or a kidney across the midline.

    One part is two kidneys joined when it reaches as far out on both sides as kidneys lie. A single
    pelvic kidney does not. Where nothing lies on one side there is one kidney, with a tumour apart
    from it perhaps.
    """
    if not parts:
        return
    if len(parts) == 1 and min(parts[0].right_mm, parts[0].left_mm) >= FAR_OUT_MM:
        yield (
            Kind.JOINED,
            (
                f"one part reaches {parts[0].right_mm:.0f} mm to the right of the image's midline "
                f"and {parts[0].left_mm:.0f} mm to the left"
            ),
        )
        return
    across = [part for part in parts if part.on_both_sides]
    right_ml, left_ml = sum(p.right_ml for p in parts), sum(p.left_ml for p in parts)
    if len(parts) == 1 or min(right_ml, left_ml) < SMALLEST_PART_ML:
        side = "right" if right_ml > left_ml else "left"
        yield Kind.ONE_KIDNEY, f"{max(right_ml, left_ml):.0f} ml on the {side}"
    for part in across[:1]:
        yield (
            Kind.ACROSS_MIDLINE,
            (
                f"one part has {part.right_ml:.0f} ml to the right of the image's midline "
                f"and {part.left_ml:.0f} ml to the left"
            ),
        )
