"""What a file holds, remembered; what a data set holds, in any order."""

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kidneyseg.ct.cases import Case
from kidneyseg.ct.fingerprints import CaseFingerprint, Fingerprints, data_fingerprint, digest


@pytest.fixture
def fingerprints(tmp_path: Path) -> Fingerprints:
    return Fingerprints(tmp_path / "memory")


@pytest.fixture
def scan(tmp_path: Path) -> Path:
    path = tmp_path / "imaging.nii.gz"
    path.write_bytes(b"a scan")
    return path


@pytest.fixture
def no_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any) -> None:
        raise AssertionError("the file was read again")

    monkeypatch.setattr(hashlib, "file_digest", refuse)


def test_a_fingerprint_is_the_sha256_of_the_file(fingerprints: Fingerprints, scan: Path) -> None:
    assert fingerprints.of_file(scan) == hashlib.sha256(b"a scan").hexdigest()


def test_a_known_file_is_not_read_again(
    fingerprints: Fingerprints, scan: Path, request: pytest.FixtureRequest
) -> None:
    before = fingerprints.of_file(scan)
    request.getfixturevalue("no_reading")
    assert fingerprints.of_file(scan) == before


def test_another_place_is_another_file(
    fingerprints: Fingerprints, scan: Path, request: pytest.FixtureRequest
) -> None:
    fingerprints.of_file(scan)
    moved = scan.rename(scan.with_name("segmentation.nii.gz"))
    request.getfixturevalue("no_reading")
    with pytest.raises(AssertionError, match="read again"):
        fingerprints.of_file(moved)


def test_a_changed_file_of_the_same_size_is_noticed(fingerprints: Fingerprints, scan: Path) -> None:
    fingerprints.of_file(scan)
    before = scan.stat()
    scan.write_bytes(b"b scan")
    os.utime(scan, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    assert fingerprints.of_file(scan) == hashlib.sha256(b"b scan").hexdigest()


def test_a_changed_size_is_noticed_at_the_same_time(fingerprints: Fingerprints, scan: Path) -> None:
    fingerprints.of_file(scan)
    before = scan.stat()
    scan.write_bytes(b"another scan")
    os.utime(scan, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert fingerprints.of_file(scan) == hashlib.sha256(b"another scan").hexdigest()


@pytest.mark.parametrize("torn", ["", "torn", "/somewhere|6|0\nabc"])
def test_a_torn_memory_is_not_believed(fingerprints: Fingerprints, scan: Path, torn: str) -> None:
    before = fingerprints.of_file(scan)
    [memory] = fingerprints.folder.iterdir()
    memory.write_text(torn, encoding="utf-8")
    assert fingerprints.of_file(scan) == before


def test_borders_between_parts_count() -> None:
    assert digest(["ab", "c"]) != digest(["a", "bc"])
    assert digest(["a", "b"]) != digest(["a,b"])
    assert digest(["a"]) != digest(["a", ""])


def test_the_order_of_cases_does_not_matter(
    write_case: Callable[..., Case], fingerprint_of: Callable[[Case], CaseFingerprint]
) -> None:
    cases = [fingerprint_of(write_case(f"case_0000{n}", seed=n)) for n in range(3)]
    assert data_fingerprint(cases) == data_fingerprint(cases[::-1])


def test_every_name_and_every_file_counts(
    write_case: Callable[..., Case], fingerprint_of: Callable[[Case], CaseFingerprint]
) -> None:
    first, second = (fingerprint_of(write_case(f"case_0000{n}", seed=n)) for n in range(2))
    renamed = replace(second, case=replace(second.case, name="case_00009"))
    changes = [
        [first, second],
        [first],
        [first, renamed],
        [first, replace(second, imaging=first.imaging)],
        [first, replace(second, segmentation="0" * 64)],
    ]
    assert len({data_fingerprint(cases) for cases in changes}) == len(changes)
