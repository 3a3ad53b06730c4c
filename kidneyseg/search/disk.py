"""What a study's models and checkpoints will take on disk, checked before anything is trained."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import torch

from kidneyseg.errors import CorrectableError
from kidneyseg.network import build_quicknat
from kidneyseg.runs import Runs, make_folder
from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.space import NETWORK
from kidneyseg.settings import CommonSettings, NetworkSettings

CHECKPOINTS = 2  # of a running trial: the newest and the one before
STATES = 3  # in a checkpoint: the weights and Adam's two moments
FOLDERS = 2  # of a trial: the one it goes on with, and the copy of it
OVERHEAD_BYTES = 100_000  # of a file of tensors, and of what lies beside the weights
GB = 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskNeed:
    """The most that a study needs at one time, in bytes."""

    runs: int  # models and checkpoints in the runs folder
    artifacts: int  # models in the folder of artifacts; 0 for another store

    @property
    def total(self) -> int:
        """Both together."""
        return self.runs + self.artifacts


def model_bytes(network: NetworkSettings) -> int:
    """The size of a network's weights in float32, batch norm's statistics included."""
    with torch.device("meta"):
        states = build_quicknat(network, dropout=0.0).state_dict().values()
    return sum(state.numel() * state.element_size() for state in states)


def largest_network(definition: StudyDefinition) -> NetworkSettings:
    """The largest network that a study may draw.

    Each setting alone makes a network larger or smaller whatever the others are: they are tried
    one after another.
    """
    network = definition.settings.network
    for name, range_ in definition.space.root.items():
        if name.startswith(NETWORK):
            key = name.removeprefix(NETWORK)
            tried = [network.model_copy(update={key: value}) for value in range_.ends()]
            network = max(network, *tried, key=model_bytes)
    return network


def estimate_disk(common: CommonSettings, network: NetworkSettings, n_workers: int) -> DiskNeed:
    """The most that a study of such networks needs: the kept models, and each worker's trial.

    Kept are the best k trials' models and those of trials that are just over, at most one a worker.
    A trial's folder holds its model and two checkpoints of weights and Adam's two moments; there
    are two of them while it is copied to go on with, which is more than a third checkpoint and a
    second model while they are written.
    """
    model = model_bytes(network) + OVERHEAD_BYTES
    models = (common.keep_best + n_workers) * model
    folders = n_workers * FOLDERS * (1 + CHECKPOINTS * STATES) * model
    in_folder = common.artifacts is None or not common.artifacts.startswith("s3://")
    return DiskNeed(runs=common.keep_best * model + folders, artifacts=models if in_folder else 0)


def check_disk(common: CommonSettings, study: str, network: NetworkSettings, workers: int) -> None:
    """Refuse to begin what will not fit. `network` is the study's largest (`largest_network`).

    Raises CorrectableError when it may need more than `common.max_disk_gb` or than is free.
    """
    need = estimate_disk(common, network, workers)
    what = (
        f"{common.keep_best} kept models and {workers} "
        f"{'worker' if workers == 1 else 'workers'} need up to"
    )
    cure = "a smaller common.keep_best, or fewer workers"
    if common.max_disk_gb is not None and need.total > common.max_disk_gb * GB:
        raise CorrectableError(
            f"common.max_disk_gb = {common.max_disk_gb:g}: {what} {_gb(need.total)} for models and "
            f"checkpoints; expected a higher ceiling, {cure}"
        )
    runs = Runs(common.runs)
    for folder, n_bytes in _places(common, runs, need):
        free = shutil.disk_usage(folder).free
        if folder == runs.folder:
            free += _taken(runs, study)
        if n_bytes > free:
            raise CorrectableError(
                f"{folder}: {_gb(free)} are free, and {what} {_gb(n_bytes)} there; expected more "
                f"room, {cure}"
            )


def _places(common: CommonSettings, runs: Runs, need: DiskNeed) -> list[tuple[Path, int]]:
    """Folders and what must fit there: one where both lie on the same disk."""
    make_folder(runs.folder, "common.runs")
    if not need.artifacts:
        return [(runs.folder, need.runs)]
    artifacts = Path(common.artifacts) if common.artifacts else runs.artifacts
    make_folder(artifacts, "common.artifacts")
    if artifacts.stat().st_dev == runs.folder.stat().st_dev:
        return [(runs.folder, need.total)]
    return [(runs.folder, need.runs), (artifacts, need.artifacts)]


def _taken(runs: Runs, study: str) -> int:
    """What the study's models and checkpoints take already, in the runs folder."""
    folder = runs.study(study)
    files = (*folder.glob("trial_*/model/*"), *folder.glob("trial_*/checkpoints/*"))
    return sum(path.stat().st_size for path in files if path.is_file())


def _gb(n_bytes: float) -> str:
    return f"{n_bytes / GB:.3g} GB"
