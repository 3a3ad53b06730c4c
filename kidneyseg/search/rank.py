"""A trial's rank: which of the trials that choose hyper-parameters of their own it is.

Numbers are given in the order of creation and nobody's kind ever changes, so the rank is the same
whoever looks and whenever: what goes by it is handed out once, without a lock.
"""

import optuna
from optuna.storages._cached_storage import _CachedStorage
from sqlalchemy import func, select

from kidneyseg.search.patient_storage import PatientStorage
from kidneyseg.search.tables import trial_system_attributes, trials

FIXED = "fixed_params"  # where Optuna keeps the hyper-parameters of a trial that was put in line


def rank(study: optuna.Study, number: int) -> int:
    """How many trials with a smaller number were not put in line; one query."""
    put_in_line = select(trial_system_attributes.c.trial_id).where(
        trial_system_attributes.c.trial_id == trials.c.trial_id,
        trial_system_attributes.c.key == FIXED,
    )
    query = (
        select(func.count())
        .select_from(trials)
        .where(trials.c.study_id == study._study_id, trials.c.number < number)
        .where(~put_in_line.exists())
    )
    storage = _database(study)

    def count() -> int:
        with storage.engine.connect() as connection:
            return connection.execute(query).scalar_one()

    return storage.patience.outlast(count)


def _database(study: optuna.Study) -> PatientStorage:
    storage = study._storage
    database = storage._backend if isinstance(storage, _CachedStorage) else storage
    if not isinstance(database, PatientStorage):
        raise TypeError(f"study {study.study_name!r}: expected one in a database of open_storage")
    return database
