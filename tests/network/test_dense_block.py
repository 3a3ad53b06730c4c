"""The dense block's wiring, in training too, against its definition written out."""

import torch
from torch import Tensor, nn

from kidneyseg.network.dense_block import DenseBlock


def written_out(block: DenseBlock, x: Tensor) -> Tensor:
    """From the facts: BN, activation, convolution over x, then [x, a], then [x, a, b]."""

    def place(parts: list[Tensor], batchnorm: nn.BatchNorm2d, conv: nn.Conv2d) -> Tensor:
        together = torch.cat(parts, dim=1)
        mean = together.mean(dim=(0, 2, 3), keepdim=True)
        variance = together.var(dim=(0, 2, 3), keepdim=True, unbiased=False)
        normal = (together - mean) / torch.sqrt(variance + 1e-5)
        scaled = normal * batchnorm.weight[:, None, None] + batchnorm.bias[:, None, None]
        out: Tensor = conv(scaled.clamp(min=0))
        return out

    a = place([x], block.batchnorm1, block.conv1)
    b = place([x, a], block.batchnorm2, block.conv2)
    return place([x, a, b], block.batchnorm3, block.conv3)


def block_and_input() -> tuple[DenseBlock, Tensor]:
    torch.manual_seed(6)
    block = DenseBlock(3, 4, kernel_size=5, activation=nn.ReLU()).double()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.3)
    return block, 2 + torch.randn((2, 3, 9, 8), dtype=torch.float64)


def test_training_uses_the_batchs_own_statistics_at_each_place() -> None:
    block, x = block_and_input()
    torch.testing.assert_close(block(x), written_out(block, x))


def test_running_statistics_of_the_input_are_those_of_batch_norm_at_all_three_places() -> None:
    block, x = block_and_input()
    block(x)
    mean = 0.1 * x.mean(dim=(0, 2, 3))  # momentum 0.1, from 0
    variance = 0.9 + 0.1 * x.var(dim=(0, 2, 3))  # from 1; unbiased, as BatchNorm2d keeps it
    for batchnorm in (block.batchnorm1, block.batchnorm2, block.batchnorm3):
        torch.testing.assert_close(batchnorm.get_buffer("running_mean")[:3], mean)
        torch.testing.assert_close(batchnorm.get_buffer("running_var")[:3], variance)


def test_third_convolution_sees_single_pixels_and_nothing_follows_it() -> None:
    block, x = block_and_input()
    assert block.conv3.kernel_size == (1, 1)
    nn.init.zeros_(block.conv3.weight)
    out = block(x)
    bias = block.conv3.get_parameter("bias")
    torch.testing.assert_close(out, bias[None, :, None, None].expand_as(out))
