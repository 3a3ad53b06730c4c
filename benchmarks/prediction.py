"""Predicting a scan beside the network alone and beside the plain way.

    python benchmarks/prediction.py
    python benchmarks/prediction.py --filters 64 --kernel-size 5 --slices 16

Ways, in turn, round after round, over the same scan in memory:

    ours      predict_slices: averaged by area, in batches, probabilities to full resolution
    network   what of that is spent in the network's own forward pass
    plain     the scan as float32, brought to training resolution by scipy.ndimage.zoom, one slice
              at a time through the same network, probabilities brought back at the end by zoom

The scan is a phantom's, 512 x 512, repeated until it has --slices. The network has random weights,
with its bias set so that 2 % of the pixels are marked, as kidneys are. Medians over the rounds. On
a CPU processor time is counted, over all threads, so that other programs weigh little.
"""

import argparse
import platform
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import scipy
import torch
from numpy.typing import NDArray
from scipy import ndimage

from kidneyseg.ct.cases import list_cases
from kidneyseg.ct.volumes import Volume, read_scan
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.model.description import ModelDescription, Validation
from kidneyseg.model.folder import Model
from kidneyseg.model.prediction import predict_mask
from kidneyseg.network import build_quicknat, channels_last
from kidneyseg.phantom.data_set import write_phantoms
from kidneyseg.phantom.drawing import PhantomSize
from kidneyseg.provenance import Provenance
from kidneyseg.settings import DataSettings, NetworkSettings
from kidneyseg.training.device import find_device

MARKED = 0.02  # of the pixels


def draw_scan(n_slices: int) -> Volume[np.int16]:
    """A phantom's scan, its slices repeated."""
    with tempfile.TemporaryDirectory() as folder:
        list(write_phantoms(Path(folder), 1, 0, PhantomSize.FULL))
        scan = read_scan(list_cases(Path(folder))[0].imaging)
    wanted = np.arange(n_slices) % len(scan.array)
    return Volume(array=np.ascontiguousarray(scan.array[wanted]), geometry=scan.geometry)


def build_model(settings: NetworkSettings, device: torch.device, scan: Volume[np.int16]) -> Model:
    """A network with random weights that marks a few pixels."""
    torch.manual_seed(0)
    network = channels_last(build_quicknat(settings, dropout=0.2), device)
    data = DataSettings(downsampling=2, slice_size=(256, 256))
    low, high = data.hu_window
    middle = scan.array[len(scan.array) // 2, ::2, ::2].astype(np.float32)
    x = torch.from_numpy((middle.clip(low, high) - (low + high) / 2) / ((high - low) / 2))
    x = x[None, None].to(device)
    with torch.no_grad():
        network.train()(x)
        logits = network.eval()(x)
        threshold = np.quantile(logits.cpu().numpy(), 1 - MARKED)
        network.classifier.get_parameter("bias").sub_(float(threshold))
    description = ModelDescription(
        format=1,
        network=settings,
        preprocessing=data,
        threshold=0.5,
        hyperparameters=Hyperparameters(),
        validation=Validation(epoch=1, dice=0, dice_of_case={}, loss=0, small_batch_size=1),
        provenance=Provenance(
            data="", split="", code="", versions={}, seed=0, device=str(device), host=""
        ),
        weights_sha256="",
    )
    return Model(network=network, description=description, device=device)


@torch.inference_mode()
def predict_plainly(model: Model, scan_hu: NDArray[np.int16]) -> NDArray[np.uint8]:
    """Slice by slice, float32, resampled by scipy."""
    low, high = model.description.preprocessing.hu_window
    values = (scan_hu.astype(np.float32).clip(low, high) - (low + high) / 2) / ((high - low) / 2)
    small = ndimage.zoom(values, (1, 0.5, 0.5), order=1)
    probabilities = np.empty_like(small)
    for place, slice_ in zip(probabilities, small, strict=True):
        logits = model.network(torch.from_numpy(slice_)[None, None].to(model.device))
        place[...] = torch.sigmoid(logits)[0, 0].cpu().numpy()
    raised = ndimage.zoom(probabilities, (1, 2, 2), order=1)
    return (raised > model.description.threshold).astype(np.uint8)


class Stopwatch:
    """Adds up what is spent in a network's forward pass."""

    def __init__(self, network: torch.nn.Module, device: torch.device) -> None:
        self._device = device
        self._begun = 0.0
        self.seconds = 0.0
        network.register_forward_pre_hook(self._begin)
        network.register_forward_hook(self._end)

    def _now(self) -> float:
        return now(self._device)

    def _begin(self, *_: object) -> None:
        self._begun = self._now()

    def _end(self, *_: object) -> None:
        self.seconds += self._now() - self._begun


def now(device: torch.device) -> float:
    """Processor time; where a GPU works, the wall's, once it is done."""
    if device.type == "cpu":
        return time.process_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()


def seconds(work: Callable[[], object], device: torch.device) -> float:
    begun = now(device)
    work()
    return now(device) - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--slices", type=int, default=64)
    parser.add_argument("--filters", type=int, default=16)
    parser.add_argument("--kernel-size", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    device = find_device(given.device)
    scan = draw_scan(given.slices)
    settings = NetworkSettings(filters=given.filters, kernel_size=given.kernel_size)
    model = build_model(settings, device, scan)
    stopwatch = Stopwatch(model.network, device)
    ours, shares, plain = [], [], []
    for _ in range(given.rounds):
        stopwatch.seconds = 0.0
        ours.append(seconds(lambda: predict_mask(model, scan), device))
        shares.append(stopwatch.seconds / ours[-1])
        plain.append(seconds(lambda: predict_plainly(model, scan.array), device))
    print(
        f"Python {platform.python_version()}, torch {torch.__version__}, numpy {np.__version__}, "
        f"scipy {scipy.__version__}, {device}, {torch.get_num_threads()} threads; "
        f"{given.slices} slices of 512 x 512, F={given.filters}, k={given.kernel_size}"
    )
    for name, times in (("ours", ours), ("plain", plain)):
        middle = statistics.median(times)
        print(f"{name:>6}  {middle:7.2f} s  {given.slices / middle:7.1f} slices/s")
    print(f"share of ours that is the network's own: {statistics.median(shares):.1%}")
    print(f"plain / ours: {statistics.median(p / o for p, o in zip(plain, ours, strict=True)):.2f}")


if __name__ == "__main__":
    main()
