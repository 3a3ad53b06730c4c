"""Every file that a run owns, named in one place.

runs/studies.db                              trials (SQLite), unless --storage says otherwise
runs/phantom/                                the data set made when none is given
runs/cache/                                  prepared slices, shared by all trials and workers
runs/splits/<split>/evaluation_data.json     case names by use; the test names are sealed
runs/splits/<split>/ledger.json              looks at these test cases
runs/model/                                  what `kidneyseg train` writes unless told otherwise
runs/trainings/<setup>/                      checkpoints and log of a `kidneyseg train` or a refit
runs/pseudonyms.key                          secret of the pseudonyms; local, as cache and splits
runs/drill/                                  what `doctor --drill` makes
runs/gpu-locks/                              a lock for each GPU that a worker claims
runs/artifacts/                              kept models and pictures, by artifact id
runs/<study>/trial_00007/model/              the model folder of the trial's best epoch
runs/<study>/trial_00007/checkpoints/        what it goes on from, until it is over
runs/<study>/trial_00007/tensorboard/        its training and validation writers
runs/<study>/trial_00007/pictures/           slices of the best epoch with outlines (PNG)
runs/<study>/trial_00007/crash.txt           where its process was when it crashed
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path

from kidneyseg.errors import SettingsError
from kidneyseg.settings import Environment

STORAGE_VARIABLE = "KIDNEYSEG_STORAGE"  # of the environment: the address of the database
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
CRASH_FILE = "crash.txt"  # in a trial's folder
RESERVED = (
    "drill",
    *("phantom", "phantom.lock", "cache", "splits", "trainings", "artifacts", "model", "gpu-locks"),
    "studies.db",
    "pseudonyms.key",
)


@dataclass(frozen=True, slots=True)
class Runs:
    """The folder `runs/` and the names of what lies in it."""

    folder: Path

    @property
    def database_url(self) -> str:
        """The default database: a SQLite file."""
        return f"sqlite:///{self.folder / 'studies.db'}"

    @property
    def phantom(self) -> Path:
        """The phantom data set."""
        return self.folder / "phantom"

    @property
    def artifacts(self) -> Path:
        """Kept models and pictures, unless the settings name another store."""
        return self.folder / "artifacts"

    @property
    def drill(self) -> Path:
        """What the drill of `kidneyseg-search doctor` makes."""
        return self.folder / "drill"

    @property
    def gpu_locks(self) -> Path:
        """Locks of the GPUs that workers claim."""
        return self.folder / "gpu-locks"

    def cache(self, environment: Environment) -> Path:
        """The prepared slices: where the settings say, else below `runs/`."""
        return environment.data.cache or self.folder / "cache"

    def evaluation_data(self, split: str) -> Path:
        """The split of a fingerprint."""
        return self.folder / "splits" / split[:16] / "evaluation_data.json"

    def training(self, setup: str) -> Path:
        """The checkpoints and the log of one training outside a search, by its fingerprint."""
        return self.folder / "trainings" / setup[:16]

    def study(self, study: str) -> Path:
        """A study's folder."""
        return self.folder / check_study_name(study)

    def model(self, study: str, trial: int) -> Path:
        """The model folder of a trial's best epoch."""
        return self.trial(study, trial) / "model"

    def tensorboard(self, study: str, trial: int) -> Path:
        """A trial's TensorBoard log."""
        return self.trial(study, trial) / "tensorboard"

    def checkpoints(self, study: str, trial: int) -> Path:
        """What a trial that is not over goes on from."""
        return self.trial(study, trial) / "checkpoints"

    def crash(self, study: str, trial: int) -> Path:
        """Where a trial's process was when it crashed."""
        return self.trial(study, trial) / CRASH_FILE

    def pictures(self, study: str, trial: int) -> Path:
        """Pictures of a trial's best epoch."""
        return self.trial(study, trial) / "pictures"

    def trial(self, study: str, trial: int) -> Path:
        """A trial's folder."""
        return self.study(study) / f"trial_{trial:05d}"


def check_study_name(name: str) -> str:
    """Return the name if it can be a folder's. Raises SettingsError."""
    if not STUDY_NAME.fullmatch(name) or name in RESERVED:
        raise SettingsError(
            f"study name {name!r}: expected letters, digits, '.', '_' and '-', beginning with a "
            f"letter or digit, at most 100, and not {', '.join(RESERVED)}"
        )
    return name


def make_folder(folder: Path, setting: str) -> None:
    """Make a folder that a setting names, and see that it can be written. Raises SettingsError."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError as error:
        raise SettingsError(f"{setting} = {folder}: cannot be made ({error.strerror})") from error
    if not writable:
        raise SettingsError(f"{setting} = {folder}: cannot be written; expected a folder of yours")
