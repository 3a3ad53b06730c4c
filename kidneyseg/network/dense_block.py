"""The dense block, of which QuickNAT is built: three convolutions, each seeing all before.

Source: Roy, Conjeti, Navab, Wachinger, "QuickNAT", arXiv 1801.04161, figure 1.
"""

import torch
from torch import Tensor, nn

from kidneyseg.network.batch_norm import BatchNorm
from kidneyseg.network.exact_sums import joined


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
        self.batchnorm1 = BatchNorm(in_channels)
        self.conv1 = nn.Conv2d(in_channels, filters, kernel_size, padding=padding)
        self.batchnorm2 = BatchNorm(in_channels + filters)
        self.conv2 = nn.Conv2d(in_channels + filters, filters, kernel_size, padding=padding)
        self.batchnorm3 = BatchNorm(in_channels + 2 * filters)
        self.conv3 = nn.Conv2d(in_channels + 2 * filters, filters, kernel_size=1)
        self.activation = activation

    def forward(
        self,
        x: Tensor,  # (N, in_channels, H, W)
    ) -> Tensor:  # (N, filters, H, W)
        of_x = self.batchnorm1.statistics(x)
        a = self.conv1(self.activation(self.batchnorm1(x, of_x)))
        of_a = self.batchnorm2.statistics(a)
        xa = torch.cat([x.to(a.dtype), a], dim=1)  # autocast would keep all of it in x's float32
        b = self.conv2(self.activation(self.batchnorm2(xa, joined(of_x, of_a))))
        of_b = self.batchnorm3.statistics(b)
        xab = torch.cat([xa, b], dim=1)
        of_xab = joined(of_x, of_a, of_b)
        out: Tensor = self.conv3(self.activation(self.batchnorm3(xab, of_xab)))
        return out
