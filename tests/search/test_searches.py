"""A search from Python, from its beginning to an exported model."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from kidneyseg.errors import DataError, StudyError
from kidneyseg.search import Search, TrialFinished, TrialStarted, begin_search
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import study_names
from kidneyseg.settings import Environment

Begin = Callable[..., Search]


def as_toml(environment: Environment) -> str:
    """Settings as a file has them; JSON's values are TOML's, too."""
    parts = json.loads(environment.model_dump_json(exclude_none=True))
    lines = []
    for part, values in parts.items():
        lines += [f"[{part}]", *(f"{key} = {json.dumps(value)}" for key, value in values.items())]
    return "\n".join(lines)


@pytest.fixture
def begin(environment: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Begin:
    """Begin the study `lr_loss` on the tiny data, in an empty current folder."""
    monkeypatch.chdir(tmp_path)
    for name in ("KIDNEYSEG_STORAGE", "KIDNEYSEG_STORAGE_FILE"):
        monkeypatch.delenv(name, raising=False)
    machine = tmp_path / "tiny.toml"
    machine.write_text(as_toml(environment), encoding="utf-8")

    def begin(**options: object) -> Search:
        return begin_search("lr_loss", environment=str(machine), **options)  # type: ignore[arg-type]

    return begin


@pytest.mark.slow
def test_a_search_yields_its_events_and_exports_the_best_trial(
    begin: Begin, tmp_path: Path
) -> None:
    search = begin(values={"batch_size": 8, "training.max_epochs": 1})
    events = list(search.run(2))
    assert [type(event) for event in events].count(TrialFinished) == 2
    status = search.status()
    assert (status.study, status.finished, status.n_trials) == ("lr_loss", 2, 2)
    exported = search.export(tmp_path / "best")
    assert exported.trial == search.best().number
    assert exported.description.hyperparameters.batch_size == 8
    assert (tmp_path / "best" / "model.safetensors").is_file()
    assert list(begin(values={"batch_size": 8, "training.max_epochs": 1}).run(2)) == []


@pytest.mark.usefixtures("quick_trials")
def test_a_loop_that_is_left_goes_on_later_to_the_exact_budget(begin: Begin) -> None:
    search = begin()
    for event in search.run(3):
        if isinstance(event, TrialStarted):
            break
    assert search.status().states["running"] == 0
    list(search.run(3))
    ended = search.status().states
    assert ended == {"complete": 3, "pruned": 0, "running": 0, "waiting": 0, "failed": 0}


@pytest.mark.usefixtures("quick_trials")
def test_several_devices_share_the_budget(begin: Begin) -> None:
    search = begin()
    list(search.run(4, devices=["cpu", "cpu"]))
    assert search.status().finished == 4


def test_without_a_complete_trial_none_is_best(begin: Begin) -> None:
    with pytest.raises(StudyError, match="no trial is complete yet"):
        begin().best()


def test_a_budget_below_one_is_refused(begin: Begin) -> None:
    with pytest.raises(StudyError, match="expected 1 or more"):
        list(begin().run(0))


def test_data_that_are_not_there_leave_no_study_behind(begin: Begin, tmp_path: Path) -> None:
    with pytest.raises(DataError):
        begin(data=tmp_path / "nothing")
    assert study_names(open_storage("sqlite:///runs/studies.db")) == []


def test_the_default_database_lies_in_the_runs_folder(begin: Begin, tmp_path: Path) -> None:
    begin()
    assert (tmp_path / "runs" / "studies.db").is_file()
