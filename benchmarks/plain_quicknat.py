"""QuickNAT as one writes it the first time, for comparison: NCHW, PReLU, plain concatenation.

The authors' variant, with a dense bottleneck, from its description alone.
"""

import torch
from torch import Tensor, nn


class PlainDense(nn.Module):
    """Three convolutions over growing concatenations."""

    def __init__(self, in_channels: int, filters: int, kernel_size: int) -> None:
        super().__init__()
        padding = kernel_size // 2
        self.norms = nn.ModuleList(nn.BatchNorm2d(in_channels + i * filters) for i in range(3))
        self.convolutions = nn.ModuleList(
            [
                nn.Conv2d(in_channels, filters, kernel_size, padding=padding),
                nn.Conv2d(in_channels + filters, filters, kernel_size, padding=padding),
                nn.Conv2d(in_channels + 2 * filters, filters, 1),
            ]
        )
        self.activation = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        for norm, convolution in zip(self.norms, self.convolutions, strict=True):
            out = convolution(self.activation(norm(x)))
            x = torch.cat([x, out], dim=1)
        return out


class PlainCSSE(nn.Module):
    """Channel and spatial squeeze and excitation, the larger of the two."""

    def __init__(self, filters: int) -> None:
        super().__init__()
        self.squeeze = nn.Linear(filters, filters // 2)
        self.excite = nn.Linear(filters // 2, filters)
        self.space = nn.Conv2d(filters, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        channel = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3))))))
        return torch.max(x * channel[:, :, None, None], x * torch.sigmoid(self.space(x)))


class PlainQuickNAT(nn.Module):
    """Four levels down, four up, with unpooling."""

    def __init__(self, filters: int, kernel_size: int, dropout: float) -> None:
        super().__init__()
        self.down = nn.ModuleList(
            PlainDense(filters if level else 1, filters, kernel_size) for level in range(4)
        )
        self.bottleneck = PlainDense(filters, filters, kernel_size)
        self.up = nn.ModuleList(PlainDense(2 * filters, filters, kernel_size) for _ in range(4))
        self.excitations = nn.ModuleList(PlainCSSE(filters) for _ in range(8))
        self.dropout = nn.Dropout2d(dropout)
        self.pool = nn.MaxPool2d(2, return_indices=True)
        self.unpool = nn.MaxUnpool2d(2)
        self.classifier = nn.Conv2d(filters, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        skips = []
        for dense, excite in zip(self.down, self.excitations[:4], strict=True):
            skip = self.dropout(excite(dense(x)))
            x, places = self.pool(skip)
            skips.append((skip, places))
        x = self.bottleneck(x)
        for dense, excite in zip(self.up, self.excitations[4:], strict=True):
            skip, places = skips.pop()
            x = self.unpool(x, places, output_size=skip.shape)
            x = self.dropout(excite(dense(torch.cat([skip, x], dim=1))))
        return self.classifier(x)
