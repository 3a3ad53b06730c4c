"""The machine's settings, as a person writes them: one TOML file with five parts.

A setting is fixed within a study. What varies from trial to trial is a hyper-parameter
(`kidneyseg.hyperparameters`). Settings are read once, at the start, and every key is checked there.
"""

import re
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

Fraction = Annotated[float, Field(gt=0, lt=1)]

BAD_ARTIFACTS = re.compile(r"(?!s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/|$))\w+://")
MACHINE_PATHS = {"folder", "cache", "splits_file"}  # data settings that decide no result themselves


class Part(BaseModel):
    """A part of a file that a person writes: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DataSettings(Part):
    """Which scans, how they become slices, and how cases are parted."""

    folder: Path | None = None  # of cases, or their table (ct/layouts.py); else phantoms are made
    cache: Path | None = None  # where prepared slices lie; default: below runs/
    kidney_labels: tuple[int, ...] = (1, 2)  # label values counted as kidney: tumour is kidney
    downsampling: int | None = Field(default=None, ge=1, le=16)  # in-plane, each dimension
    spacing_mm: float | None = Field(default=None, gt=0, le=20)  # in-plane, instead of downsampling
    slice_size: tuple[int, int]  # (rows, columns) a slice is padded or cropped to
    hu_window: tuple[float, float] = (-79.0, 304.0)  # HU are clipped to it, then scaled to [-1, 1]
    margin_slices: int = Field(default=20, ge=0)  # kept beyond the kidney, training and validation
    margin_mm: float | None = Field(default=None, ge=0)  # instead of margin_slices
    tumor_labels: tuple[int, ...] = (2,)  # label values that are tumour, for filter and split
    max_tumor_fraction: float | None = Field(default=None, ge=0, le=1)  # of kidney and tumour
    include: tuple[str, ...] = ()  # names of the only cases to use; empty: all
    exclude: tuple[str, ...] = ()  # names of cases not to use
    test_fraction: Fraction = 0.2  # of all cases
    validation_fraction: Fraction = 0.2  # of the cases that are not test cases
    split_seed: int = Field(default=0, ge=0)
    folds: int | None = Field(default=None, ge=2)  # parts of the development cases
    fold: int = Field(default=0, ge=0)  # which of the folds is validation
    splits_file: Path | None = None  # nnU-Net's splits_final.json, instead of a split of our own

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
        if self.folds is not None and self.splits_file is not None:
            raise ValueError("give folds or splits_file, not both")
        if self.folds is not None and self.fold >= self.folds:
            raise ValueError(f"fold {self.fold}: expected 0 to {self.folds - 1}, of data.folds")
        return self


class NetworkSettings(Part):
    """QuickNAT's size and variant. The defaults are the report's network."""

    filters: int = Field(default=64, ge=2, le=512)  # channels of every level
    kernel_size: Literal[1, 3, 5, 7] = 5
    squeeze_excitation: Literal["none", "cse", "sse", "csse"] = "csse"
    activation: Literal["relu", "prelu"] = "relu"  # prelu: the authors' code
    bottleneck: Literal["convolution", "dense"] = "convolution"  # dense: the authors' code
    pool_size: Literal[2, 3, 4] = 2  # a level is smaller by it; the bottleneck by its fourth power
    input_slices: Literal[1, 3, 5, 7] = 1  # neighbouring slices as input channels
    output_channels: Literal[1, 2] = 1  # 1: sigmoid, 2: softmax


class TrainingSettings(Part):
    """How a training runs on this machine."""

    max_epochs: int = Field(default=6, ge=1)
    patience: int = Field(default=2, ge=1)  # rises of the validation loss in a row until the stop
    small_batch_size: int = Field(default=4, ge=1)  # slices at a time; gradients are accumulated
    precision: Literal["float32", "tf32", "bfloat16"] = "float32"  # tf32: on GPUs alone
    recompute: bool = False  # activations in the backward pass: less memory, more time
    deterministic: bool = False  # bit-identical on a GPU too, and slower there; the CPU always is


class EvaluationSettings(Part):
    """How probabilities become a mask."""

    threshold: Fraction = 0.5  # above it is kidney
    batch_size: int = Field(default=16, ge=1)  # slices at a time


class CommonSettings(Part):
    """Where things lie and what runs them."""

    runs: Path = Path("runs")  # databases, splits, TensorBoard logs, checkpoints
    device: str = "auto"  # auto: the first GPU, else the CPU
    pictures: bool = True  # slices with outlines, in TensorBoard
    artifacts: str | None = None  # folder or s3://bucket/prefix; default: below runs/
    keep_best: int = Field(default=5, ge=1)  # complete trials of a study whose models are kept
    max_disk_gb: float | None = Field(default=None, gt=0)  # of a study's models and checkpoints

    patience_minutes: float = Field(default=10.0, ge=0)  # that workers wait for a lost database
    grace_seconds: float = Field(default=120.0, ge=2)  # of silence until a worker counts as dead

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
