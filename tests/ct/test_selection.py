"""Which cases are used: names and tumours."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kidneyseg.ct import label_sizes as label_sizes_module
from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case, list_cases
from kidneyseg.ct.label_sizes import LabelSizeMemory, LabelSizes
from kidneyseg.ct.selection import SelectedCases, select_cases
from kidneyseg.ct.volumes import Volume, read_labels, write_kits19_case
from kidneyseg.errors import DataError
from kidneyseg.settings import DataSettings

TUMORS = (0, 10, 20, 30, 40)  # voxels of 100 kidney and tumour, by case


def settings_of(**changed: object) -> DataSettings:
    return DataSettings.model_validate({"downsampling": 2, "slice_size": (16, 16), **changed})


@pytest.fixture
def cases(tmp_path: Path) -> list[Case]:
    for number, n_tumor in enumerate(TUMORS):
        labels = np.zeros((4, 10, 10), np.uint8)
        labels[2] = 1
        labels[2].flat[:n_tumor] = 2
        scan = np.full(labels.shape, number, np.int16)
        folder = tmp_path / "data" / f"case_{number}"
        write_kits19_case(folder, scan, labels, spacing_mm=(5.0, 1.0, 1.0))
    return list_cases(tmp_path / "data")


@pytest.fixture
def select(tmp_path: Path, cases: list[Case]) -> Callable[..., SelectedCases]:
    def choose(**changed: object) -> SelectedCases:
        return select_cases(cases, SliceCache(tmp_path / "cache", settings_of(**changed)))

    return choose


def test_all_cases_are_used_unless_something_is_said(select: Callable[..., SelectedCases]) -> None:
    selected = select()
    assert list(selected.cases) == [f"case_{number}" for number in range(5)]
    assert not selected.left_out


@pytest.mark.parametrize(("most", "kept"), [(0.3, 4), (0.2999, 3), (1.0, 5)])
def test_cases_with_more_tumour_are_left_out(
    select: Callable[..., SelectedCases], most: float, kept: int
) -> None:
    selected = select(max_tumor_fraction=most)
    assert list(selected.cases) == [f"case_{number}" for number in range(kept)]
    assert selected.left_out == {f"case_{number}" for number in range(kept, 5)}


def test_which_labels_are_tumour_is_a_setting(select: Callable[..., SelectedCases]) -> None:
    selected = select(max_tumor_fraction=0.8, tumor_labels=(1,))
    assert list(selected.cases) == ["case_2", "case_3", "case_4"]


def test_names_are_included_and_excluded(select: Callable[..., SelectedCases]) -> None:
    only = [f"case_{number}" for number in (0, 1, 3, 4)]
    assert list(select(include=only).cases) == only
    assert list(select(exclude=("case_2",)).cases) == only
    assert list(select(include=only, exclude=("case_0",)).cases) == only[1:]


@pytest.mark.parametrize("key", ["include", "exclude"])
def test_a_name_that_no_case_has_is_refused(select: Callable[..., SelectedCases], key: str) -> None:
    with pytest.raises(DataError) as caught:
        select(**{key: ("case_0", "case_1", "case_2", "case_00003")})
    assert str(caught.value) == (
        f"data.{key}: no labelled case is called 'case_00003'; expected names such as case_0"
    )


def test_too_few_cases_left_are_refused(select: Callable[..., SelectedCases]) -> None:
    with pytest.raises(DataError, match="leave 2 of 5 cases; expected at least 3"):
        select(max_tumor_fraction=0.1)


def test_two_cases_with_one_scan_are_refused(
    select: Callable[..., SelectedCases], cases: list[Case]
) -> None:
    cases[3].imaging.write_bytes(cases[1].imaging.read_bytes())
    with pytest.raises(DataError) as caught:
        select()
    words = str(caught.value)
    assert words.startswith(f"{cases[3].imaging}: case_3 has the same scan as case_1; ")
    assert words.endswith('data.exclude=["case_3"]')
    assert "\n" not in words
    assert "case_3" not in select(exclude=("case_3",)).cases
    assert "case_1" not in select(exclude=("case_1",)).cases


def test_the_fingerprint_is_that_of_the_cases_used(
    select: Callable[..., SelectedCases], cases: list[Case]
) -> None:
    before, all_before = select(exclude=("case_4",)).fingerprint, select().fingerprint
    cases[4].imaging.write_bytes(b"changed")
    assert select(exclude=("case_4",)).fingerprint == before
    assert select().fingerprint != all_before


def test_label_maps_are_read_once(
    select: Callable[..., SelectedCases], cases: list[Case], monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def remember(path: Path) -> Volume[np.uint8]:
        read.append(path.parent.name)
        return read_labels(path)

    monkeypatch.setattr(label_sizes_module, "read_labels", remember)
    select()
    select(max_tumor_fraction=0.3, kidney_labels=(1, 2, 3))
    assert read == [case.name for case in cases]


def test_several_processes_read_the_same(
    select: Callable[..., SelectedCases], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(label_sizes_module, "MANY_BYTES", 0)
    monkeypatch.setattr(label_sizes_module, "count_processes", lambda *_: 2)
    monkeypatch.setattr(label_sizes_module, "read_labels", None)  # not here
    assert list(select(max_tumor_fraction=0.3).cases) == [f"case_{number}" for number in range(4)]


def test_a_memory_that_is_damaged_is_made_anew(
    select: Callable[..., SelectedCases], tmp_path: Path
) -> None:
    before = select()
    for path in (tmp_path / "cache" / "label_sizes").iterdir():
        path.write_bytes(b"\xff")
    assert select() == before


@pytest.mark.parametrize(
    ("slice_mm", "tumor_voxels", "stratum"),
    [
        (0.5, 0, (0, 0)),
        (1.99, 9_999, (0, 0)),
        (2.0, 10_000, (1, 1)),
        (3.0, 99_999, (1, 1)),
        (5.0, 100_000, (2, 2)),
    ],
)
def test_strata_are_of_slice_thickness_and_tumour_volume(
    slice_mm: float, tumor_voxels: int, stratum: tuple[int, int]
) -> None:
    sizes = LabelSizes(voxels={1: 5, 2: tumor_voxels}, voxel_ml=0.001, slice_mm=slice_mm)
    assert sizes.stratum(settings_of()) == stratum


def test_no_kidney_and_no_tumour_is_no_share() -> None:
    sizes = LabelSizes(voxels={}, voxel_ml=1, slice_mm=1)
    assert sizes.tumor_fraction(settings_of()) == 0


def test_sizes_of_a_real_label_map(real_labels: Callable[[str], Path], tmp_path: Path) -> None:
    path = real_labels("case_00165")
    cache = SliceCache(tmp_path, settings_of())
    case = cache.fingerprints.of_case(Case(name="a", imaging=path, segmentation=path))
    sizes = LabelSizeMemory(tmp_path / "sizes").of_cases([case])["a"]
    labels = read_labels(path)
    assert sizes.voxels == {label: int((labels.array == label).sum()) for label in (1, 2)}
    assert sizes.slice_mm == labels.geometry.spacing_mm[0]
