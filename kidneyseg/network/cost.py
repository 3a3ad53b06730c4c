"""What a network costs, counted and not timed: the same on every machine, busy or idle."""

import torch
from torch.utils.flop_counter import FlopCounterMode

from kidneyseg.network.quicknat import build_quicknat
from kidneyseg.settings import NetworkSettings


def count_forward_macs(
    settings: NetworkSettings,
    slice_size: tuple[int, int],  # (rows, columns)
) -> int:
    """Multiply-adds of all convolutions and linear layers for one slice, forward.

    The network runs without memory or numbers (PyTorch's `meta` device), in milliseconds. Batch
    norm, activations and pooling are not counted.
    """
    with torch.device("meta"):
        network = build_quicknat(settings, dropout=0.0).eval()
        one_slice = torch.empty((1, settings.input_slices, *slice_size))
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        network(one_slice)
    return int(counter.get_total_flops()) // 2  # a multiply-add is two operations
