"""`kidneyseg export`: ONNX and MONAI from a model folder, in words and one-line refusals."""

import importlib.util
from pathlib import Path

import pytest
import torch

from kidneyseg.cli.main import kidneyseg
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import ModelDescription, Validation
from kidneyseg.model.folder import Model, save_model
from kidneyseg.network import build_quicknat
from kidneyseg.provenance import Provenance
from kidneyseg.settings import DataSettings, NetworkSettings


@pytest.fixture
def model_folder(workplace: Path) -> Path:
    settings = NetworkSettings(filters=2, kernel_size=1)
    description = ModelDescription(
        format=1,
        network=settings,
        preprocessing=DataSettings(downsampling=2, slice_size=(32, 32)),
        threshold=0.5,
        hyperparameters=Hyperparameters(),
        validation=Validation(
            epoch=1, dice=0.5, dice_of_case={"a": 0.5}, loss=1.0, small_batch_size=4
        ),
        provenance=Provenance(
            data="d", split="e", code="f", versions={}, seed=0, device="cpu", host="h"
        ),
        weights_sha256="",
    )
    torch.manual_seed(0)
    save_model(workplace / "best", build_quicknat(settings, dropout=0.1), description)
    return workplace / "best"


def test_help_has_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg(["export", "--help"]) == 0
    assert "Example: kidneyseg export" in capsys.readouterr().out


def test_a_bundle_is_written_and_told(
    model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg(["export", "--model", "best", "--monai-bundle", "bundle"]) == 0
    assert capsys.readouterr().out == "MONAI bundle: written to bundle\n"
    assert Path("bundle/configs/metadata.json").is_file()


def test_an_onnx_file_is_told_with_its_difference(
    model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def write(model: Model, path: Path) -> float:
        assert model.description.network.filters == 2
        path.write_text("graph", encoding="utf-8")
        return 2e-6

    monkeypatch.setattr("kidneyseg.model.onnx_model.write_onnx", write)
    assert kidneyseg(["export", "--model", "best", "--onnx", "kidney.onnx"]) == 0
    assert capsys.readouterr().out == (
        "logits differ by at most 2e-06 under onnxruntime: written to kidney.onnx\n"
    )


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (["--model", "best"], "expected --onnx FILE or --monai-bundle DIR"),
        (["--model", "nowhere", "--onnx", "k.onnx"], "nowhere: no model.json"),
        (["--model", "best", "--monai-bundle", "best"], "best: holds something else"),
        (["--model", "best", "--onnx", "best"], "best: is a folder; expected the name of a file"),
    ],
)
def test_what_a_person_can_put_right(
    given: list[str], words: str, model_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg(["export", *given]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert words in line
    assert (model_folder / "model.safetensors").is_file()


def test_without_onnx_the_extra_is_named(
    model_folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert kidneyseg(["export", "--model", "best", "--onnx", "k.onnx"]) == 2
    assert "install kidneyseg with its extra `onnx`" in capsys.readouterr().err
    assert not Path("k.onnx").exists()
