"""Squeeze and excitation against its closed forms."""

import torch
from torch import Tensor, nn

from kidneyseg.network.squeeze_excitation import (
    ChannelSpatialSqueezeExcitation,
    ChannelSqueezeExcitation,
    SpatialSqueezeExcitation,
)


def features() -> Tensor:  # (3, 4, 5, 7)
    generator = torch.Generator().manual_seed(1)
    return torch.randn((3, 4, 5, 7), dtype=torch.float64, generator=generator)


def filled(module: nn.Module) -> None:
    for number, parameter in enumerate(module.parameters()):
        nn.init.constant_(parameter, 0.1 * (number + 1))


def test_channel_excitation_scales_by_the_sigmoid_of_two_layers_on_the_means() -> None:
    excitation = ChannelSqueezeExcitation(4).double()
    filled(excitation)  # fc1: weights 0.1, bias 0.2; fc2: weights 0.3, bias 0.4
    x = features()
    hidden = (0.1 * x.mean(dim=(2, 3)).sum(dim=1) + 0.2).clamp(min=0)  # the same for both units
    scale = 1 / (1 + torch.exp(-(2 * 0.3 * hidden + 0.4)))
    torch.testing.assert_close(excitation(x), x * scale.reshape(3, 1, 1, 1))


def test_spatial_excitation_scales_each_pixel_by_the_sigmoid_of_its_channels() -> None:
    excitation = SpatialSqueezeExcitation(4).double()
    filled(excitation)  # weights 0.1, bias 0.2
    x = features()
    scale = 1 / (1 + torch.exp(-(0.1 * x.sum(dim=1, keepdim=True) + 0.2)))
    torch.testing.assert_close(excitation(x), x * scale)


def test_both_together_are_the_larger_element_by_element() -> None:
    torch.manual_seed(2)
    excitation = ChannelSpatialSqueezeExcitation(4).double()
    x = features()
    expected = torch.maximum(excitation.channel(x), excitation.spatial(x))
    assert not torch.equal(expected, excitation.channel(x))  # each of the two wins somewhere
    assert not torch.equal(expected, excitation.spatial(x))
    torch.testing.assert_close(excitation(x), expected, rtol=1e-14, atol=1e-14)


def test_gradient_of_both_together_is_that_of_the_maximum() -> None:
    torch.manual_seed(2)
    excitation = ChannelSpatialSqueezeExcitation(4).double()
    x = features().requires_grad_()
    inputs = [x, *excitation.parameters()]
    got = torch.autograd.grad(excitation(x).square().sum(), inputs)
    larger = torch.maximum(excitation.channel(x), excitation.spatial(x))
    expected = torch.autograd.grad(larger.square().sum(), inputs)
    for one, other in zip(got, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-10)
