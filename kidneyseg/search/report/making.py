"""From a study in the database to its page on disk."""

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from kidneyseg.pseudonyms import load_key
from kidneyseg.runs import Runs
from kidneyseg.search.artifact_stores import open_artifacts
from kidneyseg.search.report.answer import find_answer
from kidneyseg.search.report.chapters import Material
from kidneyseg.search.report.page import check_place, write_page
from kidneyseg.search.report.patients import find_pseudonyms, without_names
from kidneyseg.search.report.pictures import Picture, read_pictures, renamed
from kidneyseg.search.report.split_file import SplitAtHand, find_split
from kidneyseg.search.storage import Storage
from kidneyseg.search.study_record import StudyRecord, read_record
from kidneyseg.settings import CommonSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """What a person wants of a page."""

    pseudonyms: bool = False  # for the names of cases
    pictures: bool = True  # slices of scans


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeReport:
    """What was written."""

    best: int  # the best trial's number
    dice: float  # its validation Dice
    size_bytes: int


def make_report(
    storage: Storage, study: str, common: CommonSettings, out: Path, wishes: Wishes
) -> MadeReport:
    """Write a study's page, whole or not at all.

    Raises StudyError for a study that is not there or has no complete trial, CorrectableError for a
    place that holds something else, StorageLostError where the pictures' store is away.
    """
    check_place(out)
    record = read_record(storage, study)
    find_answer(record)  # raises before anything is fetched
    material = gather(record, common, wishes)
    size_bytes = write_page(material, out)
    best = material.answer.best
    return MadeReport(best=best.number, dice=best.value or 0.0, size_bytes=size_bytes)


def gather(record: StudyRecord, common: CommonSettings, wishes: Wishes) -> Material:
    """What a page is made of; with pseudonyms, no name of a case is left in it.

    A study that was begun with pseudonyms knows no other names: they stay as they are.
    """
    hidden = bool(record.definition.pseudonyms)
    runs = Runs(common.runs)
    at_hand = find_split(runs, record.definition.split)
    pictures, why_not = _pictures(record, common, wishes)
    if wishes.pseudonyms and not hidden:
        record, pictures = _renamed(record, pictures, at_hand, runs)
    return Material(
        record=record,
        answer=find_answer(record),
        split=at_hand,
        pictures=pictures,
        why_no_pictures=why_not,
        pseudonyms=wishes.pseudonyms or hidden,
        made=datetime.now(UTC),
    )


def _pictures(
    record: StudyRecord, common: CommonSettings, wishes: Wishes
) -> tuple[list[Picture], str]:
    if not wishes.pictures:
        return [], "pictures were not wanted"
    store = open_artifacts(common, Runs(common.runs))
    return read_pictures(store, record), "the store of artifacts holds none of the best trial"


def _renamed(
    record: StudyRecord, pictures: list[Picture], at_hand: SplitAtHand | None, runs: Runs
) -> tuple[StudyRecord, list[Picture]]:
    split = None if at_hand is None else at_hand.split
    names = find_pseudonyms(record, split, load_key(runs.folder))
    return without_names(record, names, all_known=split is not None), renamed(pictures, names)
