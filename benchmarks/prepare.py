"""Preparing a case beside decompressing it and beside the report's way, on one core.

    python benchmarks/prepare.py --data kits19/data

Three ways, in turn, round after round, over the same cases:

    decompress  both files read to their end with the fastest gzip there is on PyPI, nothing kept
    ours        from the two files to the case's folder in the cache: read, checked, kept slices
                averaged by area, written, hashed and flushed
    report's    nibabel's get_fdata (float64), every second pixel, np.save

Processor time is counted, over all threads, so that other programs weigh little. A ratio is the
median over cases and rounds. Without --data, a phantom of 512 x 512 is drawn first.
"""

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"  # before numpy starts its threads

import nibabel as nib
import numpy as np
from isal import igzip

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import list_cases
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.phantom.data_set import write_phantoms
from kidneyseg.phantom.drawing import PhantomSize
from kidneyseg.settings import DataSettings

PIECE_BYTES = 2**20
Way = Callable[[CaseFingerprint, Path], None]  # (case, an empty folder)


def decompress(case: CaseFingerprint, _: Path) -> None:
    piece = bytearray(PIECE_BYTES)
    for path in (case.case.imaging, case.case.segmentation):
        with igzip.open(path, "rb") as stream:
            while stream.readinto(piece):
                pass


def ours(case: CaseFingerprint, folder: Path, settings: DataSettings) -> None:
    SliceCache(folder, settings).build(case)


def reports(case: CaseFingerprint, folder: Path) -> None:
    for path in (case.case.imaging, case.case.segmentation):
        volume = nib.load(path).get_fdata()
        np.save(folder / f"{path.name}.npy", volume[:, ::2, ::2])


def seconds(way: Way, case: CaseFingerprint) -> float:
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        way(case, Path(folder))
        return time.process_time() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, help="case folders; default: one phantom is drawn")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    settings = DataSettings(downsampling=2, slice_size=(256, 256))
    with tempfile.TemporaryDirectory() as scratch:
        data = arguments.data
        if data is None:
            data = Path(scratch) / "phantom"
            list(write_phantoms(data, 1, 7, PhantomSize.FULL))
        fingerprints = SliceCache(Path(scratch) / "cache", settings).fingerprints
        cases = fingerprints.of_cases(list_cases(data))
        ways: dict[str, Way] = {
            "decompress": decompress,
            "ours": lambda case, folder: ours(case, folder, settings),
            "report's": reports,
        }
        rounds = [
            {name: seconds(way, case) for name, way in ways.items()}
            for case in cases
            for _ in range(arguments.rounds)
        ]
    print(f"{len(cases)} cases, {arguments.rounds} rounds; numpy {np.__version__}")
    for name in ways:
        own = statistics.median(times[name] for times in rounds)
        ratio = statistics.median(times[name] / times["decompress"] for times in rounds)
        print(f"{name:>12} {own:8.3f} s a case {ratio:8.2f} x decompressing it")
    gain = statistics.median(times["report's"] / times["ours"] for times in rounds)
    print(f"ours is {gain:.1f} times as fast as the report's way")


if __name__ == "__main__":
    main()
