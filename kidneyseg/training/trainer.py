"""The training of one network: a generator of epoch results.

Who calls it loops over the epochs and may stop at any of them; the trainer knows nothing of trials,
progress bars or files.
"""

import math
import time
from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.errors import TrainingError
from kidneyseg.network import build_quicknat, channels_last
from kidneyseg.training.augmentation import Augmentation
from kidneyseg.training.buffers import BuffersBefore
from kidneyseg.training.checkpoint import Checkpoint, Progress
from kidneyseg.training.device import check_precision, set_up_gpu
from kidneyseg.training.forward import ForwardPass
from kidneyseg.training.kept_weights import KeptWeights
from kidneyseg.training.memory import begin_peak, keep_freed_memory, peak_memory_bytes
from kidneyseg.training.optimizer import ScheduledAdam, below
from kidneyseg.training.pictures import fullest_slices, outlines
from kidneyseg.training.results import EpochResult, EpochSums, MeanLosses
from kidneyseg.training.sampling import epoch_order
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.slices_at_once import SlicesAtOnce, cut
from kidneyseg.training.stopping import LossRises

MOST_SKIPPED_SHARE = 0.1  # of an epoch's steps, before the training is given up
MOST_SKIPPED_STEPS = 2  # in an epoch of few steps
PREPARED_AT_ONCE = 64  # slices of a batch that are augmented and weighed together


