"""The model folder: what is loaded is what was saved, and anything else is refused in one line."""

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from kidneyseg.errors import ModelError
from kidneyseg.model.description import load_description, weights_sha256
from kidneyseg.model.folder import Model, load_model, save_model
from kidneyseg.settings import TrainingSettings
from kidneyseg.training.device import allow_tf32

CPU = torch.device("cpu")


class Unpickled(Exception):  # noqa: N818 - not an error of the program
    """Raised by whoever unpickles a trap."""


class Trap:
    """An object that shows when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[[], None], tuple[()]]:
        return spring, ()


def spring() -> None:
    raise Unpickled


@pytest.fixture
def folder(model: Model, tmp_path: Path) -> Path:
    save_model(tmp_path / "model", model.network, model.description)
    return tmp_path / "model"


def logits(model: Model) -> Tensor:
    x = torch.randn(2, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        out: Tensor = model.network(x.contiguous(memory_format=torch.channels_last))
    return out


def refusal(folder: Path) -> str:
    with pytest.raises(ModelError) as caught:
        load_model(folder, CPU)
    message = str(caught.value)
    assert "\n" not in message
    assert "http" not in message
    return message


def edit_description(folder: Path, **changes: Any) -> None:
    path = folder / "model.json"
    path.write_text(
        json.dumps({**json.loads(path.read_text(encoding="utf-8")), **changes}), encoding="utf-8"
    )


def replace_weights(folder: Path, content: bytes) -> None:
    """Put other bytes there and let model.json describe them."""
    weights = folder / "model.safetensors"
    weights.write_bytes(content)
    edit_description(folder, weights_sha256=weights_sha256(weights))


def test_a_loaded_model_gives_the_same_logits_and_description(model: Model, folder: Path) -> None:
    loaded = load_model(folder, CPU)
    assert torch.equal(logits(loaded), logits(model))
    assert not loaded.network.training
    written = {"weights_sha256": weights_sha256(folder / "model.safetensors")}
    assert loaded.description == model.description.model_copy(update=written)


@pytest.mark.parametrize(
    "model", [{"output_channels": 2, "activation": "prelu", "bottleneck": "dense"}], indirect=True
)
def test_the_authors_variant_loads_too(model: Model, folder: Path) -> None:
    assert torch.equal(logits(load_model(folder, CPU)), logits(model))


def test_a_folder_holds_weights_description_and_card(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "model.safetensors",
        "model.json",
        "README.md",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


def test_saving_replaces_a_model_that_is_there(model: Model, folder: Path) -> None:
    with torch.no_grad():
        model.network.classifier.weight.add_(1)
    save_model(folder, model.network, model.description)
    assert torch.equal(logits(load_model(folder, CPU)), logits(model))


def test_a_failed_save_leaves_the_model_that_is_there(
    model: Model, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def full_disk(description: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("kidneyseg.model.folder.write_card", full_disk)
    with pytest.raises(OSError, match="No space left"):
        save_model(folder, model.network, model.description)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert [path.name for path in folder.parent.iterdir()] == ["model"]


@pytest.mark.parametrize("place", [0, 9, 500, -1])
def test_a_flipped_bit_in_the_weights_is_noticed(folder: Path, place: int) -> None:
    weights = folder / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[place] ^= 1
    weights.write_bytes(content)
    assert refusal(folder) == (
        f"{weights}: not the weights that model.json describes; copy it again"
    )


def test_missing_files_are_named(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert "model.safetensors: not the weights that model.json describes" in refusal(folder)
    (folder / "model.json").unlink()
    assert refusal(folder) == f"{folder}: no model.json; expected a folder that export has made"
    assert "no model.json" in refusal(folder / "nowhere")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "Invalid JSON"),
        (b"{", "Invalid JSON"),
        (b"\xff\xfe\x00", "not text"),
        (b"[1, 2]", "expected an object"),
        (b'{"architectures": ["Bert"]}', "format is missing"),
    ],
)
def test_a_foreign_description_is_refused(folder: Path, content: bytes, reason: str) -> None:
    (folder / "model.json").write_bytes(content)
    message = refusal(folder)
    assert message.startswith(f"{folder / 'model.json'}: not a description of format 1 (")
    assert reason in message


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"format": 2}, "(format = 2: expected 1)"),
        ({"network": {"filters": 1}}, "(network.filters = 1: expected greater than or equal to 2)"),
        ({"licence": "MIT"}, "(unknown key licence; expected one of format, network, "),
        ({"threshold": "high"}, "(threshold = 'high': expected a valid number"),
    ],
)
def test_another_format_or_a_wrong_value_is_told(
    folder: Path, changes: dict[str, Any], reason: str
) -> None:
    edit_description(folder, **changes)
    assert reason in refusal(folder)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    network = load_description(folder).network.model_copy(update={"filters": 8})
    edit_description(folder, network=network.model_dump())
    assert "does not fit the network of model.json" in refusal(folder)


def test_a_missing_layer_is_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    del weights["classifier.bias"]
    save_file(weights, folder / "other.safetensors")
    replace_weights(folder, (folder / "other.safetensors").read_bytes())
    assert "does not fit the network of model.json" in refusal(folder)


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_nothing_is_ever_unpickled(folder: Path, kind: str, tmp_path: Path) -> None:
    trap = tmp_path / "trap"
    if kind == "torch":
        torch.save(Trap(), trap)
    else:
        trap.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(Unpickled):  # the trap works
        torch.load(trap, weights_only=False) if kind == "torch" else pickle.loads(trap.read_bytes())
    replace_weights(folder, trap.read_bytes())
    assert "does not fit the network of model.json" in refusal(folder)


@pytest.mark.parametrize("precision", ["float32", "tf32", "bfloat16", None])
def test_a_gpu_shortens_products_only_for_a_model_that_was_trained_so(
    model: Model, tmp_path: Path, precision: str | None
) -> None:
    """PyTorch by itself shortens those of convolutions."""
    settings = (
        None if precision is None else TrainingSettings.model_validate({"precision": precision})
    )
    save_model(
        tmp_path / "model",
        model.network,
        model.description.model_copy(update={"training": settings}),
    )
    before = torch.backends.cudnn.allow_tf32
    try:
        torch.backends.cudnn.allow_tf32 = precision != "tf32"
        load_model(tmp_path / "model", CPU)
        assert torch.backends.cudnn.allow_tf32 is (precision == "tf32")
    finally:
        allow_tf32(before)
