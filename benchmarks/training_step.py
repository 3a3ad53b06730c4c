"""Time and memory of a training step: a plain network and loop beside ours, in one run.

    python benchmarks/training_step.py                            # the local size
    python benchmarks/training_step.py --full                     # 64 filters, 5 x 5, 256 x 256
    python benchmarks/training_step.py --full --device cuda:0 --batch 16 --steps 30
    python benchmarks/training_step.py --full --profile "ours bfloat16"

Each variant runs in a process of its own, in turn, several rounds over; what is told are medians
over the rounds, and of speeds and memory beside the plain network's the medians of the ratios
within a round. On a CPU the processor's time is counted, over all threads, so that other programs
weigh little. The slices are noise of the right size, from memory maps as in a real training. Memory
is what a step takes beyond what the process had before; on a GPU, what tensors take.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from plain_quicknat import PlainQuickNAT
from torch.profiler import ProfilerActivity, profile
from torch.utils.data import DataLoader, Dataset

from kidneyseg.ct.preparation import LABEL_SCALE
from kidneyseg.ct.prepared_cases import Manifest, PreparedCase, StoredArray
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainingSettings
from kidneyseg.training.device import allow_tf32
from kidneyseg.training.memory import peak_memory_bytes
from kidneyseg.training.results import EpochSums
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

VARIANTS = ("plain", "ours float32", "ours bfloat16")
RECOMPUTED = tuple(f"{variant} recomputed" for variant in VARIANTS[1:])
ON_A_GPU = ("plain tf32", "ours tf32")  # convolutions as PyTorch computes them there by itself
GMAC_SIDE = 256  # pixels, of which the sizes' multiplications are told
WARM_UP = 1  # steps that are not counted

Step = Callable[[], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large network and slices are."""

    filters: int
    kernel: int
    side: int  # pixels
    batch: int  # slices a step
    gmac: float  # multiplications and additions, 1e9, of a slice of 256 x 256 forward

    @property
    def flop(self) -> float:
        """Of a step: forward, and twice that backward."""
        return 3 * 2e9 * self.gmac * (self.side / GMAC_SIDE) ** 2 * self.batch


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What one process measured of one variant."""

    seconds: float  # a step
    memory_mib: float


LOCAL = Size(filters=8, kernel=3, side=80, batch=16, gmac=0.42)
FULL = Size(filters=64, kernel=5, side=256, batch=4, gmac=60.4)


class MappedSlices(Dataset[tuple[torch.Tensor, torch.Tensor]]):
    """Slices opened from memory maps item by item, as the report did."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.n = len(np.load(folder / "images.npy", mmap_mode="r"))

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, index: int) -> tuple[torch.Tensor, torch.Tensor]:
        image = np.load(self.folder / "images.npy", mmap_mode="r")[index].astype(np.float32)
        label = np.load(self.folder / "labels.npy", mmap_mode="r")[index].astype(np.float32)
        image = (image.clip(-79, 304) - 101) / 76.9
        return torch.from_numpy(image)[None], torch.from_numpy(label)[None] / LABEL_SCALE


