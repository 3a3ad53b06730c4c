"""Slices a second, four ways, and the start of a second trial.

    python benchmarks/slices.py
    python benchmarks/slices.py --full --labels kits19/data

    nibabel     one slice at a time out of imaging.nii.gz and segmentation.nii.gz
    mmap        numpy.load(mmap_mode="r") for every item, as the report did
    DataLoader  torch's, over SliceDataset, with --loaders worker processes
    training    what a training does: SliceDataset.batch of shuffled numbers, and to the device

A few phantoms of 512 x 512 are drawn first, around label maps where --labels names a folder of
them, and prepared at 256 x 256. With --full they are repeated, file by file, until the cache holds
KiTS19's 23,786 kept slices: 4.7 GB below --scratch. Every way reads slices that others have read
before: the page cache is warm, as it is for every trial after the first. Medians over the rounds.
"""

import argparse
import itertools
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
from torch.utils.data import DataLoader

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case, list_cases
from kidneyseg.ct.fingerprints import CaseFingerprint, digest
from kidneyseg.ct.preparation import PreparedSlices
from kidneyseg.ct.prepared_cases import PreparedCase, store_case
from kidneyseg.ct.slices import SliceDataset, collate
from kidneyseg.phantom.data_set import find_segmentations, write_phantoms, write_phantoms_around
from kidneyseg.phantom.drawing import PhantomSize
from kidneyseg.settings import DataSettings

KITS19_SLICES = 23_786
SIZE = (256, 256)
BATCH_SIZE = 4
SEED = 0


