"""The dense block, of which QuickNAT is built: three convolutions, each seeing all before.

Source: Roy, Conjeti, Navab, Wachinger, "QuickNAT", arXiv 1801.04161, figure 1.
"""

import torch
from torch import Tensor, nn


class DenseBlock(nn.Module):
    """Batch norm, activation, convolution, three times over the concatenation of what there is.

    The third convolution is 1 x 1; nothing follows it. One activation serves all three places: with
    a PReLU its one slope is shared, as in the authors' code.
    """

    def __init__(
        self, in_channels: int, filters: int, *, kernel_size: int, activation: nn.Module
    ) -> None:
        super().__init__()
        padding = (kernel_size - 1) // 2
        self.batchnorm1 = nn.BatchNorm2d(in_channels)
        self.conv1 = nn.Conv2d(in_channels, filters, kernel_size, padding=padding)
        self.batchnorm2 = nn.BatchNorm2d(in_channels + filters)
        self.conv2 = nn.Conv2d(in_channels + filters, filters, kernel_size, padding=padding)
        self.batchnorm3 = nn.BatchNorm2d(in_channels + 2 * filters)
        self.conv3 = nn.Conv2d(in_channels + 2 * filters, filters, kernel_size=1)
        self.activation = activation

    def forward(
        self,
        x: Tensor,  # (N, in_channels, H, W)
    ) -> Tensor:  # (N, filters, H, W)
        a = self.conv1(self.activation(self.batchnorm1(x)))
        xa = torch.cat([x, a], dim=1)
        b = self.conv2(self.activation(self.batchnorm2(xa)))
        xab = torch.cat([xa, b], dim=1)
        out: Tensor = self.conv3(self.activation(self.batchnorm3(xab)))
        return out
