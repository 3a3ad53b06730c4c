"""The ONNX file answers as the network does, for any number and size of slices."""

import importlib.util
from pathlib import Path

import pytest
import torch

from kidneyseg.errors import CorrectableError
from kidneyseg.network import AUTHORS, REPORT, build_quicknat
from kidneyseg.network.onnx_export import NEEDED_PACKAGES, export_onnx
from kidneyseg.settings import NetworkSettings

HAS_PACKAGES = all(importlib.util.find_spec(name) for name in NEEDED_PACKAGES)


@pytest.mark.slow
@pytest.mark.parametrize("settings", [REPORT, AUTHORS], ids=["report", "authors"])
@pytest.mark.parametrize(("input_slices", "output_channels"), [(1, 1), (3, 2)])
def test_onnxruntime_gives_the_networks_logits_to_1e_4(
    settings: NetworkSettings, input_slices: int, output_channels: int, tmp_path: Path
) -> None:
    reason = "needs the extra `onnx` (onnx, onnxscript, onnxruntime)"
    for name in NEEDED_PACKAGES:
        pytest.importorskip(name, reason=reason)
    onnxruntime = pytest.importorskip("onnxruntime", reason=reason)
    size = {"filters": 4, "input_slices": input_slices, "output_channels": output_channels}
    torch.manual_seed(0)
    network = build_quicknat(settings.model_copy(update=size), dropout=0.2)
    network(torch.randn(2, input_slices, 32, 32))  # running statistics of a signal
    export_onnx(network, tmp_path / "network.onnx")
    assert network.training  # left as it was
    session = onnxruntime.InferenceSession(tmp_path / "network.onnx")
    for shape in ((1, 16, 16), (3, 33, 47), (2, 64, 40)):
        x = torch.randn(shape[0], input_slices, *shape[1:])
        with torch.no_grad():
            expected = network.eval()(x)
        (logits,) = session.run(["logits"], {"slices": x.numpy()})
        torch.testing.assert_close(torch.from_numpy(logits), expected, rtol=0, atol=1e-4)


@pytest.mark.skipif(HAS_PACKAGES, reason="the extra `onnx` is installed: nothing to refuse")
def test_without_the_packages_the_message_says_what_to_install(tmp_path: Path) -> None:
    network = build_quicknat(NetworkSettings(filters=2), dropout=0.0)
    with pytest.raises(CorrectableError, match="its extra `onnx`"):
        export_onnx(network, tmp_path / "network.onnx")
