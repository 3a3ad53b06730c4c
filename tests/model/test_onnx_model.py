"""An ONNX file is handed out only where onnxruntime answers as the network does."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
import torch

from kidneyseg.errors import CorrectableError, KidneysegError
from kidneyseg.model import onnx_model
from kidneyseg.model.description import ModelDescription
from kidneyseg.model.folder import Model
from kidneyseg.model.onnx_model import METADATA_KEY, write_onnx
from kidneyseg.network.onnx_export import INPUT_NAME, OUTPUT_NAME

PACKAGES = ("onnx", "onnxscript", "onnxruntime")
needs_onnx = pytest.mark.skipif(
    not all(importlib.util.find_spec(name) for name in PACKAGES),
    reason="needs the extra `onnx` (onnx, onnxscript, onnxruntime)",
)


@needs_onnx
@pytest.mark.slow
def test_the_file_answers_as_the_network_and_describes_itself(model: Model, tmp_path: Path) -> None:
    path = tmp_path / "out" / "kidney.onnx"
    assert 0 <= write_onnx(model, path) <= 1e-4
    assert [file.name for file in path.parent.iterdir()] == ["kidney.onnx"]
    session = importlib.import_module("onnxruntime").InferenceSession(path)
    x = np.random.default_rng(1).uniform(-1, 1, (3, 1, 40, 24)).astype(np.float32)
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(x)).numpy()
    (found,) = session.run(["logits"], {"slices": x})
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
    told = session.get_modelmeta().custom_metadata_map[METADATA_KEY]
    assert ModelDescription.model_validate_json(told) == model.description


@needs_onnx
def test_a_file_that_answers_otherwise_is_not_written(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    helper = importlib.import_module("onnx.helper")
    shape = ["n", 1, "rows", "columns"]

    def export_another(network: object, path: Path) -> None:
        """Write a network that does nothing."""
        graph = helper.make_graph(
            [helper.make_node("Identity", [INPUT_NAME], [OUTPUT_NAME])],
            "nothing",
            [helper.make_tensor_value_info(INPUT_NAME, 1, shape)],
            [helper.make_tensor_value_info(OUTPUT_NAME, 1, shape)],
        )
        opset = [helper.make_opsetid("", 18)]
        path.write_bytes(helper.make_model(graph, opset_imports=opset).SerializeToString())

    monkeypatch.setattr(onnx_model, "export_onnx", export_another)
    with pytest.raises(KidneysegError, match=r"logits differ by .* at most 0\.0001: not written"):
        write_onnx(model, tmp_path / "kidney.onnx")
    assert list(tmp_path.iterdir()) == []


def test_without_the_packages_the_message_names_the_extra(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(CorrectableError, match=r"no package onnx here; .* its extra `onnx`"):
        write_onnx(model, tmp_path / "kidney.onnx")
