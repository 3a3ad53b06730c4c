"""The bundle is what MONAI's specification asks for, and gives the masks that `predict` gives."""

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from kidneyseg.ct.volumes import read_labels, read_scan, write_kits19_case
from kidneyseg.errors import ModelError
from kidneyseg.model.folder import Model
from kidneyseg.model.monai_bundle import write_bundle
from kidneyseg.model.prediction import predict_mask

STRING, OBJECT = {"type": "string"}, {"type": "object"}
TENSORS = {"type": "object", "patternProperties": {"^.+$": {"$ref": "#/$defs/tensor"}}}
# What MONAI's schema of 2024-07-25 asks for, said again: its file lies on the web, in
# https://project-monai.github.io/schema/. KIDNEYSEG_TEST_MONAI_SCHEMA may name a copy of it.
SCHEMA = {
    "$schema": "https://json-schema.org/draft/2019-09/schema",
    "$defs": {
        "tensor": {
            "type": "object",
            "properties": {
                "type": STRING,
                "format": STRING,
                "num_channels": {"type": "integer"},
                "spatial_shape": {"type": "array", "items": {"type": ["string", "integer"]}},
                "dtype": STRING,
                "value_range": {"type": "array", "items": {"type": "number"}},
                "is_patch_data": {"type": "boolean"},
                "channel_def": OBJECT,
            },
            "required": [
                *("type", "format", "num_channels", "spatial_shape", "dtype", "value_range"),
            ],
        },
    },
    "type": "object",
    "properties": {
        "schema": STRING,
        "version": STRING,
        "monai_version": STRING,
        "pytorch_version": STRING,
        "numpy_version": STRING,
        "task": STRING,
        "description": STRING,
        "authors": STRING,
        "copyright": STRING,
        "data_source": STRING,
        "data_type": STRING,
        "image_classes": STRING,
        "label_classes": STRING,
        "pred_classes": STRING,
        "intended_use": STRING,
        "changelog": OBJECT,
        "required_packages_version": OBJECT,
        "eval_metrics": OBJECT,
        "supported_apps": OBJECT,
        "references": {"type": "array", "items": STRING},
        "network_data_format": {
            "type": "object",
            "properties": {"inputs": TENSORS, "outputs": TENSORS},
            "required": ["inputs", "outputs"],
        },
    },
    "required": [
        *("schema", "version", "monai_version", "pytorch_version", "numpy_version"),
        *("required_packages_version", "task", "description", "authors", "copyright"),
        "network_data_format",
    ],
}
NO_MONAI = "needs MONAI, which verifies the bundle"


@pytest.fixture
def bundle(model: Model, tmp_path: Path) -> Path:
    write_bundle(model, tmp_path / "bundle")
    return tmp_path / "bundle"


def read(path: Path) -> dict[str, Any]:
    document = json.loads(path.read_text(encoding="utf-8"))
    assert isinstance(document, dict)
    return document


def test_a_bundle_holds_what_the_specification_names(bundle: Path) -> None:
    files = {path.relative_to(bundle).as_posix() for path in bundle.rglob("*") if path.is_file()}
    assert files == {
        "configs/metadata.json",
        "configs/inference.json",
        "models/model.pt",
        "models/model.json",
        "docs/README.md",
        "LICENSE",
    }


@pytest.fixture
def schema(tmp_path: Path) -> Path:
    if given := os.environ.get("KIDNEYSEG_TEST_MONAI_SCHEMA"):
        assert Path(given).is_file(), given  # MONAI would download something to it
        return Path(given)
    path = tmp_path / "meta_schema.json"
    path.write_text(json.dumps(SCHEMA), encoding="utf-8")
    return path


def test_no_field_of_the_metadata_is_left_open(bundle: Path) -> None:
    metadata = read(bundle / "configs" / "metadata.json")
    unknown = [name for name, value in metadata.items() if value in ("", "unknown", {}, [])]
    assert unknown == []
    assert "kidneyseg" in metadata["required_packages_version"]


@pytest.mark.filterwarnings("ignore:No hash value provided")
def test_monais_verification_accepts_the_metadata(bundle: Path, schema: Path) -> None:
    monai_bundle = pytest.importorskip("monai.bundle", reason=NO_MONAI)
    path = bundle / "configs" / "metadata.json"
    monai_bundle.verify_metadata(meta_file=str(path), filepath=str(schema))


