"""QuickNAT: four encoders, a bottleneck, four decoders and a classifier, as in the paper's figure.

Source: Roy, Conjeti, Navab, Wachinger, "QuickNAT: segmenting MRI neuroanatomy in 20 seconds",
arXiv 1801.04161, figure 1. Every level has the same number of channels, F below.
"""

from typing import Any, assert_never

import torch
from torch import Tensor, nn

from kidneyseg.errors import DataError
from kidneyseg.network.activation import SharedPReLU
from kidneyseg.network.batch_norm import BatchNorm
from kidneyseg.network.dense_block import DenseBlock
from kidneyseg.network.pooling import max_pool, max_unpool
from kidneyseg.network.recomputation import recomputed
from kidneyseg.network.squeeze_excitation import (
    ChannelSpatialSqueezeExcitation,
    ChannelSqueezeExcitation,
    SpatialSqueezeExcitation,
)
from kidneyseg.settings import NetworkSettings

LEVELS = 4  # of pooling

REPORT = NetworkSettings()  # 3,331,407 parameters
AUTHORS = NetworkSettings(activation="prelu", bottleneck="dense")  # 3,549,272 parameters


class Encoder(nn.Module):
    """Dense block, squeeze and excitation, dropout; what comes out is kept, and pooled."""

    def __init__(
        self, dense: DenseBlock, squeeze_excitation: nn.Module, dropout: float, pool_size: int
    ) -> None:
        super().__init__()
        self.pool_size = pool_size
        self.dense = dense
        self.squeeze_excitation = squeeze_excitation
        self.dropout = nn.Dropout2d(dropout)

    def forward(
        self,
        x: Tensor,  # (N, C, H, W)
    ) -> tuple[Tensor, Tensor, Tensor]:  # (N, F, H // 2, W // 2), skip (N, F, H, W), places
        skip: Tensor = self.dropout(self.squeeze_excitation(self.dense(x)))
        pooled, places = max_pool(skip, self.pool_size)
        return pooled, skip, places


class Decoder(nn.Module):
    """Unpooling to the skip's size, beside the skip; then dense block, excitation, dropout."""

    def __init__(self, dense: DenseBlock, squeeze_excitation: nn.Module, dropout: float) -> None:
        super().__init__()
        self.dense = dense
        self.squeeze_excitation = squeeze_excitation
        self.dropout = nn.Dropout2d(dropout)

    def forward(
        self,
        x: Tensor,  # (N, F, H // 2, W // 2), from the level below
        skip: Tensor,  # (N, F, H, W), from the encoder of this level
        places: Tensor,  # (N, F, H // 2, W // 2), from the same encoder
    ) -> Tensor:  # (N, F, H, W)
        unpooled = max_unpool(x, places, (skip.shape[2], skip.shape[3]))
        both = torch.cat([skip, unpooled], dim=1)  # (N, 2 F, H, W)
        out: Tensor = self.dropout(self.squeeze_excitation(self.dense(both)))
        return out


