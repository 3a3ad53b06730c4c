"""The curves of a training, read from its TensorBoard log where that is at hand."""

from dataclasses import dataclass
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator

from kidneyseg.errors import ModelError
from kidneyseg.model.description import ModelDescription, load_description
from kidneyseg.runs import Runs

WRITERS = ("training", "validation")


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    """One figure by epoch."""

    epochs: tuple[int, ...]
    values: tuple[float, ...]


Curves = dict[str, Curve]  # by writer: training, validation


def find_log(runs: Runs, description: ModelDescription) -> Path | None:
    """The TensorBoard folder of the training that made a model; None where it is not at hand.

    It lies beside the model of the same weights: of the trial that the model names, or of one of
    the trainings outside a search, refits among them.
    """
    *trial, trainings = log_places(runs, description)
    for folder in (*trial, *sorted(trainings.glob("*"))):
        if _weights(folder / "model") == description.weights_sha256:
            return folder / "tensorboard"
    return None


def log_places(runs: Runs, description: ModelDescription) -> list[Path]:
    """Where a model's log may lie: its trial's folder, where it has one, and other trainings."""
    provenance = description.provenance
    trainings = runs.folder / "trainings"
    if provenance.study is None or provenance.trial is None:
        return [trainings]
    return [runs.trial(provenance.study, provenance.trial), trainings]


def read_curves(log: Path, tag: str) -> Curves:
    """Read one figure, such as dice or loss/combined, of both writers; empty where none is."""
    curves = {}
    for writer in WRITERS:
        events = EventAccumulator(str(log / writer), size_guidance={SCALARS: 0})
        if not (log / writer).is_dir():
            continue
        events.Reload()
        if tag in events.Tags()[SCALARS]:
            points = events.Scalars(tag)
            curves[writer] = Curve(
                epochs=tuple(int(point.step) for point in points),
                values=tuple(float(point.value) for point in points),
            )
    return curves


def _weights(model: Path) -> str | None:
    try:
        return load_description(model).weights_sha256
    except (ModelError, OSError):
        return None
