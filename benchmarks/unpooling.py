"""Our unpooling beside PyTorch's MaxUnpool2d, on this machine's CPU.

    python benchmarks/unpooling.py --shape 2 64 256 256

Both run in turn, round after round; processor time is counted, over all threads, so that other
programs weigh little. The ratio is the median over the rounds of PyTorch's time divided by ours:
above 1, ours is the faster.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kidneyseg.network.pooling import max_pool, max_unpool

Unpool = Callable[[Tensor, Tensor], Tensor]  # (pooled, places) -> unpooled

LAYOUTS = {"channels first": torch.contiguous_format, "channels last": torch.channels_last}


@dataclass(frozen=True, slots=True, kw_only=True)
class Times:
    """Processor seconds of one run, all threads together."""

    forward_seconds: float
    backward_seconds: float

    @property
    def both_seconds(self) -> float:
        return self.forward_seconds + self.backward_seconds


def time_once(unpool: Unpool, pooled: Tensor, places: Tensor, gradient: Tensor) -> Times:
    start = time.process_time()
    unpooled = unpool(pooled, places)
    middle = time.process_time()
    torch.autograd.grad(unpooled, pooled, gradient)
    return Times(forward_seconds=middle - start, backward_seconds=time.process_time() - middle)


def compare(
    features: Tensor,  # (N, C, H, W)
    rounds: int,
) -> tuple[list[Times], list[Times]]:
    """PyTorch's times and ours, a pair a round; the first round warms up and is not counted."""
    size = (features.shape[2], features.shape[3])
    pytorchs = nn.MaxUnpool2d(2)
    pooled, places = max_pool(features)
    pooled.requires_grad_()
    theirs, ours = [], []
    for _ in range(rounds + 1):
        theirs.append(
            time_once(lambda x, at: pytorchs(x, at, output_size=size), pooled, places, features)
        )
        ours.append(time_once(lambda x, at: max_unpool(x, at, size), pooled, places, features))
    return theirs[1:], ours[1:]


def ratios(theirs: list[Times], ours: list[Times]) -> tuple[float, float, float]:
    """Forward, backward and together."""
    pairs = list(zip(theirs, ours, strict=True))
    return (
        statistics.median(one.forward_seconds / other.forward_seconds for one, other in pairs),
        statistics.median(one.backward_seconds / other.backward_seconds for one, other in pairs),
        statistics.median(one.both_seconds / other.both_seconds for one, other in pairs),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=31)
    parser.add_argument("--shape", type=int, nargs=4, default=(2, 64, 128, 128), metavar="N C H W")
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    print(f"N, C, H, W = {tuple(arguments.shape)}; {torch.get_num_threads()} threads")
    print(f"{'':>26} {'forward':>9} {'backward':>9} {'together':>9}   ours, ms")
    for dtype in (torch.float32, torch.bfloat16):
        for layout, memory_format in LAYOUTS.items():
            features = torch.randn(tuple(arguments.shape)).to(dtype, memory_format=memory_format)
            theirs, ours = compare(features, arguments.rounds)
            columns = " ".join(f"{value:9.2f}" for value in ratios(theirs, ours))
            milliseconds = 1000 * statistics.median(times.both_seconds for times in ours)
            name = f"{str(dtype).removeprefix('torch.')}, {layout}"
            print(f"{name:>26} {columns}   {milliseconds:.2f}")


if __name__ == "__main__":
    main()
