"""Phantoms on disk: a data folder like any other, made once."""

import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from kidneyseg.ct.cases import list_cases, read_case
from kidneyseg.ct.volumes import read_labels, write_kits19_case
from kidneyseg.errors import DataError
from kidneyseg.phantom import data_set
from kidneyseg.phantom.data_set import (
    DEMO_CASES,
    find_segmentations,
    make_demo_phantoms,
    write_phantoms,
    write_phantoms_around,
)
from kidneyseg.phantom.drawing import Phantom, PhantomSize, draw_phantom

SMALL = PhantomSize.SMALL


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Draw tiny phantoms of noise instead; the numbers of those drawn."""
    numbers: list[int] = []

    def draw(seed: int, case_number: int, size: PhantomSize) -> Phantom:
        numbers.append(case_number)
        image = np.random.default_rng([seed, case_number]).integers(-100, 100, (4, 16, 16))
        return Phantom(
            image=image.astype(np.int16),
            labels=(image > 0).astype(np.uint8),
            spacing_mm=(5.0, 2.0, 2.0),
        )

    monkeypatch.setattr(data_set, "draw_phantom", draw)
    monkeypatch.setattr(data_set, "count_processes", lambda *_: 1)
    return numbers


def content(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_a_written_phantom_is_a_case_like_any_other(tmp_path: Path) -> None:
    written = list(write_phantoms(tmp_path / "data", 1, 3, SMALL))
    [case] = list_cases(tmp_path / "data")
    assert written == [case.imaging.parent] == [tmp_path / "data" / "case_00000"]
    volumes = read_case(case, (1, 2))
    phantom = draw_phantom(3, 0, SMALL)
    np.testing.assert_array_equal(volumes.scan_hu, phantom.image.clip(-1024, 3071))
    np.testing.assert_array_equal(volumes.kidney, phantom.labels > 0)
    assert volumes.geometry.spacing_mm == pytest.approx(phantom.spacing_mm)


def test_each_case_is_given_when_it_is_whole(tmp_path: Path, drawn: list[int]) -> None:
    for number, case in enumerate(write_phantoms(tmp_path / "data", 3, 0, SMALL)):
        assert case.name == f"case_{number:05d}"
        assert {p.name for p in case.iterdir()} == {"imaging.nii.gz", "segmentation.nii.gz"}
        assert drawn == list(range(number + 1))


def test_the_same_seed_gives_the_same_files(tmp_path: Path, drawn: list[int]) -> None:
    for name, seed in (("first", 1), ("second", 1), ("other", 2)):
        list(write_phantoms(tmp_path / name, 2, seed, SMALL))
    assert content(tmp_path / "first") == content(tmp_path / "second")
    assert content(tmp_path / "first") != content(tmp_path / "other")


def test_it_goes_on_where_it_was_interrupted(tmp_path: Path, drawn: list[int]) -> None:
    list(write_phantoms(tmp_path / "whole", 4, 0, SMALL))
    drawn.clear()
    drawing = write_phantoms(tmp_path / "data", 4, 0, SMALL)
    next(drawing), next(drawing)
    drawing.close()  # type: ignore[attr-defined]
    killed = tmp_path / "data" / ".case_00002.0123456789abcdef.tmp"
    killed.mkdir()
    (killed / "imaging.nii.gz").write_bytes(b"half")
    names = [path.name for path in write_phantoms(tmp_path / "data", 4, 0, SMALL)]
    assert names == [f"case_{number:05d}" for number in range(4)]
    assert drawn == [0, 1, 2, 3]  # none twice
    assert content(tmp_path / "data") == content(tmp_path / "whole")


def test_a_case_half_written_is_not_there(
    tmp_path: Path, drawn: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    def break_off(folder: Path, *_: object) -> None:
        (folder / "imaging.nii.gz").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(data_set, "write_kits19_case", break_off)
        with pytest.raises(KeyboardInterrupt):
            list(write_phantoms(tmp_path, 2, 0, SMALL))
    assert [path.name for path in tmp_path.iterdir()] == ["phantoms.json"]
    assert len(list(write_phantoms(tmp_path, 2, 0, SMALL))) == 2


def test_more_of_the_same_are_added(tmp_path: Path, drawn: list[int]) -> None:
    list(write_phantoms(tmp_path, 2, 0, SMALL))
    assert len(list(write_phantoms(tmp_path, 3, 0, SMALL))) == 3
    assert drawn == [0, 1, 2]


@pytest.mark.parametrize(("seed", "size"), [(1, SMALL), (0, PhantomSize.FULL)])
def test_others_are_not_mixed_in(
    tmp_path: Path, drawn: list[int], seed: int, size: PhantomSize
) -> None:
    list(write_phantoms(tmp_path, 1, 0, SMALL))
    before = content(tmp_path)
    with pytest.raises(DataError) as caught:
        list(write_phantoms(tmp_path, 2, seed, size))
    assert str(caught.value) == (
        f"{tmp_path}: holds phantoms of --size small with --seed 0; expected the same command "
        "again, or a new folder for others"
    )
    assert content(tmp_path) == before


def test_an_empty_folder_is_taken(tmp_path: Path, drawn: list[int]) -> None:
    assert len(list(write_phantoms(tmp_path, 2, 0, SMALL))) == 2


def test_a_folder_that_holds_something_is_refused(tmp_path: Path, drawn: list[int]) -> None:
    (tmp_path / "notes.txt").write_text("mine", encoding="utf-8")
    for folder in (tmp_path, tmp_path / "notes.txt"):
        with pytest.raises(DataError) as caught:
            list(write_phantoms(folder, 2, 0, SMALL))
        assert str(caught.value).startswith(f"{folder}: is not an empty folder; expected a new one")
    assert drawn == []
    assert content(tmp_path) == {"notes.txt": b"mine"}


def test_the_demo_set_is_made_once(tmp_path: Path, drawn: list[int]) -> None:
    folder = tmp_path / "runs" / "phantom"
    assert len(list(make_demo_phantoms(folder))) == DEMO_CASES
    assert [case.name for case in list_cases(folder)] == [f"case_{n:05d}" for n in range(12)]
    assert list(make_demo_phantoms(folder)) == []
    assert len(drawn) == DEMO_CASES


def test_many_who_ask_at_once_make_one_demo_set(tmp_path: Path, drawn: list[int]) -> None:
    def make(_: int) -> int:
        return len(list(make_demo_phantoms(tmp_path / "phantom")))

    with ThreadPoolExecutor(3) as threads:
        assert sorted(threads.map(make, range(3))) == [0, 0, DEMO_CASES]
    assert len(drawn) == DEMO_CASES


def test_a_demo_set_cut_off_is_not_there(tmp_path: Path, drawn: list[int]) -> None:
    making: Iterator[Path] = make_demo_phantoms(tmp_path / "phantom")
    next(making)
    making.close()  # type: ignore[attr-defined]
    assert {path.name for path in tmp_path.iterdir()} <= {"phantom.lock"}
    assert len(list(make_demo_phantoms(tmp_path / "phantom"))) == DEMO_CASES


@pytest.fixture
def labels(tmp_path: Path) -> Path:
    """Two label maps with a licence notice beside them."""
    folder = tmp_path / "labels"
    for name, seed in (("case_00004", 1), ("case_00009", 2)):
        phantom = draw_phantom(seed, 0, SMALL)
        thin = phantom.labels[8:20:4]
        write_kits19_case(
            folder / name, thin.astype(np.int16), thin, (20.0, *phantom.spacing_mm[1:])
        )
        (folder / name / "imaging.nii.gz").unlink()
    (folder / "LICENSE").write_text("for research alone", encoding="utf-8")
    return folder


def test_a_scan_drawn_around_labels_keeps_them_and_their_licence(
    labels: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    maps = find_segmentations(labels)
    written = write_phantoms_around(out, maps, 0)  # in the order in which they are done
    assert sorted(case.name for case in written) == ["case_00004", "case_00009"]
    assert (out / "LICENSE").read_text(encoding="utf-8") == "for research alone"
    for case, source in zip(list_cases(out), maps, strict=True):
        theirs = read_labels(source.path)
        ours = read_labels(case.segmentation)
        np.testing.assert_array_equal(ours.array, theirs.array)
        assert ours.geometry.spacing_mm == pytest.approx(theirs.geometry.spacing_mm)
        scan = read_case(case, (1, 2)).scan_hu
        kidney = theirs.array == 1
        assert 60 < np.median(scan[kidney]) < 250
        assert (scan < -800).any()


def test_several_processes_draw_the_same_bytes(labels: Path, tmp_path: Path) -> None:
    maps = find_segmentations(labels)
    for name, n_processes in (("one", 1), ("two", 2)):
        written = write_phantoms_around(tmp_path / name, maps, 0, n_processes=n_processes)
        assert sorted(case.name for case in written) == ["case_00004", "case_00009"]
    assert content(tmp_path / "one") == content(tmp_path / "two")


def test_drawing_around_labels_goes_on_while_they_are_the_same(
    labels: Path, tmp_path: Path
) -> None:
    out, maps = tmp_path / "out", find_segmentations(labels)
    list(write_phantoms_around(out, maps[:1], 0))
    first = content(out / "case_00004")
    assert len(list(write_phantoms_around(out, maps, 0, n_processes=1))) == 2
    assert len(list(write_phantoms_around(out, maps[:1], 0))) == 1
    assert content(out / "case_00004") == first
    maps[0].path.write_bytes(maps[1].path.read_bytes())
    with pytest.raises(DataError, match="holds phantoms around label maps with --seed 0"):
        list(write_phantoms_around(out, maps, 0))


def test_label_maps_of_nnunet_and_of_a_table_are_found(labels: Path, tmp_path: Path) -> None:
    nnunet = tmp_path / "nnunet"
    (nnunet / "labelsTr").mkdir(parents=True)
    rows = ["case,imaging,segmentation"]
    for number, one in enumerate(find_segmentations(labels)):
        shutil.copy(one.path, nnunet / "labelsTr" / f"kidney_{number}.nii.gz")
        rows.append(f"scan {number},,labelsTr/kidney_{number}.nii.gz")
    (nnunet / "COPYING").write_text("share alike", encoding="utf-8")
    (nnunet / "cases.csv").write_text("\n".join(rows), encoding="utf-8")
    found = {data: find_segmentations(data) for data in (nnunet, nnunet / "cases.csv")}
    assert [[one.name for one in maps] for maps in found.values()] == [
        ["kidney_0", "kidney_1"],
        ["scan 0", "scan 1"],
    ]
    for number, maps in enumerate(found.values()):
        out = tmp_path / f"out_{number}"
        (drawn,) = write_phantoms_around(out, maps[:1], 0)
        assert drawn.name == maps[0].name
        assert (out / "COPYING").read_text(encoding="utf-8") == "share alike"


def test_a_folder_without_label_maps_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"no labelled case; expected case_00000/"):
        find_segmentations(tmp_path)


def test_a_label_map_that_a_table_names_in_vain_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cases.csv").write_text("case,imaging,segmentation\na,,a.nii.gz", encoding="utf-8")
    maps = find_segmentations(tmp_path / "cases.csv")
    with pytest.raises(DataError, match=r"a\.nii\.gz: no such file; expected the label map of a"):
        list(write_phantoms_around(tmp_path / "out", maps, 0))
