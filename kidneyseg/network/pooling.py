"""2 x 2 max pooling and its inverse: repeatable, exportable to ONNX, and as fast as PyTorch's.

`nn.MaxUnpool2d` refuses to run under `torch.use_deterministic_algorithms(True)` and has no ONNX
form. Windows that do not overlap never write one place twice, so a plain scatter does the same.
"""

from torch import Tensor
from torch.nn import functional

POOL_SIZE = 2  # pixels, both ways


def max_pool(
    x: Tensor,  # (N, C, H, W)
) -> tuple[Tensor, Tensor]:  # maxima and their places, both (N, C, H // 2, W // 2)
    """The maximum of each window, and where it lay: row x W + column. The first of equals counts.

    The last row of an odd height is left out, and so is the last column of an odd width.
    """
    return functional.max_pool2d_with_indices(x, [POOL_SIZE, POOL_SIZE])


def max_unpool(
    pooled: Tensor,  # (N, C, H // 2, W // 2)
    places: Tensor,  # of the same shape, from max_pool
    size: tuple[int, int],  # (H, W)
) -> Tensor:  # (N, C, H, W), channels last in memory
    """Each value at the place its maximum came from, zero everywhere else."""
    rows, columns = size
    n, channels = pooled.shape[:2]
    pixels = pooled.new_zeros((n, rows * columns, channels))
    pixels.scatter_(1, _by_pixel(places), _by_pixel(pooled))
    return pixels.view(n, rows, columns, channels).permute(0, 3, 1, 2)


def _by_pixel(
    x: Tensor,  # (N, C, H, W)
) -> Tensor:  # (N, H W, C), without a copy where x has its channels last in memory
    return x.permute(0, 2, 3, 1).flatten(1, 2)
