"""The two configuration files of a MONAI bundle, as dictionaries for JSON."""

import importlib.metadata
from typing import Any

from kidneyseg.model.description import ModelDescription

SCHEMA = "https://project-monai.github.io/schema/meta_schema_20240725.json"
TRIED_WITH_MONAI = "1.6.1"  # named where MONAI is not installed
PACKAGE = "kidneyseg.model.monai_bundle"
NEEDED = ("kidneyseg", "nibabel")
READ_WEIGHTS = "torch.load(@ckpt_path, map_location=@device, weights_only=True)"


def metadata(description: ModelDescription) -> dict[str, Any]:
    """`configs/metadata.json`: what MONAI's schema asks for, and what the card says."""
    return {
        "schema": SCHEMA,
        "version": "1.0.0",
        "changelog": {"1.0.0": "exported by kidneyseg"},
        "monai_version": _version("monai", TRIED_WITH_MONAI),
        "pytorch_version": _version("torch"),
        "numpy_version": _version("numpy"),
        "required_packages_version": {name: _version(name) for name in NEEDED},
        "name": "Kidney segmentation in CT",
        "task": "Segmentation of the kidneys, tumours included, in abdominal CT",
        "description": "QuickNAT, a 2-D network, slice by slice; hyper-parameters from a search.",
        "authors": "whoever trained it with kidneyseg",
        "copyright": "see LICENSE",
        "intended_use": "Research. No medical device: look at every mask before you rely on it.",
        "data_source": f"scans with fingerprint {description.provenance.data}",
        "data_type": "nibabel",
        "image_classes": "CT in Hounsfield units",
        "label_classes": "1 is kidney, 0 is everything else",
        "pred_classes": "1 is kidney, 0 is everything else",
        "eval_metrics": {"validation_dice": description.validation.dice},
        "network_data_format": _network_format(description),
    }


def inference(description: ModelDescription) -> dict[str, Any]:
    """`configs/inference.json`: every part by MONAI's own names, and a run over a folder.

    A run writes DIR/NAME_kidney.nii.gz for every .nii.gz file of `dataset_dir`.
    """
    return {
        "imports": ["$import glob", "$import torch"],
        "bundle_root": ".",
        "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "datalist": "$sorted(glob.glob(@dataset_dir + '/*.nii.gz'))",
        "network_def": {
            "_target_": f"{PACKAGE}.build_network",
            "settings": description.network.model_dump(mode="json"),
            "dropout": description.hyperparameters.dropout,
        },
        "network": "$@network_def.to(@device).eval()",
        "preprocessing": {"_target_": "Compose", "transforms": _preprocessing()},
        "dataset": {
            "_target_": "Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "inferer": {
            "_target_": f"{PACKAGE}.VolumeInferer",
            "description": "$@bundle_root + '/models/model.json'",
        },
        "postprocessing": {"_target_": "Compose", "transforms": _postprocessing()},
        "evaluator": {
            "_target_": f"{PACKAGE}.Evaluator",
            "dataset": "@dataset",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
        },
        "initialize": [f"$@network.load_state_dict({READ_WEIGHTS})"],
        "run": ["$@evaluator.run()"],
    }


def _network_format(description: ModelDescription) -> dict[str, Any]:
    network, preprocessing = description.network, description.preprocessing
    tensor = {
        "type": "image",
        "spatial_shape": list(preprocessing.slice_size),
        "dtype": "float32",
        "is_patch_data": False,
    }
    low, high = preprocessing.hu_window
    return {
        "inputs": {
            "image": {
                **tensor,
                "format": "hounsfield",
                "modality": "CT",
                "num_channels": network.input_slices,
                "value_range": [-1, 1],
                "channel_def": {
                    str(i): f"slice {i - network.input_slices // 2:+d}, HU {low:g} to {high:g}"
                    for i in range(network.input_slices)
                },
            }
        },
        "outputs": {
            "pred": {
                **tensor,
                "format": "raw",
                "num_channels": network.output_channels,
                "value_range": [],
                "channel_def": {
                    str(i): "logit of kidney" if i == network.output_channels - 1 else "of the rest"
                    for i in range(network.output_channels)
                },
            }
        },
    }


def _preprocessing() -> list[dict[str, Any]]:
    return [
        {"_target_": "LoadImaged", "keys": "image"},
        {"_target_": "EnsureChannelFirstd", "keys": "image"},
        {"_target_": "Orientationd", "keys": "image", "axcodes": "IPL"},
    ]


def _postprocessing() -> list[dict[str, Any]]:
    return [
        {
            "_target_": "Invertd",
            "keys": "pred",
            "transform": "@preprocessing",
            "orig_keys": "image",
            "nearest_interp": True,
            "to_tensor": True,
        },
        {
            "_target_": "SaveImaged",
            "keys": "pred",
            "output_dir": "@output_dir",
            "output_postfix": "kidney",
            "output_dtype": "$torch.uint8",
            "resample": False,
            "separate_folder": False,
        },
    ]


def _version(package: str, absent: str = "unknown") -> str:
    """An installed package's version, without what kind of build it is."""
    try:
        return importlib.metadata.version(package).split("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return absent
