"""Work on many cases: here, or several at a time in processes of their own."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.process_pool import Died, work_on_each
from kidneyseg.errors import PreparationError

R = TypeVar("R")


def each_case(
    work: Callable[[CaseFingerprint], R],
    cases: Sequence[CaseFingerprint],
    n_processes: int,  # 1: in this process
    memory_each: int,  # bytes that a process may take, for the message
) -> Generator[R, None, None]:
    """Yield what `work` makes of each case, as it is done.

    Raises what `work` raises, and PreparationError for a process that dies.
    """
    if n_processes == 1:
        yield from map(work, cases)
        return
    with closing(work_on_each(work, cases, n_processes)) as answers:
        for case, answer in answers:
            if isinstance(answer, Died):
                raise PreparationError(_last_words(case, answer, n_processes, memory_each))
            yield answer


def file_bytes(path: Path) -> int:
    """A file's size; 0 where there is none."""
    return path.stat().st_size if path.is_file() else 0


def _last_words(case: CaseFingerprint, died: Died, n_processes: int, memory_each: int) -> str:
    dead = f"{case.case.imaging}: the process that worked on {case.case.name} died"
    if died.exit_code is not None and died.exit_code > 0:  # Python itself ended it
        return f"{dead} (exit code {died.exit_code}); the reason stands above"
    return (
        f"{dead} (exit code {died.exit_code}), for want of memory as a rule: each takes up to "
        f"{memory_each // 2**20} MiB, and {n_processes} of them ran"
    )
