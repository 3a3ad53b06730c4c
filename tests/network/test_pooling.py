"""Pooling and unpooling: bit for bit PyTorch's own, in values and gradients."""

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn

from kidneyseg.network.pooling import max_pool, max_unpool

SIZES = [(2, 2), (4, 6), (5, 6), (6, 5), (7, 9), (16, 33)]
FORMATS = [torch.contiguous_format, torch.channels_last]
TYPES = [torch.float32, torch.bfloat16, torch.float64]


@pytest.fixture
def deterministic() -> Iterator[None]:
    torch.use_deterministic_algorithms(True)
    yield
    torch.use_deterministic_algorithms(False)


def features(size: tuple[int, int], *, ties: bool) -> Tensor:  # (2, 3, H, W)
    generator = torch.Generator().manual_seed(3)
    values = torch.randn((2, 3, *size), generator=generator)
    return values.round() if ties else values  # rounded: most windows have equals


def pytorchs_own(x: Tensor, y: Tensor) -> list[Tensor]:
    """Unpooled (y instead of the maxima), and the gradients of x and y."""
    pooled, indices = nn.MaxPool2d(2, return_indices=True)(x)
    unpooled: Tensor = nn.MaxUnpool2d(2)(pooled * y, indices, output_size=x.shape[2:])
    return [unpooled, *torch.autograd.grad(unpooled, (x, y), weight_of(unpooled))]


def ours(x: Tensor, y: Tensor) -> list[Tensor]:
    pooled, places = max_pool(x)
    unpooled = max_unpool(pooled * y, places, (x.shape[2], x.shape[3]))
    return [unpooled, *torch.autograd.grad(unpooled, (x, y), weight_of(unpooled))]


def weight_of(x: Tensor) -> Tensor:
    """Another gradient at every place, so that a wrong place shows."""
    numbers = torch.arange(x.numel(), dtype=torch.float64).sin()
    return numbers.reshape(x.shape).to(x.dtype)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("memory_format", FORMATS, ids=str)
@pytest.mark.parametrize("dtype", TYPES, ids=str)
@pytest.mark.parametrize("ties", [False, True])
def test_values_and_gradients_are_pytorchs_bit_for_bit(
    size: tuple[int, int], memory_format: torch.memory_format, dtype: torch.dtype, *, ties: bool
) -> None:
    x = features(size, ties=ties).to(dtype).contiguous(memory_format=memory_format)
    y = features((size[0] // 2, size[1] // 2), ties=False).to(dtype)
    x, y = x.requires_grad_(), y.contiguous(memory_format=memory_format).requires_grad_()
    for got, expected in zip(ours(x, y), pytorchs_own(x, y), strict=True):
        assert torch.equal(got, expected)


def test_the_first_of_equals_keeps_the_place() -> None:
    pooled, places = max_pool(torch.ones(1, 1, 2, 4))
    assert places.tolist() == [[[[0, 2]]]]
    assert max_unpool(pooled, places, (2, 4)).tolist() == [[[[1, 0, 1, 0], [0, 0, 0, 0]]]]


def test_an_odd_last_row_and_column_stay_zero() -> None:
    x = torch.arange(1.0, 26.0).reshape(1, 1, 5, 5)
    unpooled = max_unpool(*max_pool(x), (5, 5))[0, 0]
    expected = torch.zeros(5, 5)
    for row, column in ((1, 1), (1, 3), (3, 1), (3, 3)):
        expected[row, column] = x[0, 0, row, column]
    assert torch.equal(unpooled, expected)


@pytest.mark.usefixtures("deterministic")
def test_unpooling_runs_where_pytorchs_own_refuses() -> None:
    x = features((7, 9), ties=False).requires_grad_()
    pooled, places = max_pool(x)
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        nn.MaxUnpool2d(2)(pooled, places, output_size=(7, 9))
    first, *_ = torch.autograd.grad(max_unpool(pooled, places, (7, 9)).square().sum(), x)
    assert first.count_nonzero() == pooled.numel()


def test_unpooling_keeps_channels_last_in_memory() -> None:
    x = features((8, 6), ties=False).contiguous(memory_format=torch.channels_last)
    unpooled = max_unpool(*max_pool(x), (8, 6))
    assert unpooled.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("window", [3, 4])
@pytest.mark.parametrize("dtype", TYPES, ids=str)
def test_larger_windows_are_pytorchs_bit_for_bit_too(window: int, dtype: torch.dtype) -> None:
    x = features((4 * window + 1, 5 * window + 2), ties=True).to(dtype)
    pooled, places = max_pool(x, window)
    found = max_unpool(pooled, places, (x.shape[2], x.shape[3]))
    expected, indices = nn.MaxPool2d(window, return_indices=True)(x)
    assert torch.equal(pooled, expected)
    unpooled = nn.MaxUnpool2d(window)(expected, indices, output_size=x.shape[2:])
    assert torch.equal(found, unpooled)