@pytest.mark.filterwarnings("ignore:No hash value provided")
@pytest.mark.parametrize("missing", ["task", "network_data_format"])
def test_monais_verification_refuses_metadata_without_a_field(
    bundle: Path, schema: Path, missing: str
) -> None:
    monai_bundle = pytest.importorskip("monai.bundle", reason=NO_MONAI)
    path = bundle / "configs" / "metadata.json"
    metadata = read(path)
    del metadata[missing]
    path.write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ValueError, match=missing):
        monai_bundle.verify_metadata(meta_file=str(path), filepath=str(schema))


@pytest.mark.parametrize("model", [{}, {"input_slices": 3, "output_channels": 2}], indirect=True)
def test_monais_verification_accepts_network_inputs_and_outputs(bundle: Path) -> None:
    monai_bundle = pytest.importorskip("monai.bundle", reason=NO_MONAI)
    monai_bundle.verify_net_in_out(
        net_id="network_def",
        meta_file=str(bundle / "configs" / "metadata.json"),
        config_file=str(bundle / "configs" / "inference.json"),
        device="cpu",
    )


def test_monais_verification_refuses_other_outputs(bundle: Path) -> None:
    monai_bundle = pytest.importorskip("monai.bundle", reason=NO_MONAI)
    path = bundle / "configs" / "metadata.json"
    metadata = read(path)
    metadata["network_data_format"]["outputs"]["pred"]["num_channels"] = 5
    path.write_text(json.dumps(metadata), encoding="utf-8")
    with pytest.raises(ValueError, match="output channel number"):
        monai_bundle.verify_net_in_out(
            net_id="network_def",
            meta_file=str(path),
            config_file=str(bundle / "configs" / "inference.json"),
            device="cpu",
        )


@pytest.mark.filterwarnings("ignore")  # MONAI's own, of which the program knows nothing
def test_a_bundle_run_by_monai_writes_the_mask_that_predict_gives(
    model: Model, bundle: Path, tmp_path: Path
) -> None:
    monai_bundle = pytest.importorskip("monai.bundle", reason=NO_MONAI)
    random = np.random.default_rng(0)
    hu = random.normal(100, 150, (9, 13, 20)).clip(-1000, 1000).astype(np.int16)
    hu = hu.repeat(4, axis=1).repeat(4, axis=2)
    write_kits19_case(tmp_path / "data", hu, np.zeros(hu.shape, np.uint8), (3.0, 0.8, 0.8))
    (tmp_path / "data" / "segmentation.nii.gz").unlink()
    workflow = monai_bundle.ConfigWorkflow(
        config_file=str(bundle / "configs" / "inference.json"),
        workflow_type="infer",
        logging_file=False,
        bundle_root=str(bundle),
        dataset_dir=str(tmp_path / "data"),
        output_dir=str(tmp_path / "masks"),
        device="cpu",
    )
    workflow.initialize()
    assert not workflow.check_properties()
    workflow.run()
    expected = predict_mask(model, read_scan(tmp_path / "data" / "imaging.nii.gz"))
    written = read_labels(tmp_path / "masks" / "imaging_kidney.nii.gz")
    assert 0.02 < expected.mean() < 0.98
    np.testing.assert_array_equal(written.array, expected)


def test_the_weights_are_read_without_unpickling(model: Model, bundle: Path) -> None:
    weights = torch.load(bundle / "models" / "model.pt", weights_only=True)
    own = model.network.state_dict()
    assert weights.keys() == own.keys()
    assert all(torch.equal(weights[name], own[name]) for name in own)


def test_a_bundle_is_replaced_and_something_else_is_not(
    model: Model, bundle: Path, tmp_path: Path
) -> None:
    write_bundle(model, bundle)
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work", encoding="utf-8")
    with pytest.raises(ModelError, match=r"thesis: holds something else; expected a new folder"):
        write_bundle(model, tmp_path / "thesis")
    assert (tmp_path / "thesis" / "chapter.tex").read_text(encoding="utf-8") == "years of work"
