"""Prepared once, whole or not there, and the same for all who ask."""

import errno
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
from filelock import FileLock

from kidneyseg.ct import cache as cache_module
from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case, CaseVolumes, read_case
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.preparation import (
    LABEL_SCALE,
    PREPARATION_VERSION,
    PreparedSlices,
    prepare_slices,
)
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.errors import DataError, PreparationError
from kidneyseg.settings import DataSettings

CUT_OFF = """
import os, signal, sys
from pathlib import Path
from kidneyseg.ct import cache, prepared_cases
from kidneyseg.ct.cases import list_cases
from kidneyseg.settings import DataSettings

folder, data, settings = sys.argv[1:]
whole = prepared_cases._store_array
def store(path, array):
    if path.name == "labels.npy":
        os.kill(os.getpid(), signal.SIGKILL)
    return whole(path, array)
prepared_cases._store_array = store
prepared = cache.SliceCache(Path(folder), DataSettings.model_validate_json(settings))
list(prepared.prepare([prepared.fingerprints.of_case(case) for case in list_cases(Path(data))]))
"""

PREPARE_SLOWLY = """
import sys, time
from pathlib import Path
from kidneyseg.ct import cache
from kidneyseg.ct.cases import list_cases
from kidneyseg.settings import DataSettings

folder, data, settings = sys.argv[1:]
whole = cache.store_case
def store(*arguments):
    whole(*arguments)
    time.sleep(0.05)
cache.store_case = store
prepared = cache.SliceCache(Path(folder), DataSettings.model_validate_json(settings))
list(prepared.prepare(prepared.fingerprints.of_cases(list_cases(Path(data)))))
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

    def read(case: Case, *labels: tuple[int, ...]) -> CaseVolumes:
        names.append(case.name)
        return read_case(case, *labels)

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
        {"margin_mm": 3.0},
        {"kidney_labels": (1, 2, 3)},
    ],
)
def test_settings_of_this_step_make_another_key(
    cache: SliceCache, case: CaseFingerprint, changed: dict[str, object]
) -> None:
    other = SliceCache(cache.folder, cache.settings.model_copy(update=changed))
    assert other.made_by(case).key != cache.made_by(case).key
    assert prepare_one(other, case).folder != prepare_one(cache, case).folder


def test_known_organs_are_prepared_as_background_under_the_same_key(
    cache: SliceCache, case: CaseFingerprint
) -> None:
    """What was prepared before the setting was there stays good."""
    known = cache.settings.model_copy(update={"kidney_labels": (1,), "other_labels": (2,)})
    prepared = prepare_one(SliceCache(cache.folder, known), case)
    assert prepared.labels().sum() < prepare_one(cache, case).labels().sum()
    more = cache.settings.model_copy(update={"other_labels": (5,)})
    assert SliceCache(cache.folder, more).made_by(case) == cache.made_by(case)


def test_every_target_spacing_makes_its_own_key(cache: SliceCache, case: CaseFingerprint) -> None:
    spacings_mm = (1.5, 2.0, 2.5)
    changes = [{"downsampling": None, "spacing_mm": spacing} for spacing in spacings_mm]
    settings = [cache.settings.model_copy(update=change) for change in changes]
    assert len({SliceCache(cache.folder, one).made_by(case).key for one in settings}) == 3


@pytest.mark.parametrize(
    "changed",
    [{"slice_size": (32, 32)}, {"hu_window": (0.0, 100.0)}, {"split_seed": 3}, {"folder": "/data"}],
)
def test_settings_of_later_steps_keep_the_key(
    cache: SliceCache, case: CaseFingerprint, changed: dict[str, object]
) -> None:
    other = SliceCache(cache.folder, cache.settings.model_copy(update=changed))
    assert other.made_by(case).key == cache.made_by(case).key


def test_content_and_code_make_another_key(
    cache: SliceCache, case: CaseFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache.made_by(case).key
    assert cache.made_by(replace(case, imaging="0" * 64)).key != before
    assert cache.made_by(replace(case, segmentation="0" * 64)).key != before
    monkeypatch.setattr(cache_module, "PREPARATION_VERSION", -1)
    assert cache.made_by(case).key != before


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
    manifest = json.loads(path.read_text(encoding="utf-8"))
    del manifest["first_slice"]
    path.write_text(json.dumps(manifest), encoding="utf-8")


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


def test_what_a_killed_process_left_is_swept(
    cache: SliceCache, case: CaseFingerprint, settings: DataSettings
) -> None:
    prepared = prepare_one(cache, case)
    leftover = cache.folder / f".{prepared.folder.name}.0123456789abcdef.tmp"
    leftover.mkdir()
    (leftover / "images.npy").touch(mode=0o444)
    with FileLock(cache.folder / "locks" / prepared.folder.name):
        prepare_one(cache, case)
        assert leftover.is_dir()  # somebody is building there
    prepare_one(cache, case)
    assert not leftover.exists()


def test_killed_at_any_moment_the_rest_is_built_by_the_next(
    cache: SliceCache, write_case: Callable[..., Case], reads: list[str], tmp_path: Path
) -> None:
    cases = [cache.fingerprints.of_case(write_case(f"case_{n:05d}", seed=n)) for n in range(8)]
    arguments = [str(cache.folder), str(tmp_path / "data"), cache.settings.model_dump_json()]
    child = subprocess.Popen([sys.executable, "-c", PREPARE_SLOWLY, *arguments])
    while len(list(cache.folder.glob("case_*"))) < 2:
        assert child.poll() is None
        time.sleep(0.001)
    child.kill()
    child.wait()
    whole = [case for case in cases if cache.find(case, hashes=True) is not None]
    assert len(whole) == len(list(cache.folder.glob("case_*")))

    prepared = sorted(cache.prepare(cases), key=lambda one: one.name)
    assert sorted(reads) == [case.case.name for case in cases if case not in whole]
    assert all(one.is_whole(hashes=True) for one in prepared)
    assert not list(cache.folder.glob(".*.tmp"))


def test_flipped_bits_are_found_by_hash_and_rebuilt_alone(
    cache: SliceCache, write_case: Callable[..., Case], reads: list[str]
) -> None:
    cases = [cache.fingerprints.of_case(write_case(f"case_0000{n}", seed=n)) for n in range(2)]
    before = list(cache.prepare(cases))
    path = before[1].folder / "images.npy"
    content = path.read_bytes()
    path.chmod(0o644)
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    reads.clear()

    list(cache.prepare(cases))
    assert reads == []  # sizes alone tell nothing
    assert sorted(cache.prepare(cases, hashes=True), key=lambda one: one.name) == before
    assert reads == ["case_00001"]
    assert path.read_bytes() == content


def test_processes_prepare_what_one_process_does(
    cache: SliceCache, write_case: Callable[..., Case], reads: list[str], tmp_path: Path
) -> None:
    cases = [cache.fingerprints.of_case(write_case(f"case_0000{n}", seed=n)) for n in range(3)]
    other = SliceCache(tmp_path / "other", cache.settings)
    expected = {one.name: one.manifest for one in other.prepare(cases)}
    reads.clear()
    found = {one.name: one.manifest for one in cache.prepare(cases, n_processes=2)}
    assert found == expected
    assert reads == []  # not here


def test_a_bad_case_in_another_process_is_named(
    cache: SliceCache, write_case: Callable[..., Case]
) -> None:
    cases = [cache.fingerprints.of_case(write_case(f"case_0000{n}", seed=n)) for n in range(2)]
    cases[1].case.imaging.write_bytes(b"")
    with pytest.raises(DataError, match=r"case_00001/imaging\.nii\.gz: cut or damaged"):
        list(cache.prepare(cases, n_processes=2))


def test_many_large_files_are_worth_processes(
    cache: SliceCache, case: CaseFingerprint, monkeypatch: pytest.MonkeyPatch, reads: list[str]
) -> None:
    monkeypatch.setattr(cache_module, "count_processes", lambda *_: 2)
    monkeypatch.setattr(cache_module, "MANY_BYTES", 1000)
    list(cache.prepare([case]))
    assert reads == []


def test_a_full_disk_is_said(
    cache: SliceCache, case: CaseFingerprint, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache_module, "store_case", full)
    with pytest.raises(PreparationError, match=r"cannot be written .*No space left.*data\.cache"):
        prepare_one(cache, case)
    assert not list(cache.folder.glob(".case*"))


def test_the_manifest_says_what_made_it(cache: SliceCache, case: CaseFingerprint) -> None:
    made_by = prepare_one(cache, case).manifest.made_by
    assert (made_by.imaging, made_by.segmentation) == (case.imaging, case.segmentation)
    assert made_by.version == PREPARATION_VERSION
    assert made_by.settings == {
        "kidney_labels": [1, 2],
        "downsampling": 2,
        "spacing_mm": None,
        "margin_slices": 1,
        "margin_mm": None,
    }


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
