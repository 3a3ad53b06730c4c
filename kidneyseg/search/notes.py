"""The note on a study that the dashboard shows: what is searched, on which data, how far it is.

Written when a study is begun and again when trials finish: by one worker, at most once a minute.
A worker that ends, early too, writes it at once.
"""

import json
import re
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress

import optuna
from optuna_dashboard import get_note, save_note
from sqlalchemy import String, Text, column, table, update

from kidneyseg.ct.splits import Split
from kidneyseg.errors import StudyError
from kidneyseg.model.picture_files import N_BEST, N_WORST
from kidneyseg.search.artifacts import MODEL
from kidneyseg.search.budget import OUTCOME
from kidneyseg.search.definition import StudyDefinition
from kidneyseg.search.hand_back import ATTEMPT
from kidneyseg.search.lineage import LINEAGE, TAKEN_OVER, WENT_ON_AFTER
from kidneyseg.search.objective import (
    AT_A_TIME,
    AT_A_TIME_IN_VALIDATION,
    BEST_DICE,
    BEST_EPOCH,
    DICE_OF_CASE,
)
from kidneyseg.search.patience import DATABASE_ERRORS
from kidneyseg.search.report.meanings import meaning
from kidneyseg.search.report.methods import pruner_sentence, sampler_sentence
from kidneyseg.search.report.words import (
    counted,
    hours_words,
    listed,
    range_words,
    values_words,
)
from kidneyseg.search.status import read_status
from kidneyseg.search.studies import DEFINITION, Study
from kidneyseg.search.study_status import StudyStatus

WRITTEN = "kidneyseg:note written"  # study attribute of Optuna's: seconds since 1970
PAUSE_SECONDS = 60.0  # between two notes
FAILURE = re.compile(r"dashboard:[0-9]+:note_ver")  # optuna-dashboard's name of a trial's note
MOST_FAILURES = 20  # notes of failed trials

ATTRIBUTES = {  # of trials, in the words of who reads them
    BEST_EPOCH: "the epoch whose model is kept, counted from 1",
    BEST_DICE: "the Dice of that epoch, pruned trials' too",
    DICE_OF_CASE: "the same, case by case",
    OUTCOME: "why a trial failed, was handed back to others, or was beyond the budget",
    "traceback": "the last lines of what a failed trial died of; easier to read in its note",
    MODEL: "whether its model is kept, or why it was removed",
    "provenance": "data, split, code, versions and machine of the training",
    TAKEN_OVER: "its hyper-parameters were trained before: the result is that trial's",
    LINEAGE: "earlier numbers of the same training, handed back or cut off",
    WENT_ON_AFTER: "how many epochs were trained under those numbers",
    ATTEMPT: "how often it was begun because a worker or its process died",
    AT_A_TIME: "that fitted into memory in training; batch norm and dropout feel it",
    AT_A_TIME_IN_VALIDATION: "the same in validation, where it changes last digits alone",
}

_attributes = table(  # Optuna's own, of studies
    "study_system_attributes",
    column("study_id"),
    column("key", String),
    column("value_json", Text),
)


def refresh_note(study: Study, split: Split, *, at_once: bool = False) -> bool:
    """Write the note as things are now; whether it was written.

    Not when anybody wrote it within the last minute, unless `at_once`; nor when it would say the
    same again. Raises what a lost database raises.
    """
    if not _may_write(study, at_once=at_once):
        return False
    text = study_note(study.definition, read_status(study.storage, study.name), split)
    if text == get_note(study.optuna):
        return False
    save_note(study.optuna, text)
    return True


def leave_note(study: Study, split: Split) -> None:
    """Have the note say how things stand at the end; a database that is away holds up no end."""
    if study.storage.patience.is_waiting:
        return
    with suppress(KeyError, StudyError, *DATABASE_ERRORS):  # it was deleted, or is away
        refresh_note(study, split, at_once=True)


def note_failure(trial: optuna.Trial, reason: str, traceback: str) -> bool:
    """Write on a failed trial's page why it failed, line by line; whether there was room.

    Such notes are kept with the study and read whenever it is: only the first of them are written.
    """
    kept = trial.study._storage.get_study_system_attrs(trial.study._study_id)
    if sum(1 for key in kept if FAILURE.fullmatch(key)) >= MOST_FAILURES:
        return False
    code = "\n".join(f"    {line}" for line in traceback.splitlines())
    save_note(trial, f"**{reason}**\n\n{code}\n")
    return True


def study_note(definition: StudyDefinition, status: StudyStatus, split: Split) -> str:
    """The note, in Markdown. It names no case."""
    parts = (
        [f"# {status.study}", _question(definition), _progress(status)],
        ["## What is searched", *_space(definition)],
        ["## On which data", *_data(definition, split)],
        ["## How to read the trials", *_reading()],
    )
    return "\n\n".join(paragraph for part in parts for paragraph in part) + "\n"


