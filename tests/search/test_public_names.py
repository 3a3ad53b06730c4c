"""`kidneyseg.search` from outside: its names are there, and cost nothing until they are used."""

import subprocess
import sys

import pytest

import kidneyseg.search


@pytest.mark.parametrize("name", kidneyseg.search.__all__)
def test_every_public_name_is_there_and_documented(name: str) -> None:
    assert name in dir(kidneyseg.search)
    assert getattr(kidneyseg.search, name) is not None
    if name != "Event":  # a union
        assert getattr(kidneyseg.search, name).__doc__


def test_another_name_is_refused() -> None:
    with pytest.raises(AttributeError, match="no attribute 'begin_serach'"):
        kidneyseg.search.begin_serach  # type: ignore[attr-defined]  # noqa: B018


def test_processes_that_train_load_neither_optuna_nor_sqlalchemy() -> None:
    script = (
        "import sys, kidneyseg.search, kidneyseg.search.trial_process\n"
        "print(sorted({'optuna', 'sqlalchemy', 'torch'} & set(sys.modules)))"
    )
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True)
    assert told.stdout.strip() == b"['torch']"
