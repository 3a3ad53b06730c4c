"""The network room: QuickNAT, one file per part of the paper's figure.

`quicknat` puts the parts together: `dense_block` with its `activation`, `squeeze_excitation` and
`pooling`. A network is built from its settings alone, takes slices and gives logits; it knows
nothing of training. `authors_weights` and `onnx_export` are its doors to other programs.
"""

from kidneyseg.network.memory_format import channels_last
from kidneyseg.network.quicknat import AUTHORS, REPORT, QuickNAT, build_quicknat

__all__ = ["AUTHORS", "REPORT", "QuickNAT", "build_quicknat", "channels_last"]