class Training:
    """One training of a QuickNAT. `epochs()` runs it; `network` holds the current weights."""

    def __init__(
        self,
        setup: TrainingSetup,
        training: SliceDataset,
        validation: SliceDataset,
        device: torch.device,
    ) -> None:
        check_precision(setup.training.precision, device)
        self.setup = setup
        self.device = device
        self._trained_at_once = SlicesAtOnce(setup.training.small_batch_size, device)
        self._validated_at_once = SlicesAtOnce(setup.evaluation.batch_size, device)
        self._slices = training
        self._validation = validation
        self._best_dice, self._best_epoch = -math.inf, 0
        self._rises = LossRises()
        self._history: list[float] = []
        self.last: EpochResult | None = None  # what the last finished epoch gave
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
        self._optimizer = ScheduledAdam(self.network, hyperparameters)
        self._augmentation = Augmentation(strength=hyperparameters.augmentation)
        self._forward = ForwardPass(self.network, setup, training.kidney_fraction, device)
        self._validation_weights = KeptWeights(self._forward.weighted, len(validation))

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
            learning_rate = self._optimizer.learning_rate
            begin_peak(self.device)
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
            self.last = EpochResult(
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
                small_batch_size=self._trained_at_once.n,
                evaluation_batch_size=self._validated_at_once.n,
                memory_bytes=peak_memory_bytes(self.device),
            )
            yield self.last

    @torch.no_grad()
    def validate(self) -> EpochSums:
        """Losses and Dice of the current weights on the validation slices."""
        self.network.eval()
        return self._validated_at_once.run(self._validate)

    @torch.no_grad()
    def pictures(self) -> dict[str, NDArray[np.uint8]]:
        """The fullest slice of each validation case with both outlines, (H, W, 3), by case name."""
        self.network.eval()
        chosen = self._chosen = self._chosen or fullest_slices(self._validation)
        drawn = self._validated_at_once.run(lambda n: self._draw(list(chosen.values()), n))
        return dict(zip(chosen, drawn, strict=True))

    def checkpoint(self) -> Checkpoint:
        """Everything that the next epoch depends on. Needs a finished epoch."""
        tensors = {f"network.{name}": t for name, t in self.network.state_dict().items()}
        tensors |= {f"optimizer.{name}": t for name, t in self._optimizer.tensors().items()}
        progress = Progress(
            setup=self.setup.fingerprint,
            epoch=len(self._history),
            learning_rate=self._optimizer.learning_rate,
            previous_loss=self._rises.previous,
            loss_rises=self._rises.in_a_row,
            best_dice=self._best_dice,
            best_epoch=self._best_epoch,
            small_batch_size=self._trained_at_once.n,
            evaluation_batch_size=self._validated_at_once.n,
            history=tuple(self._history),
            last=self.last,
        )
        return Checkpoint(progress=progress, tensors=tensors)

    def resume(self, checkpoint: Checkpoint) -> None:
        """Go on as the training that made the checkpoint would have.

        The remaining epochs and the final weights are those of one that was never interrupted.
        """
        tensors, progress = checkpoint.tensors, checkpoint.progress
        self.network.load_state_dict(below("network.", tensors))
        self._optimizer.load(
            below("optimizer.", tensors),
            epoch=progress.epoch,
            learning_rate=progress.learning_rate,
        )
        self._rises = LossRises(progress.previous_loss, progress.loss_rises)
        self._best_dice, self._best_epoch = progress.best_dice, progress.best_epoch
        self._trained_at_once.n = progress.small_batch_size
        if progress.evaluation_batch_size is not None:
            self._validated_at_once.n = progress.evaluation_batch_size
        self._history = list(progress.history)
        self.last = progress.last

    def _train_epoch(self, epoch: int) -> tuple[EpochSums, int]:
        """Train on every slice once; return the sums and how many steps were skipped."""
        # Everything random in an epoch follows from seed and epoch alone.
        torch.manual_seed(_epoch_seed(self.setup.seed, epoch))
        hyperparameters = self.setup.hyperparameters
        order = epoch_order(self._slices, hyperparameters.sampling)
        self.network.train()
        sums = EpochSums(self._slices.case_names, self.device)
        batches = cut(order, hyperparameters.batch_size)
        taken = [self._step(indices, sums) for indices in batches]
        self._optimizer.end_epoch()
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

    def _step(self, indices: Sequence[int], sums: EpochSums) -> Tensor:
        """One optimiser step over a batch; return, on the device, whether it was taken.

        A step whose loss or gradient is not finite changes nothing, batch norm included. The host
        never waits for the device to know. Where memory runs out, the batch is begun anew with half
        as many slices at once, as if nothing had been tried.
        """
        before = BuffersBefore(self.network)
        begin_anew = self._undoing(before)
        step_sums = self._trained_at_once.run(lambda n: self._backward(indices, n), begin_anew)
        finite = self._optimizer.gradients_are_finite() & step_sums.is_finite()
        self._optimizer.step(wanted=finite)
        before.put_back(unless=finite)
        sums.merge(step_sums, wanted=finite)
        return finite

    def _undoing(self, before: BuffersBefore) -> Callable[[], None]:
        """What takes batch norm's statistics and the random numbers back to where they are now."""
        on_gpu = self.device.type == "cuda"
        here = torch.get_rng_state()
        there = torch.cuda.get_rng_state(self.device) if on_gpu else None

        def undo() -> None:
            torch.set_rng_state(here)
            if there is not None:
                torch.cuda.set_rng_state(there, self.device)
            before.put_back()

        return undo

    def _backward(self, indices: Sequence[int], n: int) -> EpochSums:
        """Leave the gradient of a batch in the parameters, n slices at a time.

        Each slice counts in it as in one large batch, in a last, partial batch too.
        """
        sums = EpochSums(self._slices.case_names, self.device)
        self._optimizer.forget_gradients()
        for prepared in cut(indices, PREPARED_AT_ONCE):
            batch, volumes = self._forward.inputs(self._slices, prepared)
            batch = self._forward.weighted(self._augmentation(batch))
            for part in cut(range(len(prepared)), n):
                inputs = batch.part(part[0], part[-1] + 1)
                logits, losses = self._forward(inputs)
                (losses.combined.sum() / len(indices)).backward()  # type: ignore[no-untyped-call]
                counted = volumes[part[0] : part[-1] + 1]
                sums.add(inputs, counted, logits, losses, self.setup.evaluation.threshold)
        return sums

    def _validate(self, n: int) -> EpochSums:
        """The sums of all validation slices, n at a time."""
        sums = EpochSums(self._validation.case_names, self.device)
        for part in cut(range(len(self._validation)), n):
            inputs, volumes = self._forward.inputs(self._validation, part)
            inputs = self._validation_weights.weighted(inputs, part[0])
            logits, losses = self._forward(inputs)
            sums.add(inputs, volumes, logits, losses, self.setup.evaluation.threshold)
        return sums

    def _draw(self, indices: Sequence[int], n: int) -> list[NDArray[np.uint8]]:
        """Validation slices with both outlines, n at a time."""
        drawn = []
        for part in cut(indices, n):
            inputs, _ = self._forward.inputs(self._validation, part)
            logits = self._forward.logits(inputs)
            predicted = (torch.sigmoid(logits) > self.setup.evaluation.threshold) & inputs.inside
            drawn += outlines(inputs, predicted)
        return drawn


def _epoch_seed(seed: int, epoch: int) -> int:
    return (seed * 1_000_003 + epoch) % 2**63
