"""The machine's settings, as a person writes them: one TOML file with five parts.

A setting is fixed within a study. What varies from trial to trial is a hyper-parameter
(`kidneyseg.hyperparameters`). Settings are read once, at the start, and every key is checked there.
The line below a key is its row in docs/settings.md (`make docs`).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]

BAD_ARTIFACTS = re.compile(r"(?!s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$))\w+://")
VARIANTS = {"report": {}, "authors": {"activation": "prelu", "bottleneck": "dense"}}
MACHINE_PATHS = {"folder", "cache", "splits_file"}  # data settings that decide no result themselves


class Part(BaseModel):
    """A part of a file that a person writes: frozen, and unknown keys are refused."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True
    )


class DataSettings(Part):
    """Which scans, how they become slices, and how cases are parted."""

    folder: Path | None = None
    """Case folders as in KiTS19, nnU-Net's `imagesTr` and `labelsTr`, or a table of paths (`.csv`);
    also `--data`. Without it a phantom data set is made."""
    cache: Path | None = None
    """Where prepared slices lie: a node's own disk, say. By default `cache` in the runs folder."""
    kidney_labels: tuple[int, ...] = (1, 2)
    """Label values that count as kidney: KiTS19's 2 is tumour."""
    other_labels: tuple[int, ...] = ()
    """Known label values that count as background: other organs in the same label map."""
    downsampling: int | None = Field(default=None, ge=1, le=16)
    """Whole factor in each in-plane dimension, by area. Give this or `spacing_mm`."""
    spacing_mm: float | None = Field(default=None, gt=0, le=20)
    """In-plane pixel size that every scan is brought to, by area."""
    slice_size: tuple[int, int]
    """(rows, columns) that a slice is padded or cropped to, about its centre."""
    hu_window: tuple[float, float] = (-79.0, 304.0)
    """HU are clipped to it and scaled to [-1, 1]."""
    margin_slices: int = Field(default=20, ge=0)
    """Slices kept above and below the kidney, in training and validation."""
    margin_mm: float | None = Field(default=None, ge=0)
    """The same in millimetres, instead of `margin_slices`."""
    tumor_labels: tuple[int, ...] = (2,)
    """Label values that are tumour, for `max_tumor_fraction` and the split."""
    max_tumor_fraction: float | None = Field(default=None, ge=0, le=1)
    """Cases with more tumour, of kidney and tumour, are left out: 0.1225 keeps 136 of
    KiTS19's 210."""
    include: tuple[str, ...] = ()
    """Names of the only cases to use; empty: all."""
    exclude: tuple[str, ...] = ()
    """Names of cases to leave out."""
    test_fraction: Fraction = 0.2
    """Share of all cases that is sealed for the test."""
    validation_fraction: Fraction = 0.2
    """Share of the cases that are not test cases."""
    split_seed: int = Field(default=0, ge=0)
    """Another seed, another split."""
    folds: int | None = Field(default=None, ge=2)
    """Parts the development cases into so many folds; `validation_fraction` then counts no more."""
    fold: int = Field(default=0, ge=0)
    """Which fold is for validation, counted from 0."""
    splits_file: Path | None = None
    """nnU-Net's `splits_final.json`: `fold` says which of its folds; what it names in none is
    test."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.downsampling is None) == (self.spacing_mm is None):
            raise ValueError("give exactly one of downsampling and spacing_mm")
        if self.hu_window[0] >= self.hu_window[1]:
            raise ValueError(f"hu_window {list(self.hu_window)}: the first must be the smaller")
        if min(self.slice_size) < 16:
            raise ValueError(f"slice_size {list(self.slice_size)}: at least 16 x 16")
        if not self.kidney_labels or min(self.kidney_labels) < 1:
            raise ValueError(f"kidney_labels {list(self.kidney_labels)}: whole numbers from 1 up")
        if min(self.other_labels, default=1) < 1:
            raise ValueError(f"other_labels {list(self.other_labels)}: whole numbers from 1 up")
        if both := sorted({*self.kidney_labels} & {*self.other_labels}):
            raise ValueError(f"other_labels {both}: in kidney_labels, too; expected them in one")
        if self.folds is not None and self.splits_file is not None:
            raise ValueError("give folds or splits_file, not both")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold}: expected 0 to {self.folds - 1}, of data.folds")
        return self


class NetworkSettings(Part):
    """QuickNAT's size and variant. The defaults are the report's network.

    `variant = "authors"` (or `"report"`) beside the others stands for all in which the two differ.
    """

    filters: int = Field(default=64, ge=2, le=512)
    """Channels of every level."""
    kernel_size: Literal[1, 3, 5, 7] = 5
    """Side of the convolutions' kernels, in pixels."""
    squeeze_excitation: Literal["none", "cse", "sse", "csse"] = "csse"
    """Recalibration after every block: by channel (`cse`), by place (`sse`), or both."""
    activation: Literal["relu", "prelu"] = "relu"
    """`relu` as in paper and report, or `prelu` as in the authors' code."""
    bottleneck: Literal["convolution", "dense"] = "convolution"
    """`convolution` as in paper and report, or `dense` as in the authors' code."""
    pool_size: Literal[2, 3, 4] = 2
    """Side of the pooling windows, in pixels; slices have at least its fourth power: 16, 81 or
    256."""
    input_slices: Literal[1, 3, 5, 7] = 1
    """Neighbouring slices as input channels."""
    output_channels: Literal[1, 2] = 1
    """1 (sigmoid) or 2 (softmax)."""

    @model_validator(mode="before")
    @classmethod
    def _spell_out(cls, values: Any) -> Any:
        """Replace a variant's name by what it stands for; what is given besides counts first."""
        if not isinstance(values, Mapping) or "variant" not in values:
            return values
        named = VARIANTS.get(values["variant"])
        if named is None:
            raise ValueError(f"variant {values['variant']!r}: expected {' or '.join(VARIANTS)}")
        return {**named, **{key: value for key, value in values.items() if key != "variant"}}


