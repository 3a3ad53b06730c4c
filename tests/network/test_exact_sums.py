"""Sums over channels-last slices lose no digits."""

import pytest
import torch
from torch import Tensor

from kidneyseg.network.exact_sums import batch_statistics, joined, product_sum


def noise(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 3
    return values.contiguous(memory_format=torch.channels_last)


def test_statistics_of_parts_are_those_of_their_concatenation() -> None:
    parts = [noise(2, channels, 9, 7, seed=channels) for channels in (3, 2, 4)]
    whole = batch_statistics(torch.cat(parts, dim=1))
    found = joined(*(batch_statistics(part) for part in parts))
    assert found is not None
    torch.testing.assert_close(found.mean, whole.mean, rtol=1e-6, atol=0)
    torch.testing.assert_close(found.variance, whole.variance, rtol=1e-6, atol=0)
    assert joined(whole, None) is None


@pytest.mark.parametrize("shape", [(2, 3, 7, 5), (4, 8, 64, 64)])
def test_a_sum_of_products_is_that_of_float64(shape: tuple[int, ...]) -> None:
    a, b = noise(*shape), noise(*shape, seed=1)
    for one, other in ((a, b), (a.contiguous(), b), (a.contiguous(), b.contiguous())):
        expected = (one.double() * other.double()).sum().item()
        assert product_sum(one, other).item() == pytest.approx(expected, rel=1e-6)
