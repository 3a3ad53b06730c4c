"""Places among the points that a study decides beforehand: its start points, then a sequence.

A trial claims the first free place when it draws, within the budget by then. So places are handed
out once and in order, whoever asks; a trial that was beyond the budget takes none away. A place
stays with its trial, however that ends: what was handed back goes on with the point itself.
"""

from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from kidneyseg.search.storage import Storage
from kidneyseg.search.tables import places

FIXED = "fixed_params"  # where Optuna keeps the hyper-parameters of a trial that was put in line


def claim_place(storage: Storage, study_id: int, trial_id: int, n_places: int | None) -> int | None:
    """The place of a trial, from 0; None where all `n_places` are taken. Without it, no end."""
    while (mine := claimed_place(storage, trial_id)) is None:
        taken = select(func.count()).where(places.c.study_id == study_id)
        place = int(storage.read(taken).scalar_one())
        if n_places is not None and place >= n_places:
            return None
        row = insert(places).values(study_id=study_id, place=place, trial_id=trial_id)
        try:
            storage.change(row)
        except IntegrityError:
            continue  # another took it, or the answer to this call was lost
    return mine


def claimed_place(storage: Storage, trial_id: int) -> int | None:
    """The place that a trial has; None where it has none."""
    found: int | None = storage.read(
        select(places.c.place).where(places.c.trial_id == trial_id)
    ).scalar()
    return found
