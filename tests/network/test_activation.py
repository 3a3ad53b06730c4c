"""The shared PReLU is PyTorch's, in values and gradients."""

import pytest
import torch
from torch import Tensor, nn

from kidneyseg.network.activation import SharedPReLU


def with_slope(module: nn.Module, slope: float) -> nn.Module:
    for parameter in module.parameters():
        nn.init.constant_(parameter, slope)
    return module


def values_and_gradients(module: nn.Module, x: Tensor) -> list[Tensor]:
    out = module(x)
    weight = torch.linspace(-1, 2, x.numel(), dtype=x.dtype).reshape(x.shape)
    return [out, *torch.autograd.grad(out, [x, *module.parameters()], weight)]


@pytest.mark.parametrize("slope", [0.25, 0.0, 1.0, 1.7, -0.4])
def test_values_and_gradients_are_those_of_pytorchs_prelu(slope: float) -> None:
    generator = torch.Generator().manual_seed(4)
    x = torch.randn((2, 3, 4, 5), dtype=torch.float64, generator=generator)
    x[0, 0, 0, :2] = 0.0
    x.requires_grad_()
    got = values_and_gradients(with_slope(SharedPReLU().double(), slope), x)
    expected = values_and_gradients(with_slope(nn.PReLU().double(), slope), x)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-13, atol=1e-13)


def test_it_starts_as_pytorchs_prelu_does() -> None:
    assert torch.equal(SharedPReLU().weight, nn.PReLU().weight)


def test_autocast_to_bfloat16_gives_finite_gradients_in_the_parameters_type() -> None:
    module = SharedPReLU()
    x = torch.linspace(-3, 3, 60).reshape(1, 3, 4, 5).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        out = module(x)
    out.float().sum().backward()
    assert module.weight.grad is not None
    assert module.weight.grad.dtype == torch.float32
    torch.testing.assert_close(module.weight.grad, x.clamp(max=0).sum().reshape(1))
