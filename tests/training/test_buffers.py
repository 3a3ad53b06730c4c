"""Batch norm's statistics are put back, all or none."""

import pytest
import torch
from torch import Tensor

from kidneyseg.network import QuickNAT, build_quicknat
from kidneyseg.settings import NetworkSettings
from kidneyseg.training.buffers import BuffersBefore


def buffers(network: QuickNAT) -> list[Tensor]:
    return [buffer.clone() for buffer in network.buffers()]


@pytest.mark.parametrize("wanted", [True, False, None])
def test_buffers_are_put_back_unless_they_are_wanted(*, wanted: bool | None) -> None:
    network = build_quicknat(NetworkSettings(filters=2, kernel_size=3), dropout=0.0)
    before, taken = buffers(network), BuffersBefore(network)
    network(torch.randn(2, 1, 32, 32))
    moved = buffers(network)
    assert not any(torch.equal(*pair) for pair in zip(before, moved, strict=True))
    taken.put_back(unless=None if wanted is None else torch.tensor(wanted))
    expected = moved if wanted else before
    assert all(torch.equal(*pair) for pair in zip(network.buffers(), expected, strict=True))


def test_what_is_no_number_is_put_back() -> None:
    network = build_quicknat(NetworkSettings(filters=2, kernel_size=3), dropout=0.0)
    before, taken = buffers(network), BuffersBefore(network)
    network(torch.full((2, 1, 32, 32), torch.nan))
    taken.put_back(unless=torch.tensor(False))
    assert all(torch.equal(*pair) for pair in zip(network.buffers(), before, strict=True))