def draw(folder: Path, labels: Path | None, n_cases: int) -> list[Case]:
    """Draw full-size phantoms: around label maps evenly taken from a folder, or free ones."""
    if labels is None:
        list(write_phantoms(folder, n_cases, SEED, PhantomSize.FULL))
    else:
        maps = find_segmentations(labels)
        list(write_phantoms_around(folder, maps[:: max(1, len(maps) // n_cases)][:n_cases], SEED))
    return list_cases(folder)


def repeat(
    cache: SliceCache, cases: list[CaseFingerprint], prepared: list[PreparedCase]
) -> list[CaseFingerprint]:
    """Copy prepared cases under other names until there are as many slices as in KiTS19."""
    missing = KITS19_SLICES - sum(len(one.images()) for one in prepared)
    all_cases = list(cases)
    for number, one in enumerate(itertools.cycle(prepared)):
        if missing <= 0:
            return all_cases
        name, n = f"case_{number:05d}_again", min(missing, len(one.images()))
        case = CaseFingerprint(
            case=replace(cases[0].case, name=name), imaging=digest([name]), segmentation=""
        )
        made_by = cache.made_by(case)
        slices = PreparedSlices(
            images=one.images()[:n],
            labels=one.labels()[:n],
            first_slice=one.manifest.first_slice,
            spacing_mm=one.manifest.spacing_mm,
        )
        folder = cache.folder / f"{name}-{made_by.key[:16]}"
        folder.mkdir(parents=True)
        store_case(folder, name, made_by, slices)
        all_cases.append(case)
        missing -= n
    return all_cases


def by_nibabel(cases: list[Case], order: list[int]) -> Iterator[int]:
    for index in order:
        case = cases[index % len(cases)]
        scan, labels = nib.load(case.imaging), nib.load(case.segmentation)
        number = index % scan.shape[0]
        torch.from_numpy(np.array(scan.dataobj[number])[::2, ::2].copy())
        torch.from_numpy(np.array(labels.dataobj[number])[::2, ::2].copy())
        yield 1


def by_mmap(prepared: list[PreparedCase], order: list[int]) -> Iterator[int]:
    items = [(one.folder, i) for one in prepared for i in range(one.manifest.images.shape[0])]
    for index in order:
        folder, number = items[index]
        for name in ("images", "labels"):
            stored = np.load(folder / f"{name}.npy", mmap_mode="r")
            torch.from_numpy(np.array(stored[number]))
        yield 1


def by_loader(dataset: SliceDataset, order: list[int], loaders: int) -> Iterator[int]:
    loader = DataLoader(
        dataset, batch_size=BATCH_SIZE, sampler=order, collate_fn=collate, num_workers=loaders
    )
    for batch in loader:
        yield len(batch.images)


def by_training(dataset: SliceDataset, order: list[int], device: torch.device) -> Iterator[int]:
    for first in range(0, len(order), BATCH_SIZE):
        batch = dataset.batch(order[first : first + BATCH_SIZE]).to(device)
        yield len(batch.images)
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def rate(way: Callable[[], Iterator[int]]) -> float:
    start = time.perf_counter()
    n = sum(way())
    return n / (time.perf_counter() - start)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="KiTS19's 23,786 slices: 4.7 GB")
    parser.add_argument("--labels", type=Path, help="a folder of label maps to draw around")
    parser.add_argument("--drawn", type=int, default=2, help="how many phantoms")
    parser.add_argument("--scratch", type=Path, help="where files lie meanwhile")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slices", type=int, default=4000, help="read a round and a way, at most")
    parser.add_argument("--loaders", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1, help="more only on an idle machine")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
        drawn = draw(Path(scratch) / "phantoms", arguments.labels, arguments.drawn)
        settings = DataSettings(downsampling=2, slice_size=SIZE)
        cache = SliceCache(Path(scratch) / "cache", settings)
        cases = cache.fingerprints.of_cases(drawn)
        prepared = list(cache.prepare(cases, n_processes=1))
        if arguments.full:
            cases = repeat(cache, cases, prepared)
        measure(cache, cases, drawn, arguments)


def measure(
    cache: SliceCache,
    cases: list[CaseFingerprint],
    drawn: list[Case],
    arguments: argparse.Namespace,
) -> None:
    starts = []
    for _ in range(arguments.rounds):
        start = time.perf_counter()
        prepared = list(cache.prepare(cases))
        dataset = SliceDataset(prepared, SIZE)
        starts.append(time.perf_counter() - start)
    for index in range(0, len(dataset), 64):  # into the page cache
        dataset.batch(range(index, min(index + 64, len(dataset))))
    order = torch.randperm(len(dataset)).tolist()[: arguments.slices]
    cpu = torch.device("cpu")
    ways: dict[str, Callable[[], Iterator[int]]] = {
        "nibabel": lambda: by_nibabel(drawn, order[:6]),
        "mmap": lambda: by_mmap(prepared, order),
        "DataLoader": lambda: by_loader(dataset, order, arguments.loaders),
        "training": lambda: by_training(dataset, order, cpu),
    }
    if torch.cuda.is_available():
        gpu = torch.device("cuda:0")
        start = time.perf_counter()
        resident = dataset.resident(gpu)
        torch.cuda.synchronize(gpu)
        print(f"upload to the GPU: {time.perf_counter() - start:.1f} s")
        ways["training, to a GPU"] = lambda: by_training(dataset, order, gpu)
        ways["training, on the GPU"] = lambda: by_training(resident, order, gpu)
    rates = [{name: rate(way) for name, way in ways.items()} for _ in range(arguments.rounds)]
    print(
        f"{len(prepared)} cases, {len(dataset)} slices of {SIZE}; Python "
        f"{platform.python_version()}, numpy {np.__version__}, torch {torch.__version__}, "
        f"nibabel {nib.__version__}; {arguments.rounds} rounds"
    )
    for name in ways:
        own = statistics.median(one[name] for one in rates)
        ratio = statistics.median(one[name] / one["mmap"] for one in rates)
        print(f"{name:>20} {own:12.1f} slices/s {ratio:10.4f} x mmap")
    print(f"start of a second trial: {1000 * statistics.median(starts):.1f} ms")


if __name__ == "__main__":
    main()