def _may_write(study: Study, *, at_once: bool) -> bool:
    """Whether this call is to write the note: of several within a minute, one."""
    storage = study.storage.optuna
    now, before = time.time(), storage.get_study_system_attrs(study.id).get(WRITTEN)
    if before is None or at_once:
        storage.set_study_system_attr(study.id, WRITTEN, now)
        return True
    if abs(now - before) < PAUSE_SECONDS:  # a clock that was ahead must not stop it for good
        return False
    mine = update(_attributes).where(
        _attributes.c.study_id == study.id,
        _attributes.c.key == WRITTEN,
        _attributes.c.value_json == json.dumps(before),
    )
    return study.storage.change(mine.values(value_json=json.dumps(now))) == 1


def _question(definition: StudyDefinition) -> str:
    if confirmation := definition.confirmation:
        return (
            f"The {len(confirmation.candidates)} best trials of study `{confirmation.study}` are "
            "trained again with other seeds: which is best without its luck?"
        )
    names = [f"`{name}`" for name in definition.space.names()]
    verb = "gives" if len(names) == 1 else "give"
    return (
        f"Which {listed(names)} {verb} the best segmentation of kidneys in CT? Every trial trains "
        "the network once with values of its own; its value is the mean Dice, over the volumes of "
        "the validation cases, of its best epoch. Higher is better, 1 is perfect."
    )


def _progress(status: StudyStatus) -> str:
    states = status.states
    others = [f"{states[name]} {name}" for name in ("running", "waiting", "failed") if states[name]]
    so_far = f"{status.finished} of {counted(status.n_trials, 'trial')} finished"
    kinds = f"{states['complete']} complete, {states['pruned']} pruned"
    spent = f"{counted(status.epochs, 'epoch')}, {hours_words(status.hours)} of work"
    lines = [f"**So far: {so_far}** ({', '.join([kinds, *others])}). Spent: {spent}."]
    if status.saved_epochs:
        lines.append(
            f"Pruning saved about {counted(status.saved_epochs, 'epoch')}, "
            f"{hours_words(status.saved_hours)}."
        )
    if best := status.best:
        lines.append(
            f"Best: trial {best.number}, Dice {best.value:.4f}, with {values_words(best.params)}."
        )
    if status.stop is not None:
        lines.append(f"No new trial begins: {status.stop}.")
    return " ".join(lines)


def _space(definition: StudyDefinition) -> Iterator[str]:
    rows = [
        (f"`{name}`", range_words(range_), meaning(name))
        for name, range_ in definition.space.root.items()
    ]
    yield _table(("hyper-parameter", "range", "meaning"), rows)
    if definition.fixed:
        yield f"Fixed: {values_words(definition.fixed)}. All others have their defaults."
    yield (
        f"{sampler_sentence(definition.sampler, len(definition.start_points))} "
        f"{pruner_sentence(definition.pruner)} Seed {definition.seed}."
    )


def _data(definition: StudyDefinition, split: Split) -> Iterator[str]:
    settings, training = definition.data_settings(), definition.settings.training
    if definition.phantoms:
        yield "**Phantom scans**, drawn by this program: no patients' scans."
    yield (
        f"{counted(len(split.training), 'case')} for training, {len(split.validation)} for "
        f"validation; {len(split.test)} for the test, which no trial reads. Data "
        f"`{definition.data[:12]}`, split `{definition.split[:12]}`."
    )
    low, high = settings.hu_window
    rows, columns = settings.slice_size
    pixels = (
        f"{settings.spacing_mm:g} mm pixels"
        if settings.spacing_mm is not None
        else f"1/{settings.downsampling} of the scan's resolution"
    )
    yield (
        f"Slices of {rows} x {columns} at {pixels}, {low:g} to {high:g} HU. At most "
        f"{counted(training.max_epochs, 'epoch')}, fewer when the validation loss rises "
        f"{counted(training.patience, 'time')} in a row."
    )


def _reading() -> Iterator[str]:
    yield (
        "A trial's curve has one point for each epoch: its validation Dice. *Complete*: it ran to "
        "its own end. *Pruned*: given up early; its value is its last epoch's, not its best. "
        f"*Fail*: see `{OUTCOME}`; one that was handed back goes on under another number."
    )
    rows = [(f"`{name}`", words) for name, words in ATTRIBUTES.items()]
    yield _table(("attribute of a trial", "meaning"), rows)
    yield (
        f"A trial's files are pictures of the validation cases of its {N_WORST} lowest and "
        f"{N_BEST} highest Dice, with the true outline in blue and the predicted one in orange on "
        "top of it; and the models of the best trials. The study's own "
        f"`{DEFINITION}` says all of this to the program."
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
