"""A study of a benchmark: begun as ours are, and filled with trials by plain SQL."""

import json
from typing import Any

from optuna.storages._rdb import models
from sqlalchemy import Connection, insert, text

from kidneyseg.environment_files import load_environment
from kidneyseg.search.definition import StudyFile, StudyPlan
from kidneyseg.search.space import parse_space
from kidneyseg.search.storage import Storage
from kidneyseg.search.studies import Study, open_study
from kidneyseg.search.trial_order import EpochReport

EPOCHS = 10
SPACE: dict[str, dict[str, Any]] = {
    "learning_rate": {"type": "float", "low": 1e-4, "high": 1e-2, "log": True},
    "beta": {"type": "float", "low": 0.05, "high": 5.0, "log": True},
}


def begin(storage: Storage) -> Study:
    """An empty study with the shipped samplers and pruners."""
    plan = StudyPlan(
        name="storage",
        file=StudyFile.model_validate({"search_space": "storage"}),
        space=parse_space(SPACE, "the benchmark"),
        fixed={},
        start_points=(),
    )
    definition = plan.definition(load_environment("local", {}), "data", "split")
    study = open_study(storage, "storage", definition)
    study.ask_for(10**6)
    return study


def fill(study: Study, n_trials: int, *, running: int = 0) -> list[int]:
    """Put finished and running trials into an empty study, ten reports each.

    Gives the ids of the running ones.
    """
    with study.storage.engine.begin() as connection:
        ids = _insert_trials(connection, study.id, n_trials, running)
        connection.execute(
            insert(models.TrialIntermediateValueModel.__table__),
            [
                {
                    "trial_id": trial_id,
                    "step": step,
                    "intermediate_value": _dice(trial_id) * step / EPOCHS,
                    "intermediate_value_type": "FINITE",
                }
                for trial_id in ids
                for step in range(1, EPOCHS + 1)
            ],
        )
        connection.execute(
            insert(models.TrialParamModel.__table__),
            [
                {
                    "trial_id": trial_id,
                    "param_name": name,
                    "param_value": values["low"] * (1 + 9 * _dice(trial_id * 31)),
                    "distribution_json": _distribution(values),
                }
                for trial_id in ids
                for name, values in SPACE.items()
            ],
        )
        connection.execute(
            insert(models.TrialValueModel.__table__),
            [
                {
                    "trial_id": trial_id,
                    "objective": 0,
                    "value": _dice(trial_id),
                    "value_type": "FINITE",
                }
                for trial_id in ids[:n_trials]
            ],
        )
        connection.execute(text("ANALYZE"))  # as the server has it of a study that grew
    return ids[n_trials:]


def _insert_trials(connection: Connection, study_id: int, n_trials: int, running: int) -> list[int]:
    states = ["COMPLETE"] * n_trials + ["RUNNING"] * running
    times = dict.fromkeys(("datetime_start", "datetime_complete"))
    connection.execute(
        insert(models.TrialModel.__table__),
        [
            {"number": number, "study_id": study_id, "state": state, **times}
            for number, state in enumerate(states)
        ],
    )
    numbered = text("SELECT trial_id FROM trials WHERE study_id = :id ORDER BY number")
    return list(connection.scalars(numbered, {"id": study_id}))


def _dice(trial_id: int) -> float:
    return (trial_id * 7919 % 1000) / 1000


def _distribution(values: dict[str, Any]) -> str:
    bounds = {"low": values["low"], "high": values["high"]}
    attributes = {"step": None, **bounds, "log": True}
    return json.dumps({"name": "FloatDistribution", "attributes": attributes})


def epoch_report(epoch: int) -> EpochReport:
    """What an epoch gives, made up."""
    return EpochReport(
        epoch=epoch,
        is_last=epoch == EPOCHS,
        dice=0.9 * epoch / EPOCHS,
        best_dice=0.9 * epoch / EPOCHS,
        training_losses=(1.0, 0.5, 0.5),
        validation_losses=(1.0, 0.5, 0.5),
        learning_rate=1e-3,
        seconds=1.0,
        memory_bytes=10**9,
        skipped_steps=0,
        small_batch_size=4,
        evaluation_batch_size=16,
    )
