"""Small cases on disk, and real label maps where they are at hand."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from kidneyseg.ct.cases import Case
from kidneyseg.ct.fingerprints import CaseFingerprint, Fingerprints
from kidneyseg.ct.volumes import write_kits19_case
from kidneyseg.settings import DataSettings

SHAPE = (9, 20, 24)  # slices, rows, columns
REAL_LABELS = Path(__file__).parents[3] / "shared" / "data" / "kits19-labels"

WriteCase = Callable[..., Case]


@pytest.fixture
def settings() -> DataSettings:
    """Half the resolution, one slice beyond the kidney."""
    return DataSettings(downsampling=2, slice_size=(16, 16), margin_slices=1)


@pytest.fixture
def write_case(tmp_path: Path) -> WriteCase:
    """Write a case of noise with a kidney on slices 3 to 5 and a tumour on slice 4."""

    def write(name: str = "case_00000", *, seed: int = 0, data: Path = tmp_path / "data") -> Case:
        scan = np.random.default_rng(seed).integers(-200, 300, SHAPE, dtype=np.int16)
        labels = np.zeros(SHAPE, np.uint8)
        labels[3:6, 5:11, 4:12] = 1
        labels[4, 5:7, 4:6] = 2
        folder = data / name
        write_kits19_case(folder, scan, labels, spacing_mm=(3.0, 0.8, 0.7))
        return Case(
            name=name,
            imaging=folder / "imaging.nii.gz",
            segmentation=folder / "segmentation.nii.gz",
        )

    return write


@pytest.fixture
def fingerprint_of(tmp_path: Path) -> Callable[[Case], CaseFingerprint]:
    """Fingerprint a case."""
    return Fingerprints(tmp_path / "fingerprints").of_case


@pytest.fixture
def real_labels() -> Callable[[str], Path]:
    """Find a label map of KiTS19 by its case's name, or skip."""

    def find(name: str) -> Path:
        path = REAL_LABELS / name / "segmentation.nii.gz"
        if not path.is_file():
            pytest.skip(f"needs KiTS19's label map of {name} in ../shared")
        return path

    return find
