"""Pictures of the best trial's slices, taken from its artifacts into the page."""

import io
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

import numpy as np
from optuna.artifacts.exceptions import ArtifactNotFound
from PIL import Image
from scipy.ndimage import binary_dilation

from kidneyseg.search.artifact_stores import ArtifactStore
from kidneyseg.search.report.case_figures import ranked_cases
from kidneyseg.search.study_record import StudyRecord
from kidneyseg.training.pictures import PREDICTED_COLOUR, TRUE_COLOUR

MOST = 12  # pictures of a page
MOST_PX = 4096  # of a picture that is read at all, each way
WIDTH_PX = 800  # of one in the page, at most
MOST_BYTES = 20_000_000  # of a file that is read


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A slice with outlines, as it stands in the page."""

    case: str
    rank: int | None  # of the case by Dice, from 1, the lowest first
    dice: float | None  # of the case
    data_uri: str  # PNG


def read_pictures(store: ArtifactStore, record: StudyRecord) -> list[Picture]:
    """Read the best trial's pictures, the case of lowest Dice first; at most `MOST`.

    Of more, the worst and the best half. One that is no longer in the store, or no picture, is
    left out. Raises StorageLostError where the store is away.
    """
    names = {PurePosixPath(name).stem: key for name, key in record.artifacts if _is_png(name)}
    best = record.best
    dice = {} if best is None else best.dice_of_case
    ranked = ranked_cases(dice)
    ordered = [name for name in ranked if name in names]
    ordered += sorted(names.keys() - set(ordered))
    if len(ordered) > MOST:
        ordered = [*ordered[: MOST // 2], *ordered[-MOST // 2 :]]
    read = ((name, _read(store, names[name])) for name in ordered)
    return [
        Picture(
            case=name,
            rank=ranked.index(name) + 1 if name in dice else None,
            dice=dice.get(name),
            data_uri=uri,
        )
        for name, uri in read
        if uri is not None
    ]


def renamed(pictures: list[Picture], names: Mapping[str, str]) -> list[Picture]:
    """The same pictures under other names; one whose case has none is left out."""
    return [
        Picture(case=names[each.case], rank=each.rank, dice=each.dice, data_uri=each.data_uri)
        for each in pictures
        if each.case in names
    ]


def _is_png(name: str) -> bool:
    return PurePosixPath(name).suffix == ".png"


def _read(store: ArtifactStore, artifact_id: str) -> str | None:
    """A picture as a data URI: its pixels alone, drawn anew without what its file says besides."""
    try:
        with store.open_reader(artifact_id) as reader:
            content = reader.read(MOST_BYTES)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as opened:
            if max(opened.size) > MOST_PX:
                return None
            image = opened.convert("RGB")
    except (ArtifactNotFound, OSError, SyntaxError, ValueError):  # PIL's, for what is no PNG
        return None
    if image.width > WIDTH_PX:
        image = image.reduce(-(-image.width // WIDTH_PX))
    out = io.BytesIO()
    _bolder(image).save(out, format="PNG", optimize=True)
    return f"data:image/png;base64,{b64encode(out.getvalue()).decode()}"


def _bolder(image: Image.Image) -> Image.Image:
    """The outlines three pixels wide: in a page they are seen at half their size and less."""
    pixels = np.array(image)
    thin = {colour: (pixels == colour).all(axis=-1) for colour in (TRUE_COLOUR, PREDICTED_COLOUR)}
    for colour, mask in thin.items():
        pixels[binary_dilation(mask, structure=np.ones((3, 3), bool))] = colour
    return Image.fromarray(pixels)
