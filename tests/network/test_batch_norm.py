"""Batch norm on a CPU with channels last: PyTorch's formula, with sums that lose no digits."""

import copy

import pytest
import torch
from torch import Tensor, nn

from kidneyseg.errors import DataError
from kidneyseg.network import AUTHORS, build_quicknat, channels_last
from kidneyseg.network.batch_norm import BatchNorm


def noise(*shape: int, seed: int = 0) -> Tensor:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(seed)) + 3
    return values.contiguous(memory_format=torch.channels_last)


def pair(channels: int) -> tuple[BatchNorm, nn.BatchNorm2d]:
    """Ours in float32 and PyTorch's in float64, with the same weights."""
    ours, exact = BatchNorm(channels), nn.BatchNorm2d(channels).double()
    for parameter in ours.parameters():
        nn.init.normal_(parameter, 1.0, 0.3)
    exact.load_state_dict(ours.state_dict())
    return ours, exact


def closeness(found: Tensor, expected: Tensor) -> float:
    return float(((found.double() - expected).norm() / expected.norm()).detach())


@pytest.mark.parametrize(
    "shape", [(4, 8, 256, 256), (3, 5, 17, 33), (2, 1, 40, 25), (3, 700, 1, 2)]
)
def test_output_gradients_and_running_statistics_are_those_of_float64(
    shape: tuple[int, ...],
) -> None:
    """Of PyTorch's own, a variance of the first shape is off by more than 2e-5."""
    ours, exact = pair(shape[1])
    x = noise(*shape).requires_grad_()
    precise = x.detach().double().contiguous().requires_grad_()
    gradient = noise(*shape, seed=1) + 0.5 * x.detach() - 4
    out, expected = ours(x), exact(precise)
    out.backward(gradient)
    expected.backward(gradient.double())
    assert x.grad is not None
    assert precise.grad is not None
    assert closeness(out, expected) < 1e-6
    assert closeness(x.grad, precise.grad) < 1e-5
    for parameter, other in zip(ours.parameters(), exact.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert closeness(parameter.grad, other.grad) < 2e-6
    for (name, buffer), wanted in zip(ours.named_buffers(), exact.buffers(), strict=True):
        assert closeness(buffer, wanted.double()) < 1e-6, name


def test_gradients_are_those_of_finite_differences() -> None:
    x = noise(2, 3, 5, 4).double().requires_grad_()
    ours = BatchNorm(3).double()
    assert torch.autograd.gradcheck(ours, (x,))


def test_bfloat16_is_summed_in_float32() -> None:
    ours, exact = pair(8)
    x = noise(4, 8, 128, 128).bfloat16()
    out = ours(x)
    assert out.dtype == torch.bfloat16
    assert closeness(out, exact(x.double())) < 4e-3  # half a unit of its last place
    for buffer, other in zip(ours.buffers(), exact.buffers(), strict=True):
        assert closeness(buffer, other.double()) < 1e-6


def test_evaluating_and_channels_first_it_is_pytorchs_own_bit_for_bit() -> None:
    ours, _ = pair(4)
    theirs = nn.BatchNorm2d(4)
    theirs.load_state_dict(ours.state_dict())
    first = noise(2, 4, 6, 5).contiguous()
    assert torch.equal(ours(first), theirs(first))
    last = noise(2, 4, 6, 5)
    assert torch.equal(ours.eval()(last), theirs.eval()(last))


def test_a_single_pixel_is_refused() -> None:
    with pytest.raises(DataError, match="batch norm of a single pixel: expected more slices"):
        BatchNorm(3)(torch.ones(1, 3, 1, 1))


def test_a_training_step_of_the_network_is_float64s_to_1e_4() -> None:
    """With slices large enough for sums to lose digits, against PyTorch's own batch norm."""
    torch.manual_seed(0)
    settings = AUTHORS.model_copy(update={"filters": 4, "kernel_size": 3})
    exact = with_pytorchs_batch_norm(build_quicknat(settings, dropout=0.0)).double()
    ours = build_quicknat(settings, dropout=0.0)
    ours.load_state_dict(exact.state_dict())
    ours = channels_last(ours, torch.device("cpu"))
    x = torch.randn((4, 1, 256, 256)) * 0.5 - 0.6
    found, expected = ours(x), exact(x.double())
    assert (found.double() - expected).abs().max() < 1e-4
    found.square().mean().backward()
    expected.square().mean().backward()
    for (name, parameter), other in zip(ours.named_parameters(), exact.parameters(), strict=True):
        assert parameter.grad is not None
        assert other.grad is not None
        assert (parameter.grad.double() - other.grad).abs().max() < 1e-4, name


def with_pytorchs_batch_norm(network: nn.Module) -> nn.Module:
    """The same network, every batch norm PyTorch's own on channels first in memory."""

    class Plain(BatchNorm):
        def statistics(self, x: Tensor) -> None:
            del x

        def forward(self, x: Tensor, statistics: object = None) -> Tensor:
            del statistics
            out: Tensor = nn.BatchNorm2d.forward(self, x.contiguous())
            return out

    network = copy.deepcopy(network)
    for module in network.modules():
        if isinstance(module, BatchNorm):
            module.__class__ = Plain
    return network