class ConvolutionBottleneck(nn.Module):
    """The bottleneck as the paper and the report draw it: a convolution and batch norm."""

    def __init__(self, filters: int, kernel_size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(filters, filters, kernel_size, padding=(kernel_size - 1) // 2)
        self.batchnorm = BatchNorm(filters)

    def forward(
        self,
        x: Tensor,  # (N, F, H, W)
    ) -> Tensor:  # (N, F, H, W)
        out: Tensor = self.batchnorm(self.conv(x))
        return out


class QuickNAT(nn.Module):
    """The whole network. Modules are named and ordered as in the authors' code.

    The decoders therefore run in the order decode4 (deepest), decode1, decode2, decode3.
    """

    def __init__(
        self,
        encoders: tuple[Encoder, Encoder, Encoder, Encoder],  # from the top down
        bottleneck: nn.Module,
        decoders: tuple[Decoder, Decoder, Decoder, Decoder],  # from the bottom up
        classifier: nn.Conv2d,
    ) -> None:
        super().__init__()
        self.encode1, self.encode2, self.encode3, self.encode4 = encoders
        self.bottleneck = bottleneck
        self.decode4, self.decode1, self.decode2, self.decode3 = decoders
        self.classifier = classifier
        # One pixel at the bottleneck.
        self.smallest_side_px: int = self.encode1.pool_size**LEVELS
        self.recompute = False  # keep a block's ends alone for the backward pass

    def forward(
        self,
        x: Tensor,  # (N, input_slices, H, W)
    ) -> Tensor:  # logits (N, output_channels, H, W)
        self._check_size(x)
        # A single channel fits both memory layouts: said outright, or its concatenations fall back.
        x = x.clone(memory_format=torch.channels_last)
        run = recomputed if self.recompute and self.training else _run
        x, skip1, places1 = run(self.encode1, x)
        x, skip2, places2 = run(self.encode2, x)
        x, skip3, places3 = run(self.encode3, x)
        x, skip4, places4 = run(self.encode4, x)
        x = run(self.bottleneck, x)
        x = run(self.decode4, x, skip4, places4)
        x = run(self.decode1, x, skip3, places3)
        x = run(self.decode2, x, skip2, places2)
        x = run(self.decode3, x, skip1, places1)
        logits: Tensor = self.classifier(x)
        return logits

    def _check_size(self, x: Tensor) -> None:
        rows, columns = x.shape[-2:]
        least = self.smallest_side_px
        if min(rows, columns) < least:
            raise DataError(
                f"slice of {rows} x {columns} pixels: QuickNAT needs at least {least} x {least}"
            )


def _run(block: nn.Module, *inputs: Tensor) -> Any:
    return block(*inputs)


def build_quicknat(settings: NetworkSettings, *, dropout: float) -> QuickNAT:
    """QuickNAT in the size and variant of the settings, with PyTorch's own random start."""
    filters = settings.filters
    return QuickNAT(
        encoders=(
            _encoder(settings.input_slices, settings, dropout),
            _encoder(filters, settings, dropout),
            _encoder(filters, settings, dropout),
            _encoder(filters, settings, dropout),
        ),
        bottleneck=_bottleneck(settings),
        decoders=(
            _decoder(settings, dropout),
            _decoder(settings, dropout),
            _decoder(settings, dropout),
            _decoder(settings, dropout),
        ),
        classifier=nn.Conv2d(filters, settings.output_channels, kernel_size=1),
    )


def _encoder(in_channels: int, settings: NetworkSettings, dropout: float) -> Encoder:
    dense = _dense_block(in_channels, settings)
    return Encoder(dense, _squeeze_excitation(settings), dropout, settings.pool_size)


def _decoder(settings: NetworkSettings, dropout: float) -> Decoder:
    dense = _dense_block(2 * settings.filters, settings)
    return Decoder(dense, _squeeze_excitation(settings), dropout)


def _bottleneck(settings: NetworkSettings) -> nn.Module:
    match settings.bottleneck:
        case "convolution":
            return ConvolutionBottleneck(settings.filters, settings.kernel_size)
        case "dense":
            return _dense_block(settings.filters, settings)
        case unknown:
            assert_never(unknown)


def _dense_block(in_channels: int, settings: NetworkSettings) -> DenseBlock:
    return DenseBlock(
        in_channels,
        settings.filters,
        kernel_size=settings.kernel_size,
        activation=_activation(settings),
    )


def _activation(settings: NetworkSettings) -> nn.Module:
    match settings.activation:
        case "relu":
            return nn.ReLU()
        case "prelu":
            return SharedPReLU()
        case unknown:
            assert_never(unknown)


def _squeeze_excitation(settings: NetworkSettings) -> nn.Module:
    match settings.squeeze_excitation:
        case "none":
            return nn.Identity()
        case "cse":
            return ChannelSqueezeExcitation(settings.filters)
        case "sse":
            return SpatialSqueezeExcitation(settings.filters)
        case "csse":
            return ChannelSpatialSqueezeExcitation(settings.filters)
        case unknown:
            assert_never(unknown)
