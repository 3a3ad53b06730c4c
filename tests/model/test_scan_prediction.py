"""The longest scan of KiTS19's size within 1.5 GB, though the network marks specks all over."""

# mypy: disallow-untyped-calls=False
# Most of nibabel has no types.

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import torch

from kidneyseg.model.folder import Model, save_model
from kidneyseg.network import build_quicknat
from kidneyseg.settings import DataSettings, NetworkSettings

SHAPE = (512, 512, 1059)
HEADER_BYTES = 352
MOST_BYTES = 1.5e9
PREDICT = """
import sys
from kidneyseg.cli.main import kidneyseg
code = kidneyseg(["predict", *sys.argv[1:], "--device", "cpu"])
# Not getrusage: its peak is that of the process that started this one, where that is larger.
(peak,) = [line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")]
print(code, int(peak) * 1024)
"""


@pytest.fixture(
    params=[(np.int16, None), (np.int16, (1.0, -1024.0)), (np.float32, None)],
    ids=["int16", "slope", "float32"],
)
def long_scan(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """Noise as 16-bit numbers (555 MB), the same with a slope, or as real ones, slice by slice."""
    dtype, scaling = request.param
    header = nib.Nifti1Header()
    header.set_data_shape(SHAPE)
    header.set_data_dtype(dtype)
    if scaling is not None:
        header.set_slope_inter(*scaling)
    header["vox_offset"] = HEADER_BYTES
    header.set_sform(np.diag([-0.8, 0.8, 0.5, 1]), 1)
    slice_ = np.random.default_rng(0).normal(0, 300, SHAPE[:2]).clip(-1024, 3000)
    slice_ -= 0 if scaling is None else scaling[1]
    with (tmp_path / "long.nii").open("wb") as stream:
        stream.write(header.binaryblock.ljust(HEADER_BYTES, b"\0"))
        for number in range(SHAPE[2]):
            stream.write(np.roll(slice_, number, axis=0).astype(dtype).tobytes())
    yield tmp_path / "long.nii"
    (tmp_path / "long.nii").unlink()


@pytest.fixture
def small_model(model: Model, tmp_path: Path) -> Path:
    settings = NetworkSettings(filters=2, kernel_size=1)
    torch.manual_seed(1)
    description = model.description.model_copy(
        update={
            "network": settings,
            "preprocessing": DataSettings(downsampling=4, slice_size=(128, 128)),
        }
    )
    network = build_quicknat(settings, dropout=0.2).eval()
    with torch.no_grad():
        logits = network(torch.rand(1, 1, 128, 128) * 2 - 1)
        network.classifier.weight.mul_(100)
        bias = network.classifier.get_parameter("bias")
        bias.copy_(-100 * (logits.quantile(0.8) - bias))
    save_model(tmp_path / "model", network, description)
    return tmp_path / "model"


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told in kB on Linux alone")
def test_a_scan_of_1059_slices_takes_less_than_1_5_gb(small_model: Path, long_scan: Path) -> None:
    mask = long_scan.with_name("mask.nii.gz")
    given = ["--model", str(small_model), "-i", str(long_scan), "-o", str(mask)]
    given += ["--sides", "--closing-mm", "1", "--largest-two"]
    done = subprocess.run(
        [sys.executable, "-c", PREDICT, *given], capture_output=True, encoding="utf-8", check=False
    )
    assert done.returncode == 0, done.stderr
    code, peak = done.stdout.splitlines()[-1].split()
    assert code == "0", done.stderr
    assert "0 ml of kidney: right 0 ml" not in done.stdout
    assert int(peak) < MOST_BYTES, done.stdout
