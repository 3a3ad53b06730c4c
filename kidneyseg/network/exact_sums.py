"""Sums over all pixels of channels-last slices on a CPU, exact to float32's last bits and fast.

PyTorch's sums for batch norm are fast and add up pixel after pixel in one float32, which loses
digits; its other sums keep them and take ten times as long. Here as many pixels as fill a few cache
lines stand side by side as if they were channels, the fast sums run over these, and what they give
is put together in float64.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from kidneyseg.errors import DataError

SIDE_BY_SIDE = 2048  # numbers: the width of a row, whose sums stay in the nearest cache


@dataclass(frozen=True, slots=True)
class Statistics:
    """Mean and variance of every channel over all pixels of a batch, in float64."""

    mean: Tensor  # (C,)
    variance: Tensor  # (C,), biased: divided by the number of pixels
    n: int  # pixels


def joined(*parts: Statistics | None) -> Statistics | None:
    """Those of all parts' channels in order; None where one part's are not known."""
    known = [part for part in parts if part is not None]
    if len(known) < len(parts):
        return None
    mean = torch.cat([part.mean for part in known])
    return Statistics(mean, torch.cat([part.variance for part in known]), known[0].n)


def batch_statistics(
    x: Tensor,  # (N, C, H, W), channels last in memory
) -> Statistics:
    """Mean and variance of every channel. Raises DataError for a single pixel."""
    n, channels = x.numel() // x.shape[1], x.shape[1]
    if n == 1:
        raise DataError(
            "batch norm of a single pixel: expected more slices at once, or larger ones"
        )
    counts, means, variances = [], [], []
    for rows in rows_of(x):
        mean, variance = _column_statistics(rows)
        counts.append(len(rows))
        means.append(mean.view(-1, channels).double())
        variances.append(variance.view(-1, channels).double())
    mean = _sum([count * part.sum(0) for count, part in zip(counts, means, strict=True)]) / n
    spread = [
        count * (variance + (part - mean).square()).sum(0)
        for count, part, variance in zip(counts, means, variances, strict=True)
    ]
    return Statistics(mean, _sum(spread) / n, n)


def gradient_sums(
    gradient: Tensor,  # (N, C, H, W), channels last in memory
    x: Tensor,  # the same
    mean: Tensor,  # (C,) float64
    inverse: Tensor,  # (C,) float64, of the standard deviation
) -> tuple[Tensor, Tensor]:  # (C,) float64 each
    """Sum of the gradient, and of gradient times (x - mean) inverse, of every channel."""
    kind = torch.promote_types(x.dtype, torch.float32)
    centre = mean.to(kind)
    plain, products = [], []
    for rows, of_rows in zip(rows_of(x), rows_of(gradient), strict=True):
        width = rows.shape[1] // len(mean)
        first, second = _column_sums(of_rows, rows, centre.repeat(width))
        plain.append(first.view(width, -1).double().sum(0))
        products.append(second.view(width, -1).double().sum(0))
    of_gradient = _sum(plain)
    # The centre was rounded: what its last bits have taken away wrongly comes back here.
    return of_gradient, inverse * (_sum(products) - (mean - centre) * of_gradient)


def product_sum(a: Tensor, b: Tensor) -> Tensor:
    """Sum of a x b over all elements, of two tensors that lie alike in memory: a float64."""
    if not (a.is_contiguous(memory_format=torch.channels_last) and a.stride() == b.stride()):
        return (a.double() * b.double()).sum()
    found = [
        _column_sums(
            one, other, torch.zeros(one.shape[1], dtype=torch.promote_types(a.dtype, torch.float32))
        )[1]
        .double()
        .sum()
        for one, other in zip(rows_of(a), rows_of(b), strict=True)
    ]
    return torch.stack(found).sum()


def rows_of(
    x: Tensor,  # (N, C, H, W), channels last in memory
) -> list[Tensor]:  # (rows, pixels side by side x C), and the last pixels if some are left over
    """Views of all pixels, in order."""
    pixels = x.permute(0, 2, 3, 1).view(-1, x.shape[1])
    n, channels = pixels.shape
    width = max(1, min(SIDE_BY_SIDE // channels, int(n**0.5)))
    whole = n // width * width
    parts = [pixels[:whole].view(-1, width * channels), pixels[whole:].view(1, -1)]
    return [part for part in parts if part.numel()]


def _column_statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of every column."""
    ignored = torch.zeros(rows.shape[1], dtype=torch.promote_types(rows.dtype, torch.float32))
    found: tuple[Tensor, Tensor] = torch.batch_norm_update_stats(
        rows, ignored, ignored.clone(), 0.0
    )
    return found


def _column_sums(gradient: Tensor, rows: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:
    """Sum of every column of the gradient, and of gradient x (rows - centre)."""
    one = torch.ones_like(centre)
    _, products, plain = torch.ops.aten.native_batch_norm_backward(
        gradient, rows, one, None, None, centre, one, True, 0.0, [False, True, True]
    )
    return plain, products


def _sum(parts: list[Tensor]) -> Tensor:
    return torch.stack(parts).sum(0)
