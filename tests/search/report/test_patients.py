"""With pseudonyms no name of a case is left in a page."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from kidneyseg.ct.splits import Split, write_split
from kidneyseg.pseudonyms import pseudonym
from kidneyseg.runs import Runs
from kidneyseg.search.report.making import Wishes, gather
from kidneyseg.search.report.page import build_page
from kidneyseg.search.report.patients import LEFT_OUT, find_pseudonyms, without_names
from kidneyseg.search.study_record import StudyRecord
from kidneyseg.settings import CommonSettings

from .conftest import complete, failed

BuildRecord = Callable[..., StudyRecord]
KEY = b"k" * 32
SPLIT = Split(data="d", seed=0, training=("Abel",), validation=("Eve", "Ev"), test=("Cain",))


def study_of(build_record: BuildRecord, reasons: Sequence[str] = ()) -> StudyRecord:
    trials = [complete(k, 0.8, dice_of_case={"Eve": 0.7, "Ev": 0.9}) for k in range(2)]
    return build_record([*trials, *(failed(2 + k, each) for k, each in enumerate(reasons))])


def test_names_become_pseudonyms_in_cases_and_settings(build_record: BuildRecord) -> None:
    record = study_of(build_record)
    data = {**record.definition.settings.data, "exclude": ["Abel"], "include": []}
    settings = record.definition.settings.model_copy(update={"data": data})
    object.__setattr__(
        record, "definition", record.definition.model_copy(update={"settings": settings})
    )
    hidden = without_names(record, find_pseudonyms(record, None, KEY), all_known=False)
    assert hidden.trials[0].dice_of_case == {pseudonym("Eve", KEY): 0.7, pseudonym("Ev", KEY): 0.9}
    assert hidden.definition.settings.data["exclude"] == [pseudonym("Abel", KEY)]


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("failed: no memory", "failed: no memory"),
        ("failed: Abel and Ev: bad", "failed: {Abel} and {Ev}: bad"),
        ("failed: Eve", "failed: {Eve}"),
        ("failed: /data/Seth/imaging.nii.gz", LEFT_OUT),
        ("failed: C:\\Seth", LEFT_OUT),
    ],
)
def test_reasons_name_no_case(reason: str, expected: str, build_record: BuildRecord) -> None:
    record = study_of(build_record, [reason])
    names = find_pseudonyms(record, SPLIT, KEY)
    hidden = without_names(record, names, all_known=True)
    assert hidden.trials[2].outcome == expected.format(**names)


def test_reasons_go_where_the_names_are_not_known(build_record: BuildRecord) -> None:
    record = study_of(build_record, ["failed: Abel: bad"])
    hidden = without_names(record, find_pseudonyms(record, None, KEY), all_known=False)
    assert hidden.trials[2].outcome == LEFT_OUT


def test_a_study_with_pseudonyms_keeps_its_own(build_record: BuildRecord, tmp_path: Path) -> None:
    record = study_of(build_record, ["failed: case-1: bad"])
    definition = record.definition.model_copy(update={"pseudonyms": "f" * 64})
    object.__setattr__(record, "definition", definition)
    material = gather(record, CommonSettings(runs=tmp_path), Wishes(pseudonyms=True))
    assert material.pseudonyms
    assert material.record is record
    assert not (tmp_path / "pseudonyms.key").exists()


def test_a_page_with_pseudonyms_holds_no_name(build_record: BuildRecord, tmp_path: Path) -> None:
    record = study_of(build_record, ["failed: Cain: bad"])
    definition = record.definition.model_copy(update={"split": SPLIT.fingerprint})
    object.__setattr__(record, "definition", definition)
    write_split(SPLIT, Runs(tmp_path).evaluation_data(SPLIT.fingerprint))
    common = CommonSettings(runs=tmp_path)
    named, hidden = (
        build_page(gather(record, common, Wishes(pseudonyms=wish))).split("<script>", 1)[0]
        for wish in (False, True)
    )
    assert "Eve" in named
    assert "Cain" in named
    assert not [name for name in ("Abel", "Eve", "Ev ", "Cain") if name in hidden]
    key = bytes.fromhex((tmp_path / "pseudonyms.key").read_text(encoding="utf-8"))
    assert pseudonym("Eve", key) in hidden
    assert "1, sealed during the search" in hidden
