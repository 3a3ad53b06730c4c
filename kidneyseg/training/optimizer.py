"""The optimiser of a training: Adam as PyTorch has it, its learning rate falling by StepLR."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Adam
from torch.optim.lr_scheduler import StepLR

from kidneyseg.hyperparameters import Hyperparameters


class ScheduledAdam:
    """Adam over a network's parameters, and StepLR, stepped once per epoch."""

    def __init__(self, network: nn.Module, hyperparameters: Hyperparameters) -> None:
        self._parameters = list(network.parameters())
        self._adam = Adam(self._parameters, lr=hyperparameters.learning_rate, fused=True)
        self._schedule = StepLR(
            self._adam, step_size=hyperparameters.step_size, gamma=hyperparameters.gamma
        )

    @property
    def learning_rate(self) -> float:
        """The learning rate of the steps to come."""
        return float(self._schedule.get_last_lr()[0])

    def forget_gradients(self) -> None:
        """Begin a batch: no gradient is left of the one before."""
        self._adam.zero_grad(set_to_none=True)

    def gradients_are_finite(self) -> Tensor:
        """Whether every gradient is a finite number: a bool on the device."""
        gradients = [p.grad for p in self._parameters if p.grad is not None]
        return torch.isfinite(torch.nn.utils.get_total_norm(gradients))

    def step(self, *, wanted: Tensor) -> None:
        """Follow the gradient if `wanted`, a bool on the device, is true; the host never waits."""
        # Adam's fused kernel leaves weights and moments alone where this is 1.
        self._adam.found_inf = (~wanted).to(torch.float32)  # type: ignore[attr-defined]
        self._adam.step()

    def end_epoch(self) -> None:
        """Step the schedule, after the epoch's last step."""
        self._schedule.step()

    def tensors(self) -> dict[str, Tensor]:
        """Moments and step counts, named by the parameter's number: `3.exp_avg`."""
        return {
            f"{number}.{name}": tensor
            for number, state in self._adam.state_dict()["state"].items()
            for name, tensor in state.items()
        }

    def load(self, tensors: Mapping[str, Tensor], *, epoch: int, learning_rate: float) -> None:
        """Go on as the optimiser whose `tensors()` these are would after so many epochs."""
        states = self._adam.state_dict()
        states["state"] = {
            number: {
                # A moment must lie in memory as its parameter does: Adam's fused kernel pairs them
                # in the order of memory.
                name: torch.empty_like(parameter).copy_(moment) if moment.dim() else moment
                for name, moment in below(f"{number}.", tensors).items()
            }
            for number, parameter in enumerate(self._parameters)
        }
        self._adam.load_state_dict(states)
        for group in self._adam.param_groups:
            group["lr"] = learning_rate
        self._schedule.load_state_dict(
            {
                **self._schedule.state_dict(),
                "last_epoch": epoch,
                "_step_count": epoch + 1,
                "_last_lr": [learning_rate],
            }
        )


def below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, named without it."""
    found = {name: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
    return {name.removeprefix(prefix): tensor for name, tensor in found.items()}
