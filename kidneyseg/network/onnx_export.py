"""QuickNAT as an ONNX file, for programs that have no PyTorch."""

import importlib.util
from pathlib import Path

import torch
from torch.export import Dim

from kidneyseg.errors import CorrectableError
from kidneyseg.network.quicknat import QuickNAT

INPUT_NAME = "slices"  # (N, input_slices, H, W) float32, any N, any H and W from 16 up, pools of 2
OUTPUT_NAME = "logits"  # (N, output_channels, H, W)
NEEDED_PACKAGES = ("onnx", "onnxscript")


def export_onnx(network: QuickNAT, path: Path) -> None:
    """Write the network as it predicts, without dropout, to one file; the network is left as is."""
    _check_packages()
    was_training = network.training
    network.eval()
    try:
        _write(network, path)
    finally:
        network.train(was_training)


def _write(network: QuickNAT, path: Path) -> None:
    weight = network.encode1.dense.conv1.weight
    least = network.smallest_side_px
    # Any size would do: the file does not depend on it.
    example = torch.zeros((2, weight.shape[1], 3 * least, 2 * least + 1), device=weight.device)
    sides = {
        2: Dim("rows", min=least),
        3: Dim("columns", min=least),
    }
    torch.onnx.export(
        network,
        (example,),
        path,
        input_names=[INPUT_NAME],
        output_names=[OUTPUT_NAME],
        dynamic_shapes=({0: Dim("n"), **sides},),
        dynamo=True,
        external_data=False,
        verbose=False,
    )


def _check_packages() -> None:
    missing = [name for name in NEEDED_PACKAGES if importlib.util.find_spec(name) is None]
    if missing:
        raise CorrectableError(
            f"ONNX export: no package {' and '.join(missing)} here; "
            "install kidneyseg with its extra `onnx`"
        )
