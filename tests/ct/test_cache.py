"""Prepared once, whole or not there, and the same for all who ask."""

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from kidneyseg.ct import cache as cache_module
from kidneyseg.ct.cache import PreparedCase, SliceCache
from kidneyseg.ct.cases import Case, CaseVolumes, read_case
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.preparation import LABEL_SCALE, PreparedSlices, prepare_slices
from kidneyseg.errors import DataError
from kidneyseg.settings import DataSettings

CUT_OFF = """
import os, signal, sys
from pathlib import Path
from kidneyseg.ct import cache
from kidneyseg.ct.cases import list_cases
from kidneyseg.settings import DataSettings

folder, data, settings = sys.argv[1:]
whole = cache._store_array
def store(path, array):
    if path.name == "labels.npy":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(path, array)
cache._store_array = store
prepared = cache.SliceCache(Path(folder), DataSettings.model_validate_json(settings))
list(prepared.prepare([prepared.fingerprints.of_case(case) for case in list_cases(Path(data))]))
"""


@pytest.fixture
def cache(tmp_path: Path, settings: DataSettings) -> SliceCache:
    return SliceCache(tmp_path / "cache", settings)


@pytest.fixture
def case(cache: SliceCache, write_case: Callable[..., Case]) -> CaseFingerprint:
    return cache.fingerprints.of_case(write_case())


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the cases read, as they are read."""
    names: list[str] = []

    def read(case: Case, kidney_labels: tuple[int, ...]) -> CaseVolumes:
        names.append(case.name)
        return read_case(case, kidney_labels)

    monkeypatch.setattr(cache_module, "read_case", read)
    return names


def prepare_one(cache: SliceCache, case: CaseFingerprint) -> PreparedCase:
    [prepared] = cache.prepare([case])
    return prepared


def test_the_cache_holds_what_preparation_gives(
    cache: SliceCache, case: CaseFingerprint, settings: DataSettings
) -> None:
    prepared = prepare_one(cache, case)
    expected = prepare_slices(read_case(case.case, (1, 2)), settings)
    np.testing.assert_array_equal(prepared.images(), expected.images)
    np.testing.assert_array_equal(prepared.labels(), expected.labels)
    manifest = prepared.manifest
    assert manifest.case == prepared.name == "case_00000"
    assert manifest.first_slice == expected.first_slice
    assert manifest.spacing_mm == expected.spacing_mm
    assert manifest.kidney_fraction == pytest.approx(expected.labels.mean() / LABEL_SCALE)


def test_the_manifest_tells_size_and_hash(cache: SliceCache, case: CaseFingerprint) -> None:
    prepared = prepare_one(cache, case)
    for name, stored in (
        ("images.npy", prepared.manifest.images),
        ("labels.npy", prepared.manifest.labels),
    ):
        content = (prepared.folder / name).read_bytes()
        assert stored.n_bytes == len(content)
        assert stored.sha256 == hashlib.sha256(content).hexdigest()
        assert stored.shape == np.load(prepared.folder / name).shape


def test_arrays_are_memory_mapped_and_read_only(cache: SliceCache, case: CaseFingerprint) -> None:
    prepared = prepare_one(cache, case)
    for array in (prepared.images(), prepared.labels()):
        assert isinstance(array, np.memmap)
        with pytest.raises(ValueError, match="read-only"):
            array[0] = 1


def test_a_prepared_case_is_not_read_again(
    cache: SliceCache, case: CaseFingerprint, reads: list[str], settings: DataSettings
) -> None:
    first = prepare_one(cache, case)
    case.case.imaging.unlink()
    again = prepare_one(SliceCache(cache.folder, settings), case)
    assert reads == ["case_00000"]
    assert again == first


def test_the_same_settings_in_another_cache_give_the_same_bytes(
    cache: SliceCache, case: CaseFingerprint, tmp_path: Path, settings: DataSettings
) -> None:
    first = prepare_one(cache, case)
    second = prepare_one(SliceCache(tmp_path / "other", settings), case)
    assert second.folder.name == first.folder.name
    for name in ("images.npy", "labels.npy", "manifest.json"):
        assert (second.folder / name).read_bytes() == (first.folder / name).read_bytes()


@pytest.mark.parametrize(
    "changed",
    [
        {"downsampling": 3},
        {"downsampling": None, "spacing_mm": 2.0},
        {"margin_slices": 2},
        {"kidney_labels": (1, 2, 3)},
    ],
)
def test_settings_of_this_step_make_another_key(
    cache: SliceCache, case: CaseFingerprint, changed: dict[str, object]
) -> None:
    other = SliceCache(cache.folder, cache.settings.model_copy(update=changed))
    assert other.key(case) != cache.key(case)
    assert prepare_one(other, case).folder != prepare_one(cache, case).folder


def test_every_target_spacing_makes_its_own_key(cache: SliceCache, case: CaseFingerprint) -> None:
    spacings_mm = (1.5, 2.0, 2.5)
    changes = [{"downsampling": None, "spacing_mm": spacing} for spacing in spacings_mm]
    settings = [cache.settings.model_copy(update=change) for change in changes]
    assert len({SliceCache(cache.folder, one).key(case) for one in settings}) == 3


@pytest.mark.parametrize(
    "changed",
    [{"slice_size": (32, 32)}, {"hu_window": (0.0, 100.0)}, {"split_seed": 3}, {"folder": "/data"}],
)
def test_settings_of_later_steps_keep_the_key(
    cache: SliceCache, case: CaseFingerprint, changed: dict[str, object]
) -> None:
    other = SliceCache(cache.folder, cache.settings.model_copy(update=changed))
    assert other.key(case) == cache.key(case)


def test_content_and_code_make_another_key(
    cache: SliceCache, case: CaseFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.key(case)
    assert cache.key(replace(case, imaging="0" * 64)) != before
    assert cache.key(replace(case, segmentation="0" * 64)) != before
    monkeypatch.setattr(cache_module, "PREPARATION_VERSION", -1)
    assert cache.key(case) != before


def test_a_changed_scan_is_prepared_anew(
    cache: SliceCache, case: CaseFingerprint, write_case: Callable[..., Case]
) -> None:
    before = prepare_one(cache, case)
    changed = prepare_one(cache, cache.fingerprints.of_case(write_case(seed=1)))
    assert changed.folder != before.folder
    assert not np.array_equal(changed.images(), before.images())


def cut(path: Path) -> None:
    content = path.read_bytes()
    path.unlink()
    path.write_bytes(content[:-5])


def fill_with_garbage(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")


def leave_a_key_out(path: Path) -> None:
    manifest = json.loads(path.read_text())
    del manifest["first_slice"]
    path.write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("images.npy", cut),
        ("labels.npy", cut),
        ("images.npy", Path.unlink),
        ("manifest.json", Path.unlink),
        ("manifest.json", cut),
        ("manifest.json", fill_with_garbage),
        ("manifest.json", leave_a_key_out),
    ],
)
def test_a_damaged_case_is_rebuilt_alone(
    cache: SliceCache,
    write_case: Callable[..., Case],
    reads: list[str],
    name: str,
    damage: Callable[[Path], None],
) -> None:
    cases = [cache.fingerprints.of_case(write_case(f"case_0000{n}", seed=n)) for n in range(2)]
    before = list(cache.prepare(cases))
    content = (before[1].folder / name).read_bytes()
    damage(before[1].folder / name)
    reads.clear()

    assert list(cache.prepare(cases)) == before
    assert reads == ["case_00001"]
    assert (before[1].folder / name).read_bytes() == content


def test_many_who_ask_at_once_build_once(
    cache: SliceCache,
    case: CaseFingerprint,
    reads: list[str],
    settings: DataSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def slowly(volumes: CaseVolumes, settings: DataSettings) -> PreparedSlices:
        time.sleep(0.1)
        return prepare_slices(volumes, settings)

    monkeypatch.setattr(cache_module, "prepare_slices", slowly)
    with ThreadPoolExecutor(4) as threads:
        caches = [SliceCache(cache.folder, settings) for _ in range(4)]
        prepared = list(threads.map(lambda one: prepare_one(one, case), caches))

    assert reads == ["case_00000"]
    assert all(one == prepared[0] for one in prepared)


def test_killed_in_the_middle_nothing_reads_as_good(
    cache: SliceCache, case: CaseFingerprint, reads: list[str], settings: DataSettings
) -> None:
    data = case.case.imaging.parent.parent
    arguments = [str(cache.folder), str(data), settings.model_dump_json()]
    child = subprocess.run([sys.executable, "-c", CUT_OFF, *arguments], check=False, timeout=60)
    assert child.returncode == -9
    assert list(cache.folder.glob(".case_00000-*/images.npy"))
    assert not list(cache.folder.glob("case_00000-*/"))

    prepared = prepare_one(cache, case)
    assert reads == ["case_00000"]
    assert prepared.images().shape == (5, 10, 12)


def test_cases_before_a_bad_one_stay_prepared(
    cache: SliceCache, write_case: Callable[..., Case], reads: list[str]
) -> None:
    good, bad = (write_case(f"case_0000{n}", seed=n) for n in range(2))
    bad.imaging.write_bytes(bad.imaging.read_bytes()[:-3])
    cases = [cache.fingerprints.of_case(case) for case in (good, bad)]
    with pytest.raises(DataError, match=r"case_00001/imaging\.nii\.gz: cut or damaged"):
        list(cache.prepare(cases))
    reads.clear()
    next(cache.prepare(cases))
    assert reads == []


def test_nothing_is_written_beside_the_data(cache: SliceCache, case: CaseFingerprint) -> None:
    data = case.case.imaging.parent.parent
    before = sorted((path, path.stat().st_mtime_ns) for path in data.rglob("*"))
    prepare_one(cache, case)
    assert sorted((path, path.stat().st_mtime_ns) for path in data.rglob("*")) == before
