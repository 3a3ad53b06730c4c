"""What in this machine would go wrong: GPUs, memory shared by processes, disks, data."""

import os
import shutil
import tempfile
from pathlib import Path

import torch

from kidneyseg.cores import count_cores
from kidneyseg.ct.cases import Case, list_cases
from kidneyseg.errors import DataError, SettingsError
from kidneyseg.search.findings import Finding, error, ok, warning
from kidneyseg.training.device import check_precision, find_device, slow_precision

GPU_DRIVER = Path("/proc/driver/nvidia/version")
SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - what it is called on Linux
LITTLE_SHARED_MEMORY_GB = 1.0
LITTLE_DISK_GB = 10.0
NO_DISK_GB = 1.0


def check_gpus(device: str, driver: Path = GPU_DRIVER) -> list[Finding]:
    """See that torch can use the GPUs there are, and the one that the settings name."""
    n_gpus = torch.cuda.device_count()
    if n_gpus:
        return [_try_gpu(number) for number in range(n_gpus)] + _missing_gpu(device, n_gpus)
    if device.startswith("cuda"):
        return _missing_gpu(device, 0)
    if driver.exists() and device != "cpu":
        built = torch.version.cuda or "the CPU alone"
        return [
            error(
                "GPUs",
                f"this machine has a GPU's driver, but torch {torch.__version__} (built for "
                f"{built}) can use no GPU",
                "install torch for CUDA, see that nvidia-smi works, and start containers with "
                "--gpus all",
            )
        ]
    return [ok("GPUs", f"none: trials train on {count_cores()} CPU cores")]


def check_precision_here(device: str, precision: str) -> list[Finding]:
    """See that the device named has the precision that the settings name."""
    check = "precision"
    try:
        found = find_device(device)
        check_precision(precision, found)
    except SettingsError as failure:
        return [error(check, str(failure), "name another in the environment")]
    if slow := slow_precision(precision, found):
        return [warning(check, slow, "take float32, or a machine that has them")]
    return [ok(check, f"{precision} on {found}")]


def _missing_gpu(device: str, n_gpus: int) -> list[Finding]:
    number = int(device.partition(":")[2] or 0) if device.startswith("cuda") else -1
    if number < n_gpus:
        return []
    found = f"common.device is {device}, and torch can use {n_gpus} GPUs here"
    return [error("GPUs", found, "name another in the environment, or auto")]


def _try_gpu(number: int) -> Finding:
    """Compute something on a GPU: one that others filled, or that hangs on the bus, says so."""
    name, what = f"cuda:{number}", torch.cuda.get_device_name(number)
    try:
        torch.ones(8, device=name).sum().item()
        free, total = torch.cuda.mem_get_info(number)
    except RuntimeError as failure:
        reason = str(failure).strip().splitlines()[0]
        return error("GPUs", f"{name} ({what}) cannot be used: {reason}", "see nvidia-smi")
    found = f"{name}: {what}, {free / 1e9:.0f} of {total / 1e9:.0f} GB free"
    if free < total / 2:
        return warning("GPUs", found, "end other programs on it (nvidia-smi), or use another")
    return ok("GPUs", found)


def check_shared_memory(folder: Path = SHARED_MEMORY) -> list[Finding]:
    """See that processes have memory to share: containers often have 64 MB."""
    if not folder.is_dir():
        return []
    size_gb = shutil.disk_usage(folder).total / 1e9
    found = f"{folder} has {size_gb:.2g} GB"
    if size_gb < LITTLE_SHARED_MEMORY_GB:
        return [warning("shared memory", found, "start the container with --shm-size=8g")]
    return [ok("shared memory", found)]


def check_disk(folder: Path, what: str) -> list[Finding]:
    """See that there is room on the disk of a folder, which may not be there yet."""
    free_gb = shutil.disk_usage(_existing(folder)).free / 1e9
    found = f"{free_gb:.3g} GB free for {what} in {folder}"
    cure = "remove something, or name a folder on another disk in the environment"
    if free_gb < NO_DISK_GB:
        return [error("disk", found, cure)]
    if free_gb < LITTLE_DISK_GB:
        return [warning("disk", found, cure)]
    return [ok("disk", found)]


def check_writable(folder: Path) -> list[Finding]:
    """See that files can be written into a folder, or the folder be made."""
    check, cure = "runs folder", "name a folder of yours as common.runs in the environment"
    if not folder.exists():
        if os.access(_existing(folder), os.W_OK):
            return [ok(check, f"{folder} is not there yet and can be made")]
        return [error(check, f"{folder} is not there and cannot be made", cure)]
    try:
        with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
            file.write(b"written")
            file.flush()
            os.fsync(file.fileno())
    except OSError as failure:
        return [error(check, f"{folder} cannot be written ({failure.strerror})", cure)]
    return [ok(check, f"{folder} can be written")]


def check_data(folder: Path | None) -> list[Finding]:
    """See that the cases are there and can be read."""
    check = "data"
    if folder is None:
        return [ok(check, "no data folder: phantoms are made")]
    try:
        cases = list_cases(folder)
    except DataError as failure:
        return [error(check, str(failure), "name the folder of the cases with --data")]
    unreadable = [reason for case in cases for reason in _unreadable(case)]
    if unreadable:
        found = f"{len(unreadable)} files cannot be read, the first: {unreadable[0]}"
        return [error(check, found, "give yourself the right to read them")]
    return [ok(check, f"{len(cases)} cases in {folder}")]


def _unreadable(case: Case) -> list[str]:
    reasons = []
    for path in (case.imaging, case.segmentation):
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as failure:
            reasons.append(f"{path} ({failure.strerror})")
    return reasons


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
