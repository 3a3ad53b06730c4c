"""Pictures of the best trial as they stand in the page."""

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from kidneyseg.search.folder_store import FolderStore
from kidneyseg.search.report import pictures as module
from kidneyseg.search.report.pictures import Picture, read_pictures, renamed
from kidneyseg.search.study_record import StudyRecord
from kidneyseg.training.pictures import PREDICTED_COLOUR, TRUE_COLOUR

from .conftest import complete

BuildRecord = Callable[..., StudyRecord]
DICE = {"a": 0.9, "b": 0.7, "c": 0.8}


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    return FolderStore(tmp_path / "artifacts")


def png(size: tuple[int, int] = (8, 6), words: str = "") -> bytes:
    out, info = io.BytesIO(), PngInfo()
    info.add_text("Patient", words)
    Image.new("RGB", size, (9, 9, 9)).save(out, format="PNG", pnginfo=info)
    return out.getvalue()


def record_with(build_record: BuildRecord, store: FolderStore, **files: bytes) -> StudyRecord:
    for name, content in files.items():
        store.write(name, io.BytesIO(content))
    artifacts = tuple((f"{name}.png", name) for name in files)
    return build_record([complete(0, 0.8, dice_of_case=DICE)], artifacts=artifacts)


def decoded(picture: Picture) -> Image.Image:
    head, content = picture.data_uri.split(",")
    assert head == "data:image/png;base64"
    image = Image.open(io.BytesIO(base64.b64decode(content)))
    image.load()
    return image


def test_the_case_of_lowest_dice_comes_first(build_record: BuildRecord, store: FolderStore) -> None:
    found = read_pictures(store, record_with(build_record, store, a=png(), b=png(), c=png()))
    assert [(each.case, each.rank, each.dice) for each in found] == [
        ("b", 1, 0.7),
        ("c", 2, 0.8),
        ("a", 3, 0.9),
    ]


def test_nothing_of_the_file_but_its_pixels_is_kept(
    build_record: BuildRecord, store: FolderStore
) -> None:
    record = record_with(build_record, store, a=png(words="Erika Mustermann"))
    (found,) = read_pictures(store, record)
    image = decoded(found)
    assert (image.size, image.info) == ((8, 6), {})


def test_what_is_no_picture_or_gone_is_left_out(
    build_record: BuildRecord, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_PX", 100)
    record = record_with(
        build_record, store, a=b"<svg onload=alert(1)>", b=png()[:40], c=png(), d=png((101, 2))
    )
    (store.folder / "c").unlink()
    assert read_pictures(store, record) == []


def test_large_ones_are_reduced(
    build_record: BuildRecord, store: FolderStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "WIDTH_PX", 20)
    (found,) = read_pictures(store, record_with(build_record, store, a=png((50, 30))))
    assert decoded(found).width <= 20


def test_of_many_the_worst_and_the_best_half_are_shown(
    build_record: BuildRecord, store: FolderStore
) -> None:
    dice = {f"c{k:02d}": k / 100 for k in range(30)}
    for name in dice:
        store.write(name, io.BytesIO(png()))
    artifacts = tuple((f"{name}.png", name) for name in dice)
    record = build_record([complete(0, 0.8, dice_of_case=dice)], artifacts=artifacts)
    ranks = [each.rank for each in read_pictures(store, record)]
    assert ranks == [*range(1, 7), *range(25, 31)]


def test_outlines_are_three_pixels_wide_the_predicted_one_on_top(
    build_record: BuildRecord, store: FolderStore
) -> None:
    pixels = np.zeros((9, 9, 3), np.uint8)
    pixels[2, 4], pixels[5, 4] = TRUE_COLOUR, PREDICTED_COLOUR
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, format="PNG")
    (found,) = read_pictures(store, record_with(build_record, store, a=out.getvalue()))
    seen = np.array(decoded(found))
    assert (seen[1:4, 3:6] == TRUE_COLOUR).all()
    assert (seen[4:7, 3:6] == PREDICTED_COLOUR).all()
    assert (seen == 0).all(axis=-1).sum() == 81 - 18


def test_other_names_leave_out_what_has_none() -> None:
    pictures = [Picture(case=name, rank=1, dice=0.5, data_uri="") for name in ("a", "b")]
    assert [each.case for each in renamed(pictures, {"a": "x"})] == ["x"]
