"""A model as one ONNX file, compared with the network before it is handed out.

The file takes what the network takes: slices in [-1, 1], their HU clipped to the window and scaled.
Its metadata holds `model.json`, so that whoever runs it knows window, spacing and threshold.
"""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from kidneyseg.errors import CorrectableError, KidneysegError
from kidneyseg.files import replacing
from kidneyseg.model.folder import Model
from kidneyseg.network.onnx_export import INPUT_NAME, OUTPUT_NAME, export_onnx

LARGEST_DIFFERENCE = 1e-4  # of a logit, as a share of it where it is above 1
OTHER_SHAPES = ((1, 16, 16), (2, 33, 47))  # (N, rows, columns), beside the model's own
METADATA_KEY = "kidneyseg"
SEED = 0


def write_onnx(model: Model, path: Path) -> float:
    """Write the model to one ONNX file; return the largest difference found, at most 1e-4.

    Slices of the model's size and of others, in batches, are put through both. Raises
    CorrectableError where the extra `onnx` is missing, and KidneysegError, with no file left, where
    onnxruntime answers otherwise than the network.
    """
    if path.is_dir():
        raise CorrectableError(f"{path}: is a folder; expected the name of a file for ONNX")
    onnx, onnxruntime = _package("onnx"), _package("onnxruntime")
    with replacing(path) as temporary:
        export_onnx(model.network, temporary)
        proto = onnx.load(temporary)
        entry = proto.metadata_props.add()
        entry.key, entry.value = METADATA_KEY, model.description.model_dump_json()
        onnx.save(proto, temporary)
        session = onnxruntime.InferenceSession(temporary, providers=["CPUExecutionProvider"])
        difference = max(_difference(model, session, x) for x in _examples(model))
        if not difference <= LARGEST_DIFFERENCE:
            raise KidneysegError(
                f"{path}: onnxruntime's logits differ by {difference:.2g} from the network's; "
                f"expected at most {LARGEST_DIFFERENCE:g}: not written"
            )
    return difference


def _package(name: str) -> ModuleType:
    if importlib.util.find_spec(name) is None:
        raise CorrectableError(
            f"ONNX export: no package {name} here; install kidneyseg with its extra `onnx`"
        )
    return importlib.import_module(name)


def _examples(model: Model) -> list[NDArray[np.float32]]:
    """Slices in [-1, 1], (N, C, rows, columns)."""
    random = np.random.default_rng(SEED)
    channels = model.description.network.input_slices
    rows, columns = model.description.preprocessing.slice_size
    return [
        random.uniform(-1, 1, (n, channels, height, width)).astype(np.float32)
        for n, height, width in ((1, rows, columns), *OTHER_SHAPES)
    ]


def _difference(model: Model, session: Any, x: NDArray[np.float32]) -> float:
    """The largest difference of a logit, as a share of it where it is above 1."""
    (found,) = session.run([OUTPUT_NAME], {INPUT_NAME: x})
    with torch.inference_mode():
        expected = model.network(torch.from_numpy(x).to(model.device)).float().cpu().numpy()
    return float((np.abs(found - expected) / np.maximum(1, np.abs(expected))).max())
