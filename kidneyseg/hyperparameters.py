"""What varies from trial to trial. One name everywhere: file, field, database column."""

from typing import Literal

from pydantic import Field

from kidneyseg.settings import Part


class Hyperparameters(Part):
    """The hyper-parameters of one training. The defaults are the report's own values."""

    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    alpha: float = Field(default=1.0, ge=0)  # weight of the Dice loss
    beta: float = Field(default=0.5, ge=0)  # weight of the binary cross-entropy
    batch_size: int = Field(default=16, ge=1, le=4096)  # slices per optimiser step
    dropout: float = Field(default=0.2, ge=0, lt=1)
    step_size: int = Field(default=50, ge=1)  # StepLR: epochs between two decays
    gamma: float = Field(default=0.5, gt=0, le=1)  # StepLR: factor of a decay
    border_weight: float = Field(default=4.0, ge=0)  # w0 of the border term, after U-Net
    border_sigma_px: float = Field(default=3.0, gt=0, le=32)  # sigma of the border term
    sampling: Literal["uniform", "balanced"] = "uniform"  # over slices (the report), or volumes
    augmentation: float = Field(default=0.0, ge=0, le=1)  # strength; 0 is off, as in the report
