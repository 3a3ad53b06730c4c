"""A current folder of its own for every test of the programs."""

from pathlib import Path

import pytest


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty current folder, without a database named by the environment."""
    monkeypatch.chdir(tmp_path)
    for name in ("KIDNEYSEG_STORAGE", "KIDNEYSEG_STORAGE_FILE", "KIDNEYSEG_PSEUDONYM_KEY_FILE"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path
