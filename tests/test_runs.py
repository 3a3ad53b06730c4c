"""Where everything lies below `runs/`."""

from pathlib import Path

import pytest
from sqlalchemy import make_url

from kidneyseg.errors import SettingsError
from kidneyseg.runs import Runs, check_study_name
from kidneyseg.settings import Environment


def environment(**data: object) -> Environment:
    return Environment.model_validate({"data": {"downsampling": 2, "slice_size": (16, 16), **data}})


def test_files_lie_where_the_documentation_says() -> None:
    runs = Runs(Path("runs"))
    assert runs.phantom == Path("runs/phantom")
    assert runs.cache(environment()) == Path("runs/cache")
    assert runs.model("lr_loss", 7) == Path("runs/lr_loss/trial_00007/model")
    assert runs.tensorboard("lr_loss", 7) == Path("runs/lr_loss/trial_00007/tensorboard")
    assert runs.pictures("lr_loss", 7) == Path("runs/lr_loss/trial_00007/pictures")
    assert runs.artifacts == Path("runs/artifacts")
    split = "0123456789abcdef" * 4
    expected = Path("runs/splits/0123456789abcdef/evaluation_data.json")
    assert runs.evaluation_data(split) == expected


def test_the_cache_lies_where_the_settings_say() -> None:
    assert Runs(Path("runs")).cache(environment(cache="/disk")) == Path("/disk")


@pytest.mark.parametrize("folder", ["runs", "/data/my runs", "/data/Läufe", "/data/a#b&c"])
def test_the_database_is_a_file_of_the_folder(folder: str) -> None:
    url = make_url(Runs(Path(folder)).database_url)
    assert url.drivername == "sqlite"
    assert url.database == f"{folder}/studies.db"


@pytest.mark.parametrize("name", ["lr_loss", "2026-01-31", "a", "a.b-c_d", "x" * 100])
def test_names_that_a_folder_can_have_are_taken(name: str) -> None:
    assert check_study_name(name) == name
    assert Runs(Path("runs")).study(name).parent == Path("runs")


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-rf", "a b", "a\n", "ä", "x" * 101],
)
def test_names_that_leave_the_folder_are_refused(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        check_study_name(name)
    assert str(caught.value).startswith(f"study name {name!r}: expected letters, digits,")


def test_names_of_what_else_lies_there_are_refused() -> None:
    runs = Runs(Path("runs"))
    database = Path(make_url(runs.database_url).database or "")
    others = [
        runs.phantom,
        runs.artifacts,
        runs.cache(environment()),
        database,
        runs.evaluation_data("0").parents[1],
    ]
    for path in others:
        assert path.parent == Path("runs")
        with pytest.raises(SettingsError, match=f"study name '{path.name}'"):
            runs.study(path.name)
