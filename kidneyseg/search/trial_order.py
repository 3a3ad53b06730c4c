"""What a training process is told, and what it tells: JSON, so that nothing is unpickled."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, RootModel, ValidationError

from kidneyseg.ct.prepared_cases import Manifest, PreparedCase
from kidneyseg.errors import PreparationError
from kidneyseg.hyperparameters import Hyperparameters
from kidneyseg.provenance import Provenance
from kidneyseg.settings import (
    DataSettings,
    EvaluationSettings,
    NetworkSettings,
    Part,
    TrainingSettings,
)
from kidneyseg.training.setup import TrainingSetup


class CaseFolder(Part):
    """A prepared case in the cache."""

    name: str
    folder: Path

    def open(self) -> PreparedCase:
        """Open it. Raises OSError or PreparationError where it is no longer whole."""
        path = self.folder / "manifest.json"
        try:
            manifest = Manifest.model_validate_json(path.read_text(encoding="utf-8"))
        except ValidationError:  # whose words hold parts of the file: of a name, too
            raise PreparationError(
                f"{path}: damaged; the same command prepares the case anew"
            ) from None
        return PreparedCase(name=self.name, folder=self.folder, manifest=manifest)


class TrialOrder(Part):
    """One training, from its first missing epoch to its end."""

    data: DataSettings
    network: NetworkSettings
    training: TrainingSettings
    evaluation: EvaluationSettings
    hyperparameters: Hyperparameters
    seed: int
    cases: str  # fingerprint of the data set and its split
    training_cases: tuple[CaseFolder, ...]
    validation_cases: tuple[CaseFolder, ...]
    provenance: Provenance
    folder: Path  # of the trial: model, TensorBoard log, checkpoints (`Runs.trial`)
    pictures: bool
    device: str
    threads: int  # of the processor

    @property
    def setup(self) -> TrainingSetup:
        """All that decides what the training gives."""
        return TrainingSetup(
            data=self.data,
            network=self.network,
            training=self.training,
            evaluation=self.evaluation,
            hyperparameters=self.hyperparameters,
            seed=self.seed,
            cases=self.cases,
        )


class Resumed(Part):
    """The training is set up; of epochs that are finished already, the last is told once more."""

    kind: Literal["resumed"] = "resumed"
    history: tuple[float, ...]  # validation Dice of each finished epoch


class EpochReport(Part):
    """An epoch is over and kept on disk; the process waits for the word to go on."""

    kind: Literal["epoch"] = "epoch"
    epoch: int  # from 1
    is_last: bool
    dice: float  # validation, per volume
    best_dice: float
    training_losses: tuple[float, float, float]  # combined, Dice, cross-entropy
    validation_losses: tuple[float, float, float]
    learning_rate: float
    seconds: float
    memory_bytes: int
    skipped_steps: int
    small_batch_size: int  # slices at a time
    evaluation_batch_size: int  # the same in validation


class Failed(Part):
    """The training ended with an error."""

    kind: Literal["failed"] = "failed"
    reason: str  # one line
    traceback: str  # its last lines
    disk_full: bool = False


class Written(Part):
    """A line that somebody in the process wrote to stderr."""

    kind: Literal["written"] = "written"
    line: str


Message = Resumed | EpochReport | Failed | Written


class AnyMessage(RootModel[Annotated[Message, Field(discriminator="kind")]]):
    """Any of the messages, to be read from JSON."""


GO_ON = b"go on"
END = b"end"

# Signals that are sent to a whole group of processes: the worker alone decides what they mean.
FOR_THE_WORKER = ("SIGINT", "SIGTERM", "SIGUSR1", "SIGHUP")