def write_slices(folder: Path, n: int, side: int) -> None:
    """Noise with a bright square, as the cache stores it."""
    rng = np.random.default_rng(0)
    labels = np.zeros((n, side, side), np.uint8)
    labels[:, side // 4 : side // 2, side // 4 : side // 2] = LABEL_SCALE
    np.save(folder / "images.npy", rng.normal(50, 40, labels.shape).astype(np.int16) + labels)
    np.save(folder / "labels.npy", labels)


def slices_of(folder: Path, side: int) -> SliceDataset:
    """The same slices as ours reads them."""
    stored = StoredArray(shape=(1, side, side), n_bytes=0, sha256="")
    manifest = Manifest.model_construct(
        case="noise", images=stored, labels=stored, kidney_fraction=1 / 16
    )
    case = PreparedCase(name="noise", folder=folder, manifest=manifest)
    return SliceDataset([case], (side, side))


def plain_steps(folder: Path, size: Size, device: torch.device, *, tf32: bool) -> Iterator[Step]:
    """The steps of the plain loop."""
    allow_tf32(tf32)
    network = PlainQuickNAT(size.filters, size.kernel, dropout=0.2).to(device).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    entropy = torch.nn.BCEWithLogitsLoss()
    batches = iter(DataLoader(MappedSlices(folder), batch_size=size.batch, shuffle=True))

    def step() -> None:
        images, labels = (tensor.to(device) for tensor in next(batches))
        logits = network(images)
        p = torch.sigmoid(logits)
        dice = 1 - (2 * (p * labels).sum() + 1) / (p.sum() + labels.sum() + 1)
        optimizer.zero_grad()
        (dice + 0.5 * entropy(logits, labels)).backward()
        optimizer.step()

    while True:
        yield step


def our_steps(folder: Path, size: Size, device: torch.device, variant: str) -> Iterator[Step]:
    """The steps of ours, the authors' variant, border weights included."""
    setup = TrainingSetup(
        data=DataSettings(downsampling=1, slice_size=(size.side, size.side)),
        network=NetworkSettings(
            filters=size.filters,
            kernel_size=size.kernel,  # type: ignore[arg-type]
            activation="prelu",
            bottleneck="dense",
        ),
        training=TrainingSettings(
            small_batch_size=size.batch,
            precision=variant.split()[1],  # type: ignore[arg-type]
            recompute="recomputed" in variant,
        ),
        evaluation=EvaluationSettings(),
        hyperparameters=Hyperparameters(batch_size=size.batch),
        seed=0,
        cases="",
    )
    slices = slices_of(folder, size.side).resident(device)
    training = Training(setup, slices, slices, device)
    training.network.train()
    sums = EpochSums(slices.case_names, device)
    order = torch.randperm(len(slices)).tolist()
    for first in range(0, len(order), size.batch):
        indices = order[first : first + size.batch]
        yield lambda indices=indices: training._step(indices, sums)  # type: ignore[misc] # noqa: SLF001


def steps_of(variant: str, folder: Path, size: Size, device: torch.device) -> Iterator[Step]:
    if variant.startswith("plain"):
        return plain_steps(folder, size, device, tf32="tf32" in variant)
    return our_steps(folder, size, device, variant)


def measure(variant: str, size: Size, device: torch.device, n: int) -> Figures:
    """One variant, in this process."""
    with tempfile.TemporaryDirectory() as name:
        write_slices(Path(name), size.batch * (n + WARM_UP), size.side)
        before = peak_memory_bytes(device) if device.type == "cpu" else 0
        steps = steps_of(variant, Path(name), size, device)
        seconds = []
        for _ in range(n + WARM_UP):
            step = next(steps)
            start = clock(device)
            step()
            seconds.append(clock(device) - start)
    return Figures(
        seconds=statistics.median(seconds[WARM_UP:]),
        memory_mib=(peak_memory_bytes(device) - before) / 2**20,
    )


def clock(device: torch.device) -> float:
    """Seconds: of the processor's work, or of the clock once a GPU has done its."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def matmul_peak(dtype: torch.dtype, device: torch.device) -> float:
    """FLOP a second in the product of two square matrices."""
    n = 2048 if device.type == "cpu" else 8192
    a = torch.randn(n, n, device=device).to(dtype)
    a @ a
    times = []
    for _ in range(5):
        start = clock(device)
        a @ a
        times.append(clock(device) - start)
    return float(2 * n**3 / min(times))


def print_profile(variant: str, size: Size, device: torch.device) -> None:
    """Where the time of one step goes, by operator."""
    kinds = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
    with tempfile.TemporaryDirectory() as name:
        write_slices(Path(name), size.batch * 3, size.side)
        steps = steps_of(variant, Path(name), size, device)
        next(steps)()
        with profile(activities=kinds) as profiled:
            next(steps)()
    by = "self_cpu_time_total" if device.type == "cpu" else "self_cuda_time_total"
    print(profiled.key_averages().table(sort_by=by, row_limit=25, max_name_column_width=50))


def run_rounds(arguments: argparse.Namespace, size: Size) -> dict[str, list[Figures]]:
    """Every variant in turn, in processes of their own."""
    variants = VARIANTS + RECOMPUTED * arguments.recomputed
    variants += ON_A_GPU * arguments.device.startswith("cuda")
    found: dict[str, list[Figures]] = {variant: [] for variant in variants}
    given = [f"--{name}={getattr(arguments, name)}" for name in ("steps", "threads", "device")]
    given += [f"--side={size.side}", f"--batch={size.batch}"] + ["--full"] * arguments.full
    for _ in range(arguments.rounds):
        for variant in variants:
            command = [sys.executable, __file__, "--variant", variant, *given]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, encoding="utf-8")  # noqa: S603
            found[variant].append(Figures(**json.loads(done.stdout)))
    return found


def print_table(found: dict[str, list[Figures]], size: Size, device: torch.device) -> None:
    peaks = {
        "float32": matmul_peak(torch.float32, device),
        "bfloat16": matmul_peak(torch.bfloat16, device),
    }
    print(f"{size}, {device}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print("matrix products: " + ", ".join(f"{k} {v / 1e9:.0f} GFLOP/s" for k, v in peaks.items()))
    print("| variant | s a step | slices/s | x plain's speed | MiB | x plain's | of matmul peak |")
    print("|---|---|---|---|---|---|---|")
    for variant, each in found.items():
        pairs = list(zip(found["plain"], each, strict=True))
        seconds = statistics.median(one.seconds for one in each)
        speed = statistics.median(plain.seconds / one.seconds for plain, one in pairs)
        memory = statistics.median(one.memory_mib for one in each)
        share = statistics.median(one.memory_mib / plain.memory_mib for plain, one in pairs)
        peak = peaks["bfloat16" if "bfloat16" in variant else "float32"]
        print(
            f"| {variant} | {seconds:.3f} | {size.batch / seconds:.2f} | {speed:.2f} | "
            f"{memory:.0f} | {share:.2f} | {size.flop / seconds / peak:.0%} |"
        )


def read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    parser.add_argument("--steps", type=int, default=0, help="default: 10, full 2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=0, help="slices a step; default: 16, full 4")
    parser.add_argument("--side", type=int, default=0, help="pixels; default: 80, full 256")
    parser.add_argument("--recomputed", action="store_true", help="activation recomputation too")
    parser.add_argument("--variant", help="this one alone, as JSON")
    parser.add_argument("--profile", metavar="VARIANT", help="this one's operators instead")
    return parser.parse_args()


def main() -> None:
    """Print the table, a profile, or as a child one variant's figures."""
    arguments = read_arguments()
    torch.set_num_threads(arguments.threads)
    device = torch.device(arguments.device)
    size = FULL if arguments.full else LOCAL
    size = replace(size, side=arguments.side or size.side, batch=arguments.batch or size.batch)
    arguments.steps = arguments.steps or (2 if arguments.full else 10)
    if arguments.profile:
        print_profile(arguments.profile, size, device)
    elif arguments.variant:
        found = measure(arguments.variant, size, device, arguments.steps)
        print(json.dumps({"seconds": found.seconds, "memory_mib": found.memory_mib}))
    else:
        print_table(run_rounds(arguments, size), size, device)


if __name__ == "__main__":
    main()
