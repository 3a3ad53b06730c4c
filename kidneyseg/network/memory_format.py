"""How a network's weights lie in memory: channels last is the faster order for convolutions."""

import torch

from kidneyseg.network.quicknat import QuickNAT


def channels_last(network: QuickNAT, device: torch.device) -> QuickNAT:
    """Move a network to a device, with its weights in channels-last order."""
    # torch documents the argument; its type stubs leave it out.
    moved: QuickNAT = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved
