"""TensorBoard's third writer, the report's `evaluation`: written here and nowhere else."""

from pathlib import Path

from torch.utils.tensorboard import SummaryWriter

from kidneyseg.evaluation.curves import find_log
from kidneyseg.evaluation.evaluating import STRUCTURES
from kidneyseg.evaluation.measures import MEASURES
from kidneyseg.evaluation.results import Results
from kidneyseg.runs import Runs


def log_results(results: Results, runs: Runs) -> Path:
    """Write the means of all measures beside the curves of the training; return the folder.

    At the epoch of the model, so that `dice` (the report's own way) stands on the curves of
    training and validation. Where the training's log is not at hand, in a folder of the model's.
    """
    description = results.description
    log = find_log(runs, description)
    if log is None:
        log = runs.training(description.weights_sha256) / "tensorboard"
    steps = [option.strip("-").replace(" ", "-") for option in results.steps.as_options()]
    folder = log / "evaluation" / "+".join([results.part.value, *steps])
    epoch = description.validation.epoch
    with SummaryWriter(str(folder)) as writer:
        writer.add_scalar("dice", results.training_summary().mean, epoch)
        for structure in STRUCTURES:
            for measure in MEASURES:
                mean = results.summary(measure, structure).mean
                writer.add_scalar(f"{structure}/{measure}", mean, epoch)
        for count in ("missed_kidneys", "false_kidneys"):
            writer.add_scalar(f"kidneys/{count}", results.count(count), epoch)
    return folder
