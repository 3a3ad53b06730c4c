"""`kidneyseg train`: one training, and one done again."""

import json
from pathlib import Path

import pytest

from kidneyseg.cli.main import kidneyseg
from kidneyseg.cli.telling import telling
from kidneyseg.model.description import load_description
from kidneyseg.training import device

SMALL = (
    "network.filters=4",
    "data.slice_size=[16, 16]",
    "data.margin_slices=1",
    "training.max_epochs=2",
    "learning_rate=0.01",
    "batch_size=7",
)


@pytest.fixture
def trained(workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A small model folder `first`, seed 3, in the current folder."""
    settings = [f"--set={assignment}" for assignment in SMALL]
    given = ["train", "--data", str(tiny_data), "--seed", "3", "--out", "first", *settings]
    assert kidneyseg(given) == 0
    assert "written to first" in capsys.readouterr().out
    return Path("first")


def repeat(data: Path, *more: str, out: str = "again") -> int:
    return kidneyseg(["train", "--repeat", "first", "--data", str(data), "--out", out, *more])


@pytest.mark.usefixtures("trained")
def test_a_repeated_training_says_that_the_weights_are_the_same(
    tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert repeat(tiny_data, "--set", "common.pictures=false", "--set", "data.cache=other") == 0
    assert "weights bit-identical to those of first" in capsys.readouterr().out
    weights = [(Path(name) / "model.safetensors").read_bytes() for name in ("first", "again")]
    assert weights[0] == weights[1]


def test_other_weights_are_told_with_a_reason_and_exit_code_1(
    trained: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "model.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    described["hyperparameters"]["learning_rate"] = 0.02
    described["provenance"]["processor"] = "another"
    path.write_text(json.dumps(described), encoding="utf-8")
    assert repeat(tiny_data) == 1
    (said,) = (line for line in capsys.readouterr().err.splitlines() if "kidneyseg: " in line)
    for words in ("again: the weights are not those of first", "instead of another", "Dice"):
        assert words in said
    assert load_description(Path("again")).hyperparameters.learning_rate == 0.02


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--seed", "3"], ["--seed 3", "from the model"]),
        (["--set", "learning_rate=0.1"], ["learning_rate=0.1", "common.*", "data.folder"]),
        (["--set", "data.margin_slices=2"], ["data.margin_slices=2", "data.cache"]),
        (["--out", "./first"], ["--out first", "another folder"]),
    ],
)
@pytest.mark.usefixtures("trained")
def test_what_would_make_it_another_training_is_refused(
    more: list[str], words: list[str], tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = Path("first/model.json").read_bytes()
    assert repeat(tiny_data, *more) == 2
    (said,) = capsys.readouterr().err.strip().splitlines()
    for word in words:
        assert word in said
    assert Path("first/model.json").read_bytes() == before


def test_other_scans_are_refused_before_anything_is_trained(
    trained: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = trained / "model.json"
    described = json.loads(path.read_text(encoding="utf-8"))
    described["provenance"]["data"] = "0" * 64
    path.write_text(json.dumps(described), encoding="utf-8")
    assert repeat(tiny_data) == 2
    assert "data set" in capsys.readouterr().err
    assert not Path("again").exists()


def test_a_decay_that_never_fires_is_warned_of(
    workplace: Path, tiny_data: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = [f"--set={each}" for each in (*SMALL, "step_size=10")]
    assert kidneyseg(["train", "--data", str(tiny_data), "--out", "decayed", *given]) == 0
    assert (
        "warning: step_size has no effect: StepLR first decays after 10" in capsys.readouterr().err
    )
    assert workplace.is_dir()


@pytest.mark.parametrize("as_json", [False, True])
def test_warnings_are_told_in_the_way_that_was_chosen(
    workplace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    *,
    as_json: bool,
) -> None:
    monkeypatch.setattr(device, "slow_precision", lambda precision, device: "slow here")
    given = ["train", "--data", str(workplace / "nowhere"), "--set", "step_size=10"]
    with telling(as_json=as_json):
        assert kidneyseg(given) == 2
    first, second, _ = capsys.readouterr().err.splitlines()
    if as_json:
        told = [json.loads(line) for line in (first, second)]
        assert [line["level"] for line in told] == ["warning", "warning"]
        assert told[0]["message"].startswith("step_size has no effect: ")
        assert told[1]["message"] == "slow here"
    else:
        assert first.startswith("warning: step_size has no effect: ")
        assert second == "warning: slow here"


def test_tf32_without_a_gpu_is_refused_before_data_are_looked_at(
    workplace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--set", "training.precision=tf32", "--set", "common.device=cpu"]
    assert kidneyseg(["train", "--data", str(workplace / "nowhere"), *given]) == 2
    assert "'tf32' on cpu: only GPUs have it" in capsys.readouterr().err
