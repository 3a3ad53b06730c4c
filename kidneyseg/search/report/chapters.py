"""What the page holds, section by section."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from kidneyseg.model.picture_files import N_BEST as PICTURED_BEST
from kidneyseg.model.picture_files import N_WORST as PICTURED_WORST
from kidneyseg.search.report.answer import Answer
from kidneyseg.search.report.case_figures import cases, ranked_cases
from kidneyseg.search.report.figure import Figure
from kidneyseg.search.report.importance import find_importance
from kidneyseg.search.report.markup import Markup, image, tag
from kidneyseg.search.report.parameter_figures import importances, parallel, slices
from kidneyseg.search.report.pictures import Picture
from kidneyseg.search.report.sentences import LIMITS, answer_sentences, question
from kidneyseg.search.report.sources import again, data_table, provenance_tables
from kidneyseg.search.report.split_file import SplitAtHand
from kidneyseg.search.report.tables import (
    failed_table,
    glance,
    hyperparameter_table,
    ranking_table,
    settings_table,
)
from kidneyseg.search.report.trial_figures import curves, history, losses, pruning
from kidneyseg.search.report.words import counted, listed
from kidneyseg.search.study_record import StudyRecord

N_WORST = 5  # cases that are named


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """What a page is made of."""

    record: StudyRecord
    answer: Answer
    split: SplitAtHand | None  # where it is at hand
    pictures: Sequence[Picture] = ()
    why_no_pictures: str = ""
    pseudonyms: bool = False  # stand for the cases
    made: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Chapter:
    """A section of the page: HTML and figures in order."""

    title: str
    anchor: str
    blocks: tuple[Markup | Figure, ...]


def chapters(material: Material) -> list[Chapter]:
    """All sections in order."""
    record, answer = material.record, material.answer
    return [
        Chapter(title="Question", anchor="question", blocks=(tag("p", question(record)),)),
        Chapter(title="Answer", anchor="answer", blocks=_answer(record, answer)),
        Chapter(
            title="Hyper-parameters",
            anchor="hyper-parameters",
            blocks=(hyperparameter_table(record, answer), ranking_table(record, answer)),
        ),
        Chapter(
            title="The search",
            anchor="search",
            blocks=(history(record, answer), curves(record, answer), pruning(record)),
        ),
        Chapter(
            title="What mattered",
            anchor="importance",
            blocks=(
                importances(find_importance(record)),
                parallel(record, answer),
                slices(record, answer),
            ),
        ),
        Chapter(title="The best trial", anchor="best-trial", blocks=_best(material)),
        Chapter(
            title="Data and split",
            anchor="data",
            blocks=(data_table(record, answer, material.split),),
        ),
        Chapter(title="Failed trials", anchor="failed", blocks=(failed_table(record),)),
        Chapter(
            title="Where it comes from",
            anchor="provenance",
            blocks=(
                provenance_tables(record, answer),
                settings_table(record),
                tag("p", "To go on with the search, and to use and test what it found:"),
                again(record),
            ),
        ),
    ]


def _answer(record: StudyRecord, answer: Answer) -> tuple[Markup, ...]:
    return (
        tag("p", " ".join(answer_sentences(record, answer)), class_="answer"),
        glance(record, answer),
        tag("p", LIMITS, class_="note"),
    )


def _best(material: Material) -> tuple[Markup | Figure, ...]:
    record, answer = material.record, material.answer
    return (losses(record, answer), cases(answer), _worst(answer), _slices(material))


def _worst(answer: Answer) -> Markup:
    dice = answer.best.dice_of_case
    named = [f"{name} ({dice[name]:.4f})" for name in ranked_cases(dice)[:N_WORST]]
    if not named:
        return tag("p", "Which cases are the worst is not in the database.")
    head = "The case" if len(dice) == 1 else f"The {counted(len(named), 'case')} of lowest Dice"
    return tag("p", f"{head}: {listed(named)}.")


def _slices(material: Material) -> Figure:
    title, best = "Slices of the best trial", material.answer.best
    if not material.pictures:
        return Figure(title=title, caption=f"Left out: {material.why_no_pictures}.")
    of = len(best.dice_of_case)
    cells = (_picture(each, of) for each in material.pictures)
    return Figure(
        title=title,
        caption=f"The slice with most kidney of each case, in the best epoch of trial "
        f"{best.number}: the true outline in blue, the predicted one in orange on top of it. "
        "Cases stand by their Dice, which is that of the whole case, the lowest first; the search "
        f"keeps pictures of the {PICTURED_WORST} cases of lowest and the {PICTURED_BEST} of "
        "highest Dice of each trial.",
        content=tag("div", *cells, class_="pictures"),
    )


def _picture(picture: Picture, of: int) -> Markup:
    drawn = image(picture.data_uri, f"Slice of {picture.case} with both outlines")
    words = picture.case
    if picture.dice is not None and picture.rank is not None:
        words += f": Dice {picture.dice:.4f}, {_rank(picture.rank, of)}"
    return tag("div", drawn, tag("p", words))


def _rank(rank: int, of: int) -> str:
    if of == 1:
        return "the only case"
    if rank in (1, of):
        return f"{'lowest' if rank == 1 else 'highest'} of {of}"
    return f"number {rank} of {of} from below"
