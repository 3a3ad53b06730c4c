"""The answer's sentences, on studies of few trials and few cases."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from kidneyseg.search.report.answer import find_answer
from kidneyseg.search.report.sentences import answer_sentences, question
from kidneyseg.search.study_record import StudyRecord

from .conftest import OWN, complete, pruned

BuildRecord = Callable[..., StudyRecord]
MIXED = dict(zip((f"case_{k}" for k in range(5)), (0.7, 1.0, 0.8, 0.7, 1.0), strict=True))


def test_of_two_cases_it_says_no_more_than_two_cases_do(build_record: BuildRecord) -> None:
    two = [{"a": 0.7, "b": 0.9}, {"a": 0.8, "b": 0.9}]
    trials = [complete(0, 0.8, params=OWN, dice_of_case=two[0])]
    record = build_record([*trials, complete(1, 0.85, dice_of_case=two[1])])
    best, gain, sure = answer_sentences(record, find_answer(record))
    assert "reached a Dice of 0.8500 (over 2 cases, too few for an interval), in" in best
    assert gain.endswith(
        "(trial 0: 0.8000); whether other cases would show it cannot be said: 2 cases are too few."
    )
    assert sure == "How sure the choice is cannot be said: 2 cases are too few."


def test_a_reference_whose_cases_are_not_known_is_not_called_too_few(
    build_record: BuildRecord,
) -> None:
    record = build_record([pruned(0, 0.7, params=OWN), complete(1, 0.9)])
    _, gain, _ = answer_sentences(record, find_answer(record))
    assert gain.endswith("cannot be said: the Dice of the same cases is not known.")


@pytest.mark.parametrize(
    ("n_worse", "n_alike", "words"),
    [
        (1, 0, "The one other complete trial is worse on these cases"),
        (2, 0, "Both other complete trials are worse on these cases"),
        (3, 0, "All 3 other complete trials are worse on these cases"),
        (0, 1, "The one other complete trial cannot be told from it on these cases"),
        (0, 2, "Neither of the 2 other complete trials can be told from it on these cases"),
        (0, 3, "None of the 3 other complete trials can be told from it on these cases"),
        (1, 1, "1 of the 2 other complete trials cannot be told from it on these cases"),
    ],
)
def test_others_are_counted_in_grammar(
    n_worse: int, n_alike: int, words: str, build_record: BuildRecord
) -> None:
    worse = [complete(k, 0.8) for k in range(1, n_worse + 1)]
    alike = [complete(10 + k, 0.84, dice_of_case=MIXED) for k in range(n_alike)]
    record = build_record([complete(0, 0.85), *worse, *alike])
    *_, sure = answer_sentences(record, find_answer(record))
    assert sure.startswith(words)
    if n_alike:
        assert sure.endswith(f"one good choice among {n_alike + 1}.")


def test_of_phantoms_it_says_so(build_record: BuildRecord) -> None:
    record = build_record([complete(0, 0.8)])
    assert "phantoms" not in question(record)
    definition = record.definition.model_copy(update={"phantoms": True})
    drawn = replace(record, definition=definition)
    assert question(drawn).endswith("phantoms, drawn by this program: no patients' scans.")
