"""The training of one network: a generator of epoch results.

Who calls it loops over the epochs and may stop at any of them; the trainer knows nothing of trials,
progress bars or files.
"""

import math
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import AbstractContextManager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.errors import TrainingError
from kidneyseg.network import build_quicknat, channels_last
from kidneyseg.training.augmentation import Augmentation
from kidneyseg.training.checkpoint import Checkpoint, Progress
from kidneyseg.training.device import set_up_gpu
from kidneyseg.training.inputs import SliceInputs, slice_inputs
from kidneyseg.training.loss import SliceLosses, kidney_logits, slice_losses
from kidneyseg.training.memory import keep_freed_memory
from kidneyseg.training.pictures import fullest_slices, outline
from kidneyseg.training.pixel_weights import PixelWeighting
from kidneyseg.training.results import EpochResult, EpochSums, MeanLosses
from kidneyseg.training.sampling import epoch_order
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.stopping import LossRises

MOST_SKIPPED_SHARE = 0.1  # of an epoch's steps, before the training is given up
MOST_SKIPPED_STEPS = 2  # in an epoch of few steps


class Training:
    """One training of a QuickNAT. `epochs()` runs it; `network` holds the current weights."""

    def __init__(
        self,
        setup: TrainingSetup,
        training: SliceDataset,
        validation: SliceDataset,
        device: torch.device,
    ) -> None:
        self.setup = setup
        self.device = device
        self.small_batch_size = setup.training.small_batch_size
        self._slices = training
        self._validation = validation
        self._best_dice, self._best_epoch = -math.inf, 0
        self._rises = LossRises()
        self._history: list[float] = []
        self._chosen: dict[str, int] = {}  # slices for pictures, once they are asked for
        hyperparameters = setup.hyperparameters
        if device.type == "cpu":
            keep_freed_memory()
        else:
            settings = setup.training
            set_up_gpu(deterministic=settings.deterministic, tf32=settings.precision == "tf32")
        torch.manual_seed(setup.seed)
        network = build_quicknat(setup.network, dropout=hyperparameters.dropout)
        self.network = channels_last(network, device)
        self.network.recompute = setup.training.recompute
        self._optimizer = Adam(
            self.network.parameters(), lr=hyperparameters.learning_rate, fused=True
        )
        self._scheduler = StepLR(
            self._optimizer, step_size=hyperparameters.step_size, gamma=hyperparameters.gamma
        )
        self._augmentation = Augmentation(strength=hyperparameters.augmentation)
        self._weighting = PixelWeighting(
            kidney_fraction=training.kidney_fraction,
            border_weight=hyperparameters.border_weight,
            border_sigma_px=hyperparameters.border_sigma_px,
        )

    @property
    def finished_epochs(self) -> int:
        """How many epochs are over, those before a resumption included."""
        return len(self._history)

    def epochs(self) -> Generator[EpochResult, None, None]:
        """Train, yielding after every epoch, until patience or `max_epochs` ends it.

        Raises TrainingError when losses are no longer finite, or one slice is too much for memory.
        """
        limits = self.setup.training
        while len(self._history) < limits.max_epochs and self._rises.in_a_row < limits.patience:
            epoch = len(self._history) + 1
            start = time.perf_counter()
            learning_rate = float(self._scheduler.get_last_lr()[0])
            training, skipped_steps = self._train_epoch(epoch)
            training_seconds = time.perf_counter() - start
            validation = self.validate()
            self._check_finite("validation", validation.losses, epoch)
            loss_rises = self._rises.add(validation.losses.combined)
            dice = validation.dice
            is_best = dice > self._best_dice
            if is_best:
                self._best_dice, self._best_epoch = dice, epoch
            self._history.append(dice)
            yield EpochResult(
                epoch=epoch,
                learning_rate=learning_rate,
                training_losses=training.losses,
                validation_losses=validation.losses,
                training_dice=training.dice,
                validation_dice=dice,
                dice_of_case=validation.dice_of_case,
                loss_rises=loss_rises,
                is_best=is_best,
                best_dice=self._best_dice,
                is_last=loss_rises >= limits.patience or epoch == limits.max_epochs,
                seconds=time.perf_counter() - start,
                slices_per_second=len(self._slices) / training_seconds,
                skipped_steps=skipped_steps,
                small_batch_size=self.small_batch_size,
            )

    @torch.no_grad()
    def validate(self) -> EpochSums:
        """Losses and Dice of the current weights on the validation slices."""
        self.network.eval()
        sums = EpochSums(self._validation.case_names, self.device)
        n = self.setup.evaluation.batch_size
        for first in range(0, len(self._validation), n):
            indices = range(first, min(first + n, len(self._validation)))
            inputs, volumes = self._inputs(self._validation, indices)
            logits, losses = self._forward(inputs)
            sums.add(inputs, volumes, logits, losses, self.setup.evaluation.threshold)
        return sums

    @torch.no_grad()
    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """The fullest slice of each validation case with both outlines, (H, W, 3), by case name."""
        self.network.eval()
        chosen = self._chosen = self._chosen or fullest_slices(self._validation)
        inputs, _ = self._inputs(self._validation, list(chosen.values()))
        logits, _ = self._forward(inputs)
        predicted = (torch.sigmoid(logits) > self.setup.evaluation.threshold) & inputs.inside
        middle = inputs.images[:, inputs.images.shape[1] // 2]
        planes = (middle, inputs.kidney()[:, 0], predicted[:, 0])
        images, truths, masks = (plane.cpu().numpy() for plane in planes)
        return {name: outline(images[i], truths[i], masks[i]) for i, name in enumerate(chosen)}

    def checkpoint(self) -> Checkpoint:
        """Everything that the next epoch depends on. Needs a finished epoch."""
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        for number, state in self._optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer.{number}.{name}": tensor for name, tensor in state.items()}
        progress = Progress(
            setup=self.setup.fingerprint,
            epoch=len(self._history),
            learning_rate=float(self._scheduler.get_last_lr()[0]),
            previous_loss=self._rises.previous,
            loss_rises=self._rises.in_a_row,
            best_dice=self._best_dice,
            best_epoch=self._best_epoch,
            small_batch_size=self.small_batch_size,
            history=tuple(self._history),
        )
        return Checkpoint(progress=progress, tensors=tensors)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on as the training that made the checkpoint would have.

        The remaining epochs and the final weights are those of one that was never interrupted.
        """
        tensors, progress = checkpoint.tensors, checkpoint.progress
        self.network.load_state_dict(_below("network.", tensors))
        optimizer = self._optimizer.state_dict()
        optimizer["state"] = {
            number: {
                # A moment must lie in memory as its parameter does: Adam's fused kernel pairs them
                # in the order of memory.
                name: torch.empty_like(parameter).copy_(moment) if moment.dim() else moment
                for name, moment in _below(f"optimizer.{number}.", tensors).items()
            }
            for number, parameter in enumerate(self.network.parameters())
        }
        self._optimizer.load_state_dict(optimizer)
        for group in self._optimizer.param_groups:
            group["lr"] = progress.learning_rate
        self._scheduler.load_state_dict(
            {
                **self._scheduler.state_dict(),
                "last_epoch": progress.epoch,
                "_step_count": progress.epoch + 1,
                "_last_lr": [progress.learning_rate],
            }
        )
        self._rises = LossRises(progress.previous_loss, progress.loss_rises)
        self._best_dice, self._best_epoch = progress.best_dice, progress.best_epoch
        self.small_batch_size = progress.small_batch_size
        self._history = list(progress.history)

    def _train_epoch(self, epoch: int) -> tuple[EpochSums, int]:
        """Train on every slice once; return the sums and how many steps were skipped."""
        # Everything random in an epoch follows from seed and epoch alone.
        torch.manual_seed(_epoch_seed(self.setup.seed, epoch))
        hyperparameters = self.setup.hyperparameters
        order = epoch_order(self._slices, hyperparameters.sampling)
        self.network.train()
        sums = EpochSums(self._slices.case_names, self.device)
        n = hyperparameters.batch_size
        batches = [order[first : first + n] for first in range(0, len(order), n)]
        taken = [self._step(indices, sums) for indices in batches]
        self._scheduler.step()
        skipped = len(taken) - int(torch.stack(taken).sum())
        if skipped > max(MOST_SKIPPED_STEPS, MOST_SKIPPED_SHARE * len(taken)):
            raise TrainingError(
                f"{skipped} of {len(taken)} steps of epoch {epoch} had a loss or gradient that is "
                f"not finite; try a smaller learning_rate than {hyperparameters.learning_rate:g}"
            )
        self._check_finite("training", sums.losses, epoch)
        return sums, skipped

    def _check_finite(self, kind: str, losses: MeanLosses, epoch: int) -> None:
        if not math.isfinite(losses.combined):
            raise TrainingError(
                f"{kind} loss is {losses.combined} in epoch {epoch}; try a smaller "
                f"learning_rate than {self.setup.hyperparameters.learning_rate:g}"
            )

    def _step(self, indices: list[int], sums: EpochSums) -> Tensor:
        """One optimiser step over a batch; return, on the device, whether it was taken.

        A step whose loss or gradient is not finite changes nothing, batch norm included. The host
        never waits for the device to know.
        """
        before = [buffer.clone() for buffer in self.network.buffers()]
        step_sums = self._accumulate(indices)
        gradients = [p.grad for p in self.network.parameters() if p.grad is not None]
        finite = torch.isfinite(torch.nn.utils.get_total_norm(gradients)) & step_sums.is_finite()
        # Adam's fused kernel leaves weights and moments alone where this is 1.
        self._optimizer.found_inf = (~finite).to(torch.float32)  # type: ignore[attr-defined]
        self._optimizer.step()
        for buffer, old in zip(self.network.buffers(), before, strict=True):
            buffer.copy_(torch.where(finite, buffer, old))
        sums.merge(step_sums, wanted=finite)
        return finite

    def _accumulate(self, indices: list[int]) -> EpochSums:
        """Leave the gradient of a batch in the parameters, a small batch at a time.

        Each slice counts in it as in one large batch, in a last, partial batch too. Where memory
        runs out, the small batch is halved and the batch begun anew, until one slice is too much:
        the gradient is the same but for batch norm, which has seen some slices twice, and dropout.
        """
        while True:
            try:
                return self._backward(indices)
            except RuntimeError as error:
                if not _is_out_of_memory(error):
                    raise
                reason = str(error).splitlines()[0]
            # Only here is everything of the failed try gone.
            self._halve_small_batch(reason)

    def _backward(self, indices: list[int]) -> EpochSums:
        sums = EpochSums(self._slices.case_names, self.device)
        self._optimizer.zero_grad(set_to_none=True)
        for first in range(0, len(indices), self.small_batch_size):
            part = indices[first : first + self.small_batch_size]
            inputs, volumes = self._inputs(self._slices, part)
            inputs = self._augmentation(inputs)
            logits, losses = self._forward(inputs)
            (losses.combined.sum() / len(indices)).backward()  # type: ignore[no-untyped-call]
            sums.add(inputs, volumes, logits, losses, self.setup.evaluation.threshold)
        return sums

    def _halve_small_batch(self, reason: str) -> None:
        if self.small_batch_size == 1:
            raise TrainingError(
                f"one slice of {self.setup.data.slice_size} is too much for the memory of "
                f"{self.device}: {reason}"
            )
        self.small_batch_size //= 2
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _inputs(self, slices: SliceDataset, indices: Sequence[int]) -> tuple[SliceInputs, Tensor]:
        """Slices on the device, ready for the network, and the index of each one's case."""
        batch = slices.batch(indices).to(self.device)
        return slice_inputs(batch, self.setup.data.hu_window), batch.volumes

    def _forward(self, inputs: SliceInputs) -> tuple[Tensor, SliceLosses]:
        """Logits of kidney, (N, 1, H, W) float32, and the losses of each slice."""
        with self._precision():
            logits = self.network(inputs.images.contiguous(memory_format=torch.channels_last))
        logits = kidney_logits(logits).float()
        hyperparameters = self.setup.hyperparameters
        losses = slice_losses(
            logits,
            inputs.labels,
            self._weighting(inputs.labels, inputs.inside),
            alpha=hyperparameters.alpha,
            beta=hyperparameters.beta,
        )
        return logits, losses

    def _precision(self) -> AbstractContextManager[None]:
        return torch.autocast(
            self.device.type,
            dtype=torch.bfloat16,
            enabled=self.setup.training.precision == "bfloat16",
        )


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, named without it."""
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}


def _is_out_of_memory(error: RuntimeError) -> bool:
    """Whether torch ran out of memory; on the processor only its words tell."""
    return isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
