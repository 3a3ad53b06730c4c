"""The confirmed winner, trained once more on training and validation cases together.

With more cases and as many epochs as the search found best for it, and nothing to stop it early:
there are no cases left to validate on. Its measures are those of the trainings that confirmed it.
"""

from collections.abc import Generator
from contextlib import closing
from pathlib import Path

import torch
from optuna.trial import TrialState

from kidneyseg.ct.fingerprints import digest
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.model.description import Refit, Validation, check_place
from kidneyseg.model.folder import copy_model, describe_model, save_model
from kidneyseg.runs import Runs
from kidneyseg.search.confirmation import Confirmed, Verdict, means_of_cases
from kidneyseg.search.definition import CANDIDATE
from kidneyseg.search.service import BegunStudy
from kidneyseg.search.space import make_draw
from kidneyseg.training.device import find_device
from kidneyseg.training.results import EpochResult
from kidneyseg.training.setup import TrainingSetup
from kidneyseg.training.tensorboard import TensorBoardLog
from kidneyseg.training.trainer import Training


def refit(
    begun: BegunStudy, verdict: Verdict, chosen: Confirmed, device: str, out: Path
) -> Generator[EpochResult, None, None]:
    """Train a candidate on all development cases; write it to `out` at the end.

    Yields every epoch; its validation figures are of cases that it is trained on, and stay out of
    its TensorBoard log. Raises ModelError for an `out` that holds something else.
    """
    check_place(out)
    setup = _setup(begun, chosen)
    found = find_device(device)
    split = begun.cases.split
    prepared = begun.cases.shown(list(begun.cases.prepare()), (*split.training, *split.validation))
    slices = SliceDataset(prepared, setup.data.slice_size, setup.network.input_slices)
    training = Training(setup, slices.resident(found), slices.resident(found), found)
    folder = Runs(begun.cases.environment.common.runs).training(setup.fingerprint)
    with TensorBoardLog(folder / "tensorboard") as log, closing(training.epochs()) as epochs:
        for each in epochs:
            log.add_training(each)
            yield each
    result = training.last
    if result is None:  # unreachable: there is one epoch at least
        return
    provenance = begun.cases.provenance(
        seed=setup.seed,
        device=str(found),
        threads=torch.get_num_threads(),
        study=verdict.study,
        trial=chosen.trial,
    )
    description = describe_model(setup, result, provenance).model_copy(
        update={
            "validation": _confirmed_validation(begun, chosen, result),
            "refit": Refit(study=begun.study.name, n_seeds=verdict.n_seeds),
        }
    )
    save_model(folder / "model", training.network, description)  # says whose log it is
    copy_model(folder / "model", out)


def _setup(begun: BegunStudy, chosen: Confirmed) -> TrainingSetup:
    definition, split = begun.study.definition, begun.cases.split
    draw = make_draw({**definition.given, **chosen.values}, definition.seed)
    epochs = {"max_epochs": chosen.best_epoch, "patience": chosen.best_epoch}
    return TrainingSetup(
        data=definition.data_settings(),
        network=draw.network,
        training=definition.settings.training.model_copy(update=epochs),
        evaluation=definition.settings.evaluation,
        hyperparameters=draw.hyperparameters,
        seed=draw.seed,
        cases=digest((split.data, split.fingerprint, "training and validation")),
    )


def _confirmed_validation(begun: BegunStudy, chosen: Confirmed, result: EpochResult) -> Validation:
    """What the same hyper-parameters reached on cases that they were not trained on."""
    complete = begun.study.optuna.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    own = [trial for trial in complete if trial.params[CANDIDATE] == chosen.trial]
    return Validation(
        epoch=result.epoch,
        dice=chosen.standing.dice.mean,
        dice_of_case=means_of_cases(own),
        loss=chosen.loss,
        small_batch_size=result.small_batch_size,
        evaluation_batch_size=result.evaluation_batch_size,
    )
