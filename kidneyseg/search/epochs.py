"""What each epoch of a trial gave, beside its validation Dice, in a table of our own."""

from sqlalchemy import delete, func, insert, literal, select

from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import epochs
from kidneyseg.search.trial_order import EpochReport


def store_epoch(storage: Storage, trial_id: int, report: EpochReport) -> None:
    """Keep an epoch's figures; once more of the same epoch replaces them."""
    training, validation = report.training_losses, report.validation_losses
    row = {
        "trial_id": trial_id,
        "epoch": report.epoch,
        "training_loss": training[0],
        "training_dice_loss": training[1],
        "training_cross_entropy": training[2],
        "validation_loss": validation[0],
        "validation_dice_loss": validation[1],
        "validation_cross_entropy": validation[2],
        "learning_rate": report.learning_rate,
        "seconds": report.seconds,
        "memory_bytes": report.memory_bytes,
    }
    mine = (epochs.c.trial_id == trial_id, epochs.c.epoch == report.epoch)
    storage.change(delete(epochs).where(*mine), insert(epochs).values(row))


def seconds_of_epochs(storage: Storage, trial_id: int) -> float:
    """How long a trial's epochs took in all, those under earlier numbers too."""
    total = func.coalesce(func.sum(epochs.c.seconds), 0.0)
    return float(storage.read(select(total).where(epochs.c.trial_id == trial_id)).scalar_one())


def copy_epochs(storage: Storage, source: int, trial_id: int, n_epochs: int) -> int:
    """Give a trial the first epochs of the one that it goes on with, by ids; return how many."""
    others = [column for column in epochs.c if column is not epochs.c.trial_id]
    rows = select(literal(trial_id), *others).where(
        epochs.c.trial_id == source, epochs.c.epoch <= n_epochs
    )
    return storage.change(
        delete(epochs).where(epochs.c.trial_id == trial_id),
        insert(epochs).from_select([epochs.c.trial_id, *others], rows),
    )
