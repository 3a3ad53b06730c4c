"""What varies from trial to trial. One name everywhere: file, field, database column."""

from typing import Literal

from pydantic import Field

from kidneyseg.settings import Part


class Hyperparameters(Part):
    """The hyper-parameters of one training. The defaults are the report's own values."""

    learning_rate: float = Field(default=1e-3, gt=0, le=10)
    """Length of Adam's steps."""
    alpha: float = Field(default=1.0, ge=0)
    """Weight of the Dice loss."""
    beta: float = Field(default=0.5, ge=0)
    """Weight of the cross-entropy; under Adam only alpha : beta matters."""
    batch_size: int = Field(default=16, ge=1, le=4096)
    """Slices per optimiser step."""
    dropout: float = Field(default=0.2, ge=0, lt=1)
    """Share of channels left out while training."""
    step_size: int = Field(default=50, ge=1)
    """StepLR: epochs between two decays; beyond `max_epochs` it never fires."""
    gamma: float = Field(default=0.5, gt=0, le=1)
    """StepLR: factor of a decay."""
    border_weight: float = Field(default=4.0, ge=0)
    """w0 of the border term in the pixel weights, after U-Net."""
    border_sigma_px: float = Field(default=3.0, gt=0, le=32)
    """Width of the border term."""
    sampling: Literal["uniform", "balanced"] = "uniform"
    """Slices alike (`uniform`, the report), or volumes alike (`balanced`)."""
    augmentation: float = Field(default=0.0, ge=0, le=1)
    """Strength of rotation, scaling, translation, elastic deformation, noise and gamma; 0 is off,
    as in the report."""
