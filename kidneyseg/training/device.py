"""Which device a training or a prediction runs on."""

import torch

from kidneyseg.errors import SettingsError


def find_device(name: str) -> torch.device:
    """Return the device of a name such as cpu or cuda:0; `auto` is the first GPU, else the CPU.

    Raises SettingsError for a device that this machine does not have.
    """
    if name == "auto":
        return torch.device("cuda:0" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SettingsError(f"device {name!r}: expected auto, cpu, cuda or cuda:0") from error
    n_gpus = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= n_gpus:
        raise SettingsError(f"device {name!r}: this machine has {n_gpus} GPUs that torch can use")
    if device.type not in ("cpu", "cuda"):
        raise SettingsError(f"device {name!r}: expected auto, cpu, cuda or cuda:0")
    return device
