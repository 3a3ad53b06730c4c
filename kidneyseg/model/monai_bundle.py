"""A model as a MONAI bundle, for programs that run bundles.

configs/metadata.json    what it is, and what the network takes and gives
configs/inference.json   network, preprocessing, inferer, postprocessing, and a run over a folder
models/model.pt          the weights, as a plain dictionary of tensors (`weights_only` loads it)
models/model.json        the description; the file that `kidneyseg` itself reads
docs/README.md           the model card
LICENSE                  whose the program and the weights are

The bundle needs this package: MONAI's own QuickNAT is another network. Nothing here reads the .pt
file, and MONAI reads it without unpickling.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kidneyseg.ct.volumes import HU_RANGE
from kidneyseg.errors import ModelError
from kidneyseg.files import replacing_folder
from kidneyseg.model.card import write_card
from kidneyseg.model.description import ModelDescription
from kidneyseg.model.folder import Model
from kidneyseg.model.monai_configs import inference, metadata
from kidneyseg.model.prediction import predict_array
from kidneyseg.network import QuickNAT, build_quicknat
from kidneyseg.settings import NetworkSettings

LICENSE = """The program, kidneyseg, is licensed under the MIT License.

The weights in models/ were trained on scans that somebody owns. The licence of these scans may hold
for the weights too: ask the data's owner. Weights trained on KiTS19 are CC BY-NC-SA 4.0.
"""


def write_bundle(model: Model, folder: Path) -> None:
    """Write a bundle folder, whole or not at all; a bundle that is there is replaced.

    Raises ModelError where the folder holds something else.
    """
    _check_place(folder)
    description = model.description
    weights = {name: value.cpu().contiguous() for name, value in model.network.state_dict().items()}
    with replacing_folder(folder) as temporary:
        for name in ("configs", "models", "docs"):
            (temporary / name).mkdir()
        _write_json(temporary / "configs" / "metadata.json", metadata(description))
        _write_json(temporary / "configs" / "inference.json", inference(description))
        torch.save(weights, temporary / "models" / "model.pt")
        _write_json(temporary / "models" / "model.json", description.model_dump(mode="json"))
        (temporary / "docs" / "README.md").write_text(write_card(description), encoding="utf-8")
        (temporary / "LICENSE").write_text(LICENSE, encoding="utf-8")


def build_network(settings: dict[str, Any], dropout: float) -> QuickNAT:
    """The network of a bundle, with a random start; MONAI loads its weights."""
    return build_quicknat(NetworkSettings.model_validate(settings), dropout=dropout)


class VolumeInferer:
    """What MONAI calls an inferer: whole scans in, their masks out, as `kidneyseg predict` does."""

    def __init__(self, description: str) -> None:
        text = Path(description).read_text(encoding="utf-8")
        self._description = ModelDescription.model_validate_json(text)

    def __call__(
        self,
        inputs: Tensor,  # (N, 1, slices, rows, columns) HU, a MetaTensor in I, P, L
        network: QuickNAT,
    ) -> Tensor:  # same shape, float32, a MetaTensor as the inputs are: 1 is kidney
        """Predict each scan of a batch."""
        affines = torch.as_tensor(inputs.affine).reshape(-1, 4, 4)  # type: ignore[attr-defined]
        masks = inputs.clone()
        for mask, scan, affine in zip(masks, inputs, affines, strict=True):
            mask[0] = torch.from_numpy(self._predict(scan[0].cpu().numpy(), affine, network))
        return masks

    def _predict(
        self,
        scan_hu: NDArray[np.generic],  # (slices, rows, columns)
        affine: Tensor,  # (4, 4)
        network: QuickNAT,
    ) -> NDArray[np.uint8]:  # (slices, rows, columns)
        device = next(network.parameters()).device
        model = Model(network=network, description=self._description, device=device)
        hu = np.rint(np.clip(scan_hu, *HU_RANGE)).astype(np.int16)
        _, row_mm, column_mm = torch.linalg.norm(affine[:3, :3].double(), dim=0).tolist()
        parts = predict_array(model, hu, (row_mm, column_mm))
        return np.concatenate([part.mask for part in parts])


class Evaluator:
    """What a bundle's `run` runs: every scan of a data set predicted and handed on."""

    def __init__(
        self,
        dataset: Iterable[dict[str, Any]],
        network: QuickNAT,
        inferer: VolumeInferer,
        postprocessing: Callable[[dict[str, Any]], Any],
    ) -> None:
        self._dataset = dataset
        self._network = network
        self._inferer = inferer
        self._postprocessing = postprocessing

    def run(self) -> None:
        """Predict and write all masks."""
        for item in self._dataset:
            masks = self._inferer(item["image"][None], self._network)
            self._postprocessing({**item, "pred": masks[0]})


def _check_place(folder: Path) -> None:
    if not folder.exists() or (folder / "configs" / "metadata.json").is_file():
        return
    if not folder.is_dir() or any(folder.iterdir()):
        raise ModelError(f"{folder}: holds something else; expected a new folder or a bundle")


def _write_json(path: Path, document: dict[str, Any]) -> None:
    path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
