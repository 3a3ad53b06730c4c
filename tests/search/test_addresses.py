"""Where the database's address comes from."""

from pathlib import Path

import pytest

from kidneyseg.errors import StorageError
from kidneyseg.runs import Runs
from kidneyseg.search.addresses import storage_address

ADDRESS = "postgresql://kidneyseg:secret@database/trials"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("KIDNEYSEG_STORAGE", raising=False)
    path = tmp_path / "storage"
    path.write_text(f"{ADDRESS}\n", encoding="utf-8")
    monkeypatch.setenv("KIDNEYSEG_STORAGE_FILE", str(path))
    return path


@pytest.mark.usefixtures("file")
def test_the_option_comes_before_the_variable_and_that_before_the_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    runs = Runs(Path("runs"))
    assert storage_address(None, runs) == ADDRESS
    monkeypatch.setenv("KIDNEYSEG_STORAGE", "sqlite:///variable.db")
    assert storage_address(None, runs) == "sqlite:///variable.db"
    assert storage_address("sqlite:///option.db", runs) == "sqlite:///option.db"


def test_without_any_it_is_a_file_in_the_runs_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("KIDNEYSEG_STORAGE", "KIDNEYSEG_STORAGE_FILE"):
        monkeypatch.delenv(name, raising=False)
    assert storage_address(None, Runs(Path("runs"))) == "sqlite:///runs/studies.db"


def test_a_file_that_is_missing_or_empty_or_no_text_is_named_and_its_content_is_not(
    file: Path,
) -> None:
    file.write_text("\n", encoding="utf-8")
    with pytest.raises(StorageError, match=r"KIDNEYSEG_STORAGE_FILE = .*storage: empty"):
        storage_address(None, Runs(Path("runs")))
    file.write_bytes(b"secret\xff")
    with pytest.raises(StorageError, match="it is no text") as caught:
        storage_address(None, Runs(Path("runs")))
    assert "secret" not in str(caught.value)
    file.unlink()
    with pytest.raises(StorageError, match="No such file"):
        storage_address(None, Runs(Path("runs")))
