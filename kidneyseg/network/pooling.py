"""Max pooling and its inverse: repeatable, exportable to ONNX, and as fast as PyTorch's.

`nn.MaxUnpool2d` refuses to run under `torch.use_deterministic_algorithms(True)` and has no ONNX
form. Windows that do not overlap never write one place twice, so a plain scatter does the same.
"""

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional


def max_pool(
    x: Tensor,  # (N, C, H, W)
    size: int = 2,  # of a window, both ways
) -> tuple[Tensor, Tensor]:  # maxima and their places, both (N, C, H // size, W // size)
    """The maximum of each window, and where it lay: row x W + column. The first of equals counts.

    Rows and columns at the end that fill no window are left out: of an odd height, the last.
    """
    return functional.max_pool2d_with_indices(x, [size, size])


def max_unpool(
    pooled: Tensor,  # (N, C, H // 2, W // 2), or by another size of windows
    places: Tensor,  # of the same shape, from max_pool
    size: tuple[int, int],  # (H, W)
) -> Tensor:  # (N, C, H, W), channels last in memory
    """Each value at the place its maximum came from, zero everywhere else."""
    rows, columns = size
    n, channels = pooled.shape[:2]
    # PyTorch moves whole numbers of 16 bits twice as fast as bfloat16 on a CPU.
    scatter = _scatter_bits if pooled.is_cpu and pooled.dtype == torch.bfloat16 else _scatter
    pixels = scatter(_by_pixel(pooled), _by_pixel(places), rows * columns)
    return pixels.view(n, rows, columns, channels).permute(0, 3, 1, 2)


def _scatter(
    values: Tensor,  # (N, P, C)
    places: Tensor,  # (N, P, C)
    n_pixels: int,
) -> Tensor:  # (N, n_pixels, C)
    n, _, channels = values.shape
    return values.new_zeros((n, n_pixels, channels)).scatter_(1, places, values)


def _scatter_bits(values: Tensor, places: Tensor, n_pixels: int) -> Tensor:
    pixels: Tensor = _ScatterBits.apply(values, places, n_pixels)  # type: ignore[no-untyped-call]
    return pixels


class _ScatterBits(torch.autograd.Function):
    """`_scatter` of values of 16 bits, whatever they mean."""

    @staticmethod
    def forward(ctx: Any, values: Tensor, places: Tensor, n_pixels: int) -> Tensor:
        ctx.save_for_backward(places)
        return _scatter(values.view(torch.int16), places, n_pixels).view(values.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        (places,) = ctx.saved_tensors
        bits = gradient.view(torch.int16).gather(1, places)
        return bits.view(gradient.dtype), None, None


def _by_pixel(
    x: Tensor,  # (N, C, H, W)
) -> Tensor:  # (N, H W, C), without a copy where x has its channels last in memory
    return x.permute(0, 2, 3, 1).flatten(1, 2)
