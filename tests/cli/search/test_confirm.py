"""confirm, as a person gives it: from a search to a winner with an interval."""

import json
from pathlib import Path

import pytest

from kidneyseg.cli.main import kidneyseg_search

TINY = [
    "--set=data.downsampling=2",
    "--set=data.slice_size=[32,32]",
    "--set=network.filters=4",
    "--set=training.max_epochs=1",
]


@pytest.mark.slow
def test_a_search_is_confirmed_and_its_winner_trained_on_all(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tiny_data)]
    assert kidneyseg_search(["run", "--study", "lr_loss", "--n-trials", "2", *data, *TINY]) == 0
    confirm = ["confirm", "--study", "lr_loss", "--top", "2", "--seeds", "2", *data]
    capsys.readouterr()
    assert kidneyseg_search([*confirm, "--submit"]) == 0
    assert "4 trainings wait for workers" in capsys.readouterr().out
    assert kidneyseg_search([*confirm, "--refit-trial", "1"]) == 2
    assert "--refit-trial 1: expected --refit DIR with it" in capsys.readouterr().err
    assert kidneyseg_search([*confirm, "--refit", "final"]) == 0
    told = capsys.readouterr()
    assert "the winner is trial" in told.out
    assert "recommended, " in told.out
    assert (workplace / "final" / "model.safetensors").is_file()
    assert kidneyseg_search([*confirm, "--json"]) == 0
    verdict = json.loads(capsys.readouterr().out)
    assert verdict["n_seeds"] == 2
    assert {each["trial"] for each in verdict["candidates"]} == {0, 1}
    assert verdict["winner"] in verdict["like_winner"]
    assert f"trial {verdict['winner']}, trained on all: written to final" in told.err
    other = 1 - verdict["winner"]
    assert kidneyseg_search([*confirm, "--refit=other", f"--refit-trial={other}"]) == 0
    assert f"trial {other}, trained on all: written to other" in capsys.readouterr().err


def test_a_study_that_has_too_few_trials_is_refused_in_words(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = ["--data", str(tiny_data)]
    assert kidneyseg_search(["submit", "--study", "lr_loss", "--n-trials", "2", *data, *TINY]) == 0
    assert kidneyseg_search(["confirm", "--study", "lr_loss", *data]) == 2
    assert "0 trials are complete, fewer than --top 5" in capsys.readouterr().err
