"""What is said about where a number comes from."""

import importlib.metadata
import platform
import socket
from pathlib import Path

import pytest

from kidneyseg import provenance
from kidneyseg.provenance import (
    Provenance,
    code_fingerprint,
    find_provenance,
    host_name,
    library_versions,
    processor_name,
)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package of two files in the place of this one."""
    folder = tmp_path / "package"
    (folder / "ct").mkdir(parents=True)
    (folder / "provenance.py").write_text("one", encoding="utf-8")
    (folder / "ct" / "cache.py").write_text("two", encoding="utf-8")
    monkeypatch.setattr(provenance, "__file__", str(folder / "provenance.py"))
    return folder


def test_versions_name_all_that_decides_a_result() -> None:
    versions = library_versions()
    assert set(versions) == {"kidneyseg", "torch", "numpy", "nibabel", "optuna", "python"}
    assert versions["numpy"] == importlib.metadata.version("numpy")
    assert versions["python"] == platform.python_version()


def test_the_fingerprint_of_the_code_is_the_same_twice() -> None:
    assert code_fingerprint() == code_fingerprint()
    assert len(bytes.fromhex(code_fingerprint())) == 32


def test_the_fingerprint_does_not_depend_on_the_place(
    package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = code_fingerprint()
    moved = package.rename(tmp_path / "elsewhere")
    monkeypatch.setattr(provenance, "__file__", str(moved / "provenance.py"))
    assert code_fingerprint() == before


def test_a_changed_moved_or_new_file_changes_the_fingerprint(package: Path) -> None:
    found = [code_fingerprint()]
    (package / "ct" / "cache.py").write_text("2", encoding="utf-8")
    found.append(code_fingerprint())
    (package / "ct" / "cache.py").rename(package / "cache.py")
    found.append(code_fingerprint())
    (package / "ct" / "empty.py").write_text("", encoding="utf-8")
    found.append(code_fingerprint())
    assert len(set(found)) == len(found)


def test_compiled_files_do_not_count(package: Path) -> None:
    before = code_fingerprint()
    (package / "__pycache__").mkdir()
    (package / "__pycache__" / "cache.cpython-311.pyc").write_bytes(b"\0")
    assert code_fingerprint() == before


def test_the_host_has_its_name() -> None:
    assert host_name() == socket.gethostname()


def test_the_processor_has_the_name_that_the_system_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    told.write_text(
        "processor\t: 0\nmodel name\t: Some CPU: 3 GHz\nflags\t\t: fpu\n", encoding="utf-8"
    )
    monkeypatch.setattr(provenance, "PROCESSOR_FILE", told)
    assert processor_name() == "Some CPU: 3 GHz"


@pytest.mark.parametrize("content", [None, "", "processor: 0\n"])
def test_a_processor_without_a_name_is_known_by_its_architecture(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = tmp_path / "cpuinfo"
    if content is not None:
        told.write_text(content, encoding="utf-8")
    monkeypatch.setattr(provenance, "PROCESSOR_FILE", told)
    assert processor_name() == (platform.processor() or platform.machine()) != ""


def test_provenance_of_before_threads_and_processors_were_told_still_reads() -> None:
    older = {
        **dict.fromkeys(("data", "split", "code"), "0" * 64),
        "versions": {},
        "seed": 1,
        "device": "cpu",
        "host": "somewhere",
    }
    read = Provenance.model_validate(older)
    assert (read.processor, read.threads, read.gpu) == (None, None, None)


def test_the_provenance_of_a_training_names_data_code_and_machine() -> None:
    found = find_provenance(
        data="d", split="s", seed=7, device="cpu", threads=3, study="lr_loss", trial=5
    )
    assert (found.data, found.split, found.seed) == ("d", "s", 7)
    assert (found.study, found.trial) == ("lr_loss", 5)
    assert (found.code, found.versions) == (code_fingerprint(), library_versions())
    assert (found.device, found.host) == ("cpu", host_name())
    assert (found.processor, found.threads, found.gpu) == (processor_name(), 3, None)
