"""The running statistics of batch norm as they were, to be put back.

A network has 81 of them, each a few numbers: taken and put back together, in a handful of operators
and not hundreds.
"""

from collections import defaultdict

import torch
from torch import Tensor, nn


class BuffersBefore:
    """A network's buffers as they are now."""

    def __init__(self, network: nn.Module) -> None:
        self._groups: dict[torch.dtype, list[Tensor]] = defaultdict(list)
        for buffer in network.buffers():
            self._groups[buffer.dtype].append(buffer)
        self._before = {kind: _together(group) for kind, group in self._groups.items()}

    @torch.no_grad()
    def put_back(self, *, unless: Tensor | None = None) -> None:
        """Make the buffers what they were, unless a bool on their device is true."""
        for kind, group in self._groups.items():
            before = self._before[kind]
            values = before if unless is None else torch.where(unless, _together(group), before)
            parts = torch.split(values, [buffer.numel() for buffer in group])
            shaped = [part.view_as(buffer) for part, buffer in zip(parts, group, strict=True)]
            torch._foreach_copy_(group, shaped)


def _together(tensors: list[Tensor]) -> Tensor:
    return torch.cat([tensor.flatten() for tensor in tensors])
