"""Once cases are split, nothing that a search does opens a scan or a label map of a test case."""

import builtins
import io
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kidneyseg.search.definition import StudyPlan
from kidneyseg.search.service import begin_study
from kidneyseg.search.status import read_status
from kidneyseg.search.storage import Storage
from kidneyseg.search.worker import work
from kidneyseg.settings import Environment


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every path that this process opens from here on."""
    paths: list[str] = []

    def watch(opener: Callable[..., Any]) -> Callable[..., Any]:
        def watched(path: Any, *arguments: Any, **named: Any) -> Any:
            paths.append(os.fsdecode(path) if isinstance(path, (str, bytes, Path)) else "")
            return opener(path, *arguments, **named)

        return watched

    for module in (builtins, io, os):
        monkeypatch.setattr(module, "open", watch(module.open))
    return paths


def test_a_search_runs_where_the_test_cases_are_gone(
    storage: Storage,
    environment: Environment,
    build_plan: Callable[..., StudyPlan],
    tiny_data: Path,
    tmp_path: Path,
    opened: list[str],
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(tiny_data, folder)
    changed = {"folder": folder, "cache": tmp_path / "cache"}
    data = environment.data.model_copy(update=changed)
    mine = environment.model_copy(update={"data": data})
    begun = begin_study(storage, "tiny", build_plan(), mine)
    (test_case,) = begun.cases.split.test
    assert any(path.endswith(f"{test_case}/segmentation.nii.gz") for path in opened)  # its sizes
    shutil.rmtree(folder / test_case)  # training processes do not find it, either
    opened.clear()
    assert len(list(begun.cases.prepare(hashes=True))) == 4
    list(work(begun.workplace("cpu"), 1))
    assert read_status(storage, "tiny").best is not None
    touched = [Path(path) for path in opened]
    (case,) = begun.cases.split.validation
    assert folder / case / "imaging.nii.gz" in touched  # watching works
    assert not [path for path in touched if folder / test_case in path.parents]
