"""From stored slices to logits and losses: what training and validation have in common."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import replace

import torch
from torch import Tensor

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.network import QuickNAT
from kidneyseg.training.inputs import SliceInputs, slice_inputs
from kidneyseg.training.loss import SliceLosses, kidney_logits, slice_losses
from kidneyseg.training.pixel_weights import PixelWeighting
from kidneyseg.training.setup import TrainingSetup


class ForwardPass:
    """A network and the rules by which its logits are judged."""

    def __init__(
        self,
        network: QuickNAT,
        setup: TrainingSetup,
        kidney_fraction: float,  # of the training pixels
        device: torch.device,
    ) -> None:
        self._network = network
        self._setup = setup
        self._device = device
        self._weighting = PixelWeighting(
            kidney_fraction=kidney_fraction,
            border_weight=setup.hyperparameters.border_weight,
            border_sigma_px=setup.hyperparameters.border_sigma_px,
        )

    def inputs(self, slices: SliceDataset, indices: Sequence[int]) -> tuple[SliceInputs, Tensor]:
        """Slices on the device, ready for the network, and the index of each one's case."""
        batch = slices.batch(indices).to(self._device)
        return slice_inputs(batch, self._setup.data.hu_window), batch.volumes

    def weighted(self, inputs: SliceInputs) -> SliceInputs:
        """The same with every pixel's weight in the cross-entropy."""
        return replace(inputs, weights=self._weighting(inputs.labels, inputs.inside))

    def logits(self, inputs: SliceInputs) -> Tensor:
        """Logits of kidney, (N, 1, H, W) float32."""
        with self._precision():
            logits = self._network(inputs.images.contiguous(memory_format=torch.channels_last))
        return kidney_logits(logits).float()

    def __call__(self, inputs: SliceInputs) -> tuple[Tensor, SliceLosses]:
        """Logits of kidney, (N, 1, H, W) float32, and the losses of each slice."""
        logits = self.logits(inputs)
        hyperparameters = self._setup.hyperparameters
        weights = inputs.weights
        if weights is None:
            weights = self._weighting(inputs.labels, inputs.inside)
        losses = slice_losses(
            logits,
            inputs.labels,
            weights,
            alpha=hyperparameters.alpha,
            beta=hyperparameters.beta,
        )
        return logits, losses

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast(
            self._device.type,
            dtype=torch.bfloat16,
            enabled=self._setup.training.precision == "bfloat16",
        )
