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

# What MONAI's schema of 2024-07-25 requires.
STRINGS = {
    "schema",
    "version",
    "monai_version",
    "pytorch_version",
    "numpy_version",
    "task",
    "description",
    "authors",
    "copyright",
}
OF_A_TENSOR: dict[str, type | tuple[type, ...]] = {
    "type": str,
    "format": str,
    "num_channels": int,
    "spatial_shape": list,
    "dtype": str,
    "value_range": list,
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


def test_the_metadata_has_every_field_that_the_schema_requires(bundle: Path) -> None:
    metadata = read(bundle / "configs" / "metadata.json")
    for name in STRINGS:
        assert isinstance(metadata[name], str), name
        assert metadata[name] not in ("", "unknown")
    assert "kidneyseg" in metadata["required_packages_version"]
    network = metadata["network_data_format"]
    for tensor in (network["inputs"]["image"], network["outputs"]["pred"]):
        for name, kind in OF_A_TENSOR.items():
            assert isinstance(tensor[name], kind), name


def test_monais_verification_accepts_the_metadata(bundle: Path) -> None:
    monai_bundle = pytest.importorskip("monai.bundle", reason=NO_MONAI)
    pytest.importorskip("jsonschema", reason="MONAI verifies metadata with jsonschema")
    schema = os.environ.get("KIDNEYSEG_TEST_MONAI_SCHEMA", "")
    if not Path(schema).is_file():
        pytest.skip("KIDNEYSEG_TEST_MONAI_SCHEMA names no file with MONAI's schema")
    monai_bundle.verify_metadata(
        meta_file=str(bundle / "configs" / "metadata.json"), filepath=schema
    )


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
