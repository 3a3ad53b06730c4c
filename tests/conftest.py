"""A tiny data set that the rooms from training upwards share: bright ellipsoids in the dark."""

import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from kidneyseg.ct.development import DevelopmentCases, find_development_cases
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.ct.volumes import write_kits19_case
from kidneyseg.settings import Environment

SHAPE = (10, 48, 48)  # slices, rows, columns


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> Iterator[None]:
    """What a shell starts with `&` ignores Ctrl-C, and so would each program that a test starts."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    if before is signal.SIG_IGN:
        signal.signal(signal.SIGINT, before)


def write_ellipsoid(folder: Path, seed: int) -> None:
    """Write a case: kidney of 150 HU in noise about 0 HU, slices 2 to 7, off the centre."""
    random = np.random.default_rng(seed)
    centre = np.array([4.5, 24, 24]) + random.uniform(-1, 1, 3) * (0, 4, 4)
    grid = np.moveaxis(np.indices(SHAPE), 0, -1)
    kidney = (((grid - centre) / (3.2, 9, 7)) ** 2).sum(-1) < 1
    scan = np.where(kidney, 150, 0) + random.normal(0, 20, SHAPE)
    write_kits19_case(
        folder, scan.astype(np.int16), kidney.astype(np.uint8), spacing_mm=(3.0, 1.0, 1.0)
    )


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five cases in KiTS19's layout."""
    folder = tmp_path_factory.mktemp("data") / "cases"
    for number in range(5):
        write_ellipsoid(folder / f"case_{number:05d}", seed=number)
    return folder


@pytest.fixture(scope="session")
def environment_in(
    tiny_data: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[Path], Environment]:
    """Settings of the tiny data and the smallest network, with a runs folder of one's own."""
    cache = tmp_path_factory.mktemp("cache")

    def build(runs: Path) -> Environment:
        return Environment.model_validate(
            {
                "data": {
                    "folder": tiny_data,
                    "cache": cache,
                    "downsampling": 2,
                    "slice_size": (32, 32),  # 24 x 24 pixels and padding
                    "margin_slices": 1,
                },
                "network": {"filters": 4, "kernel_size": 3},
                "training": {"max_epochs": 2, "small_batch_size": 4},
                "common": {"runs": runs, "device": "cpu"},
            }
        )

    return build


@pytest.fixture(scope="session")
def tiny_cases(
    environment_in: Callable[[Path], Environment], tmp_path_factory: pytest.TempPathFactory
) -> DevelopmentCases:
    """The development cases of the tiny data: three for training, one for validation."""
    return find_development_cases(environment_in(tmp_path_factory.mktemp("runs")))


@pytest.fixture(scope="session")
def tiny_slices(tiny_cases: DevelopmentCases) -> tuple[SliceDataset, SliceDataset]:
    """Training and validation slices of the tiny data."""
    return tiny_cases.datasets(list(tiny_cases.prepare()))
