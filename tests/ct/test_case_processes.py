"""Work on many cases, here and in other processes."""

import os
from collections.abc import Callable, Generator
from operator import attrgetter

import pytest

from kidneyseg.ct import case_processes
from kidneyseg.ct.case_processes import each_case
from kidneyseg.ct.cases import Case
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.process_pool import Died
from kidneyseg.errors import PreparationError


@pytest.fixture
def case(
    write_case: Callable[..., Case], fingerprint_of: Callable[[Case], CaseFingerprint]
) -> CaseFingerprint:
    return fingerprint_of(write_case())


def test_one_process_is_this_one(case: CaseFingerprint) -> None:
    def here(_: CaseFingerprint) -> int:
        return os.getpid()

    assert list(each_case(here, [case, case], 1, 2**30)) == [os.getpid()] * 2


def test_several_processes_are_others(case: CaseFingerprint) -> None:
    name_of = attrgetter("case.name")
    assert list(each_case(name_of, [case, case], 2, 2**30)) == ["case_00000"] * 2


@pytest.mark.parametrize(
    ("exit_code", "reason"),
    [
        (-9, "(exit code -9), for want of memory as a rule: each takes up to 1024 MiB, and 2 of"),
        (1, "(exit code 1); the reason stands above"),
    ],
)
def test_a_process_that_dies_is_named_with_its_case_and_memory(
    case: CaseFingerprint, monkeypatch: pytest.MonkeyPatch, exit_code: int, reason: str
) -> None:
    def answers(*_: object) -> Generator[tuple[CaseFingerprint, Died], None, None]:
        yield case, Died(exit_code)

    monkeypatch.setattr(case_processes, "work_on_each", answers)
    with pytest.raises(PreparationError) as caught:
        list(each_case(len, [case], 2, 2**30))  # type: ignore[arg-type]
    dead = f"{case.case.imaging}: the process that worked on case_00000 died"
    assert str(caught.value).startswith(f"{dead} {reason}")
