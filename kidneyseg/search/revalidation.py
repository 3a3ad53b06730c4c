"""The Dice of a kept model, measured once more on its study's validation slices."""

from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path

from kidneyseg.ct.development import DevelopmentCases
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.model.folder import load_model
from kidneyseg.search.service import BegunStudy
from kidneyseg.training.device import find_device, on_threads
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.trainer import Training

SAME = 1e-6  # the largest difference of two Dice that are the same but for rounding
ROUNDED = 1e-4  # of one kind of device: other models of processor, other orders of sums
OTHER_DEVICE = 1e-2  # of a processor and a GPU, which may round to 16 bits


@dataclass(frozen=True, slots=True, kw_only=True)
class Revalidation:
    """What a model gives on the validation slices now, and what was recorded of it."""

    dice: float  # per volume, averaged over the volumes
    dice_of_case: dict[str, float]
    device: str
    recorded: float
    recorded_device: str

    @property
    def is_other(self) -> bool:
        """Whether it is another result, not the same one from another kind of processor."""
        same_kind = self.device.split(":")[0] == self.recorded_device.split(":")[0]
        tolerance = ROUNDED if same_kind else OTHER_DEVICE
        return abs(self.dice - self.recorded) > tolerance

    @property
    def agrees(self) -> bool:
        """Whether both Dice are the same but for rounding."""
        return abs(self.dice - self.recorded) <= SAME


def prepare_validation(cases: DevelopmentCases) -> Generator[PreparedCase, None, None]:
    """Yield each validation case from the cache, prepared first where it is not there."""
    wanted = set(cases.split.validation)
    return cases.cache.prepare([each for each in cases.cases if each.case.name in wanted])


def revalidate(
    begun: BegunStudy, prepared: list[PreparedCase], folder: Path, device_name: str
) -> Revalidation:
    """Validate a model folder of the study as its training did after every epoch.

    On as many threads, too: sums are rounded in their order, and a network that has learnt nothing
    yet may turn over with a last digit.

    `prepared` are the validation cases. Raises ModelError for a folder that cannot be used.
    """
    device = find_device(device_name)
    model = load_model(folder, device)
    description, definition = model.description, begun.study.definition
    setup = TrainingSetup(
        data=begun.cases.environment.data,
        network=description.network,
        training=definition.settings.training,
        evaluation=definition.settings.evaluation,
        hyperparameters=description.hyperparameters,
        seed=description.provenance.seed,
        cases=definition.cases,
    )
    slices = SliceDataset(
        begun.cases.shown(prepared, begun.cases.split.validation),
        setup.data.slice_size,
        setup.network.input_slices,
    )
    training = Training(setup, slices, slices, device)  # it trains nothing here
    training.network.load_state_dict(model.network.state_dict())
    with on_threads(description.provenance.threads):
        sums = training.validate()
    return Revalidation(
        dice=sums.dice,
        dice_of_case=sums.dice_of_case,
        device=str(device),
        recorded=description.validation.dice,
        recorded_device=description.provenance.device,
    )
