"""The PReLU of the authors' code: one slope for all channels and all three places of a block.

The same function as `nn.PReLU()`. On a CPU the gradient is taken by other operations: PyTorch's own
costs 10 to 15 % of a training step there (docs/decisions.md).
"""

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from kidneyseg.network.exact_sums import product_sum

FIRST_SLOPE = 0.25


class SharedPReLU(nn.Module):
    """x where positive, slope times x elsewhere, with a slope that is learned."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.full((1,), FIRST_SLOPE))

    def forward(self, x: Tensor) -> Tensor:
        slope = self.weight.to(x.dtype)
        if x.is_cpu and torch.is_grad_enabled():
            out: Tensor = _PReLUOnCPU.apply(x, slope)  # type: ignore[no-untyped-call]  # PyTorch's
            return out
        return functional.prelu(x, slope)


class _PReLUOnCPU(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: Tensor) -> Tensor:  # PyTorch's context
        ctx.save_for_backward(x, slope)
        return functional.prelu(x, slope)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:  # as above
        x, slope = ctx.saved_tensors
        gradient = gradient.to(x.dtype)  # autocast may have made the output, not x, a smaller type
        # A leaky ReLU is the same function; its slope is a plain number.
        to_x = torch.ops.aten.leaky_relu_backward(gradient, x, slope.item(), False)
        to_slope = product_sum(gradient, x.clamp(max=0))
        return to_x, to_slope.reshape(1).to(slope.dtype)
