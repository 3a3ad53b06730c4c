"""Time and memory of a training step: a plain network and loop beside ours, in one run.

    python benchmarks/training_step.py            # the local size
    python benchmarks/training_step.py --full     # 64 filters, 5 x 5, 256 x 256

Each variant runs in a process of its own, in turn, several rounds over; ratios are of medians. The
slices are noise of the right size, from memory maps as in a real training.
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from plain_quicknat import PlainQuickNAT
from torch.utils.data import DataLoader, Dataset

from kidneyseg.ct.preparation import LABEL_SCALE
from kidneyseg.ct.prepared_cases import Manifest, PreparedCase, StoredArray
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.settings import DataSettings, EvaluationSettings, NetworkSettings, TrainingSettings
from kidneyseg.training.results import EpochSums
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

SIZES = {  # filters, kernel, side in pixels, slices a step, GMAC of a forward pass at 256 x 256
    "local": (8, 3, 80, 16, 0.42),
    "full": (64, 5, 256, 4, 60.4),
}
VARIANTS = ("plain", "ours float32", "ours bfloat16")


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


def plain_steps(folder: Path, filters: int, kernel: int, batch: int, steps: int) -> list[float]:
    """Seconds of each step of the plain loop."""
    network = PlainQuickNAT(filters, kernel, dropout=0.2).train()
    optimizer = torch.optim.Adam(network.parameters(), lr=1e-3)
    entropy = torch.nn.BCEWithLogitsLoss()
    seconds = []
    batches = iter(DataLoader(MappedSlices(folder), batch_size=batch, shuffle=True))
    for _ in range(steps):
        start = time.perf_counter()
        images, labels = next(batches)
        logits = network(images)
        p = torch.sigmoid(logits)
        dice = 1 - (2 * (p * labels).sum() + 1) / (p.sum() + labels.sum() + 1)
        optimizer.zero_grad()
        (dice + 0.5 * entropy(logits, labels)).backward()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    return seconds


def our_steps(
    folder: Path, filters: int, kernel: int, side: int, batch: int, steps: int, precision: str
) -> list[float]:
    """Seconds of each step of ours, the authors' variant, border weights included."""
    slices = slices_of(folder, side)
    setup = TrainingSetup(
        data=DataSettings(downsampling=1, slice_size=(side, side)),
        network=NetworkSettings(
            filters=filters,
            kernel_size=kernel,  # type: ignore[arg-type]
            activation="prelu",
            bottleneck="dense",
        ),
        training=TrainingSettings(
            small_batch_size=batch,
            precision=precision,  # type: ignore[arg-type]
        ),
        evaluation=EvaluationSettings(),
        hyperparameters=Hyperparameters(batch_size=batch),
        seed=0,
        cases="",
    )
    training = Training(setup, slices, slices, torch.device("cpu"))
    training.network.train()
    sums = EpochSums(slices.case_names, training.device)
    order = torch.randperm(len(slices)).tolist()
    seconds = []
    for step in range(steps):
        start = time.perf_counter()
        training._step(order[step * batch : (step + 1) * batch], sums)  # noqa: SLF001
        seconds.append(time.perf_counter() - start)
    return seconds


def measure(variant: str, size: str, steps: int) -> dict[str, float]:
    """One variant, in this process."""
    filters, kernel, side, batch, _ = SIZES[size]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_slices(folder, batch * (steps + 1), side)
        if variant == "plain":
            seconds = plain_steps(folder, filters, kernel, batch, steps + 1)
        else:
            precision = variant.removeprefix("ours ")
            seconds = our_steps(folder, filters, kernel, side, batch, steps + 1, precision)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"seconds": statistics.median(seconds[1:]), "memory_mib": memory}


def matmul_peak(dtype: torch.dtype) -> float:
    """FLOP/s of this machine in the product of two 2048 x 2048 matrices."""
    a = torch.randn(2048, 2048).to(dtype)
    a @ a
    times = []
    for _ in range(5):
        start = time.perf_counter()
        a @ a
        times.append(time.perf_counter() - start)
    return float(2 * 2048**3 / min(times))


def main() -> None:
    """Print the table, or as a child one variant's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true")
    parser.add_argument("--steps", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--variant")
    arguments = parser.parse_args()
    size = "full" if arguments.full else "local"
    steps = arguments.steps or (2 if arguments.full else 10)
    if arguments.variant:
        print(json.dumps(measure(arguments.variant, size, steps)))
        return
    found: dict[str, list[dict[str, float]]] = {variant: [] for variant in VARIANTS}
    for _ in range(arguments.rounds):
        for variant in VARIANTS:
            command = [sys.executable, __file__, "--variant", variant, "--steps", str(steps)]
            command += ["--full"] if arguments.full else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: S603
            found[variant].append(json.loads(done.stdout))
    _, _, side, batch, gmac = SIZES[size]
    flop = 3 * 2 * gmac * 1e9 * (side / 256) ** 2 * batch
    peaks = {"float32": matmul_peak(torch.float32), "bfloat16": matmul_peak(torch.bfloat16)}
    base = statistics.median(each["seconds"] for each in found["plain"])
    base_memory = statistics.median(each["memory_mib"] for each in found["plain"])
    print(f"{size}: {SIZES[size]}, {torch.get_num_threads()} threads, torch {torch.__version__}")
    print(
        "| variant | s a step | slices/s | times as fast | peak MiB | of plain | of matmul peak |"
    )
    print("|---|---|---|---|---|---|---|")
    for variant, each in found.items():
        seconds = statistics.median(one["seconds"] for one in each)
        memory = statistics.median(one["memory_mib"] for one in each)
        peak = peaks["bfloat16" if "bfloat16" in variant else "float32"]
        print(
            f"| {variant} | {seconds:.3f} | {batch / seconds:.1f} | {base / seconds:.2f} | "
            f"{memory:.0f} | {memory / base_memory:.2f} | {flop / seconds / peak:.0%} |"
        )


if __name__ == "__main__":
    main()
