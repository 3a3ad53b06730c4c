"""What validating costs beside its forward passes: `Training.validate` and the bare network.

    python benchmarks/validation.py            # the local size
    python benchmarks/validation.py --full     # 64 filters, 5 x 5, 256 x 256
    python benchmarks/validation.py --profile  # its operators instead

The bare network is given inputs that are ready, as many slices at once; both ways in turn, several
rounds over. What is told are medians: of each way's processor time, and of the ratio within a
round. The first validation, which weighs the slices for all later ones, stands on its own.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch.profiler import profile
from training_step import FULL, LOCAL, Size, slices_of, write_slices

from kidneyseg.ct.slices import SliceDataset
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainingSettings
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.slices_at_once import cut
from kidneyseg.training.trainer import Training


def training_of(size: Size, precision: str, at_once: int, slices: SliceDataset) -> Training:
    """A training of the report's variant, not begun."""
    setup = TrainingSetup(
        data=DataSettings(downsampling=1, slice_size=(size.side, size.side)),
        network=NetworkSettings(filters=size.filters, kernel_size=size.kernel),  # type: ignore[arg-type]
        training=TrainingSettings(precision=precision),  # type: ignore[arg-type]
        evaluation=EvaluationSettings(batch_size=at_once),
        hyperparameters=Hyperparameters(),
        seed=0,
        cases="",
    )
    return Training(setup, slices, slices, torch.device("cpu"))


def forward_passes(training: Training, slices: SliceDataset, at_once: int) -> Callable[[], None]:
    """The network alone, over all slices."""
    forward = training._forward  # noqa: SLF001 - what validation itself uses
    inputs = [forward.inputs(slices, part)[0].images for part in cut(range(len(slices)), at_once)]
    ready = [images.contiguous(memory_format=torch.channels_last) for images in inputs]

    @torch.no_grad()
    def run() -> None:
        training.network.eval()
        for images in ready:
            with forward._precision():  # noqa: SLF001 - as above
                training.network(images)

    return run


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def main() -> None:
    """Print one line of a table, or a profile."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--precision", default="float32", help="float32 or bfloat16")
    parser.add_argument("--slices", type=int, default=0, help="default: 128, full 16")
    parser.add_argument("--at-once", type=int, default=0, help="slices; default: 16, full 4")
    parser.add_argument("--rounds", type=int, default=0, help="default: 9, full 5")
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    parser.add_argument("--profile", action="store_true")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    size = FULL if arguments.full else LOCAL
    n = arguments.slices or (16 if arguments.full else 128)
    at_once = arguments.at_once or size.batch
    with tempfile.TemporaryDirectory() as name:
        write_slices(Path(name), n, size.side)
        slices = slices_of(Path(name), size.side)
        training = training_of(size, arguments.precision, at_once, slices)
        forward = forward_passes(training, slices, at_once)
        forward()
        first = seconds(training.validate)
        if arguments.profile:
            with profile() as profiled:
                training.validate()
            print(profiled.key_averages().table(sort_by="self_cpu_time_total", row_limit=25))
            return
        pairs = [
            (seconds(forward), seconds(training.validate))
            for _ in range(arguments.rounds or (5 if arguments.full else 9))
        ]
    bare = statistics.median(one for one, _ in pairs)
    ours = statistics.median(other for _, other in pairs)
    ratio = statistics.median(other / one for one, other in pairs)
    print(f"Python {platform.python_version()}, torch {torch.__version__}, {n} slices of {size}")
    print("| precision | ms a slice, network alone | validation | ratio | first |")
    print("|---|---|---|---|---|")
    print(
        f"| {arguments.precision} | {1e3 * bare / n:.2f} | {1e3 * ours / n:.2f} | {ratio:.3f} | "
        f"{first / bare:.3f} |"
    )


if __name__ == "__main__":
    main()
