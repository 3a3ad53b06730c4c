"""The page without case names: pseudonyms stand for them wherever they may appear."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace

from kidneyseg.ct.splits import Split
from kidneyseg.pseudonyms import pseudonyms
from kidneyseg.search.study_record import StudyRecord, TrialRecord

NAMED_SETTINGS = ("include", "exclude")  # data settings that hold case names
LEFT_OUT = "left out, for it may name a case"


def find_pseudonyms(record: StudyRecord, split: Split | None, key: bytes) -> dict[str, str]:
    """The pseudonym of every case that the study or its split names."""
    data = record.definition.settings.data
    names = {name for trial in record.trials for name in trial.dice_of_case}
    names |= {name for setting in NAMED_SETTINGS for name in data.get(setting) or ()}
    if split is not None:
        names |= {*split.training, *split.validation, *split.test}
    return pseudonyms(names, key)


def without_names(record: StudyRecord, names: Mapping[str, str], *, all_known: bool) -> StudyRecord:
    """The record with pseudonyms for case names.

    The reason of a failed trial stays only where all names are known and it holds no path, for a
    path may hold a name of its own.
    """
    trials = tuple(_trial(trial, names, all_known=all_known) for trial in record.trials)
    data = dict(record.definition.settings.data)
    for setting in NAMED_SETTINGS:
        data[setting] = [names[name] for name in data.get(setting) or ()]
    settings = record.definition.settings.model_copy(update={"data": data})
    definition = record.definition.model_copy(update={"settings": settings})
    return replace(record, definition=definition, trials=trials)


def _trial(trial: TrialRecord, names: Mapping[str, str], *, all_known: bool) -> TrialRecord:
    dice = {names[name]: value for name, value in trial.dice_of_case.items()}
    outcome = trial.outcome
    if trial.is_failed:
        outcome = _renamed(outcome, names) if all_known and not _has_path(outcome) else LEFT_OUT
    return replace(trial, dice_of_case=dice, outcome=outcome)


def _has_path(text: str) -> bool:
    return "/" in text or "\\" in text


def _renamed(text: str, names: Mapping[str, str]) -> str:
    if not names:
        return text
    return re.sub(_any_of(names), lambda found: names[found.group()], text)


def _any_of(names: Iterable[str]) -> str:
    """A pattern of names, the longest first: one may begin another."""
    return "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True) if name)