class TrainingSettings(Part):
    """How a training runs on this machine."""

    max_epochs: int = Field(default=6, ge=1)
    """A training ends here at the latest."""
    patience: int = Field(default=2, ge=1)
    """Rises of the validation loss in a row that end it."""
    small_batch_size: int = Field(default=4, ge=1)
    """Slices at a time; their gradients are accumulated to the batch's, but batch norm is over
    these alone. Halved where memory runs out."""
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"
    """`bfloat16` is slow on processors without AMX or AVX512-BF16; `tf32` is float32 with shorter
    products, which only GPUs have: refused elsewhere. Prediction is in float32, of models trained
    in `tf32` on a GPU in that."""
    recompute: bool = False
    """Activations are computed again in the backward pass: less memory, more time."""
    deterministic: bool = False
    """Bit-identical on a GPU too, and slower there; the CPU always is."""


class EvaluationSettings(Part):
    """How probabilities become a mask."""

    threshold: Fraction = 0.5
    """A probability above it is kidney."""
    batch_size: int = Field(default=16, ge=1)
    """Slices at a time; halved where memory runs out."""


class CommonSettings(Part):
    """Where things lie and what runs them."""

    runs: Path = Path("runs")
    """Databases, splits, TensorBoard logs, checkpoints."""
    device: str = "auto"
    """`auto` (the first GPU, else the CPU), `cpu`, `cuda:0`."""
    pictures: bool = True
    """Slices with the true and the predicted outline, in TensorBoard, dashboard and report."""
    pseudonyms: bool = False
    """Names of cases become pseudonyms in all that leaves the data folder: `docs/patients.md`."""
    artifacts: str | None = None
    """Where models and pictures are kept: a folder, or `s3://bucket/prefix`. By default `artifacts`
    in the runs folder."""
    keep_best: int = Field(default=5, ge=1)
    """Complete trials of a study whose models are kept; others' are removed."""
    max_disk_gb: float | None = Field(default=None, gt=0)
    """A search that may need more for models and checkpoints does not begin."""

    patience_minutes: float = Field(default=10.0, ge=0)
    """How long workers wait for a database that went away, before they give up."""
    grace_seconds: float = Field(default=120.0, ge=2)
    """How long a worker may be silent before its trial is handed to another."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        address = self.artifacts
        if address is not None and (not address or BAD_ARTIFACTS.match(address)):
            raise ValueError(f"artifacts {address!r}: expected a folder or s3://bucket/prefix")
        return self


class Environment(Part):
    """The settings of one machine: `local`, `cluster`, or a file of one's own."""

    data: DataSettings
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()
    evaluation: EvaluationSettings = EvaluationSettings()
    common: CommonSettings = CommonSettings()

    @model_validator(mode="after")
    def _check(self) -> Self:
        least = self.network.pool_size**4
        if min(self.data.slice_size) < least:
            raise ValueError(
                f"data.slice_size {list(self.data.slice_size)}: network.pool_size "
                f"{self.network.pool_size} needs at least {least} x {least}"
            )
        return self
