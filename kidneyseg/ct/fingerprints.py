"""Content fingerprints of files and of whole data sets: SHA-256, remembered by size and time."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from kidneyseg.cores import count_cores
from kidneyseg.ct.cases import Case
from kidneyseg.files import write_text


def digest(parts: Iterable[str]) -> str:
    """SHA-256 (hexadecimal) of strings, their borders included."""
    return hashlib.sha256(json.dumps(list(parts)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's content."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFingerprint:
    """What a case's two files hold."""

    case: Case
    imaging: str  # SHA-256 of the file
    segmentation: str


@dataclass(frozen=True, slots=True)
class Fingerprints:
    """Fingerprints of files, remembered in `folder` until a file's size or time changes."""

    folder: Path

    def of_cases(self, cases: Sequence[Case]) -> list[CaseFingerprint]:
        """Fingerprint many cases, several at a time."""
        with ThreadPoolExecutor(count_cores()) as threads:  # hashing lets other threads run
            return list(threads.map(self.of_case, cases))

    def of_case(self, case: Case) -> CaseFingerprint:
        """Fingerprint both files of a case."""
        return CaseFingerprint(
            case=case,
            imaging=self.of_file(case.imaging),
            segmentation=self.of_file(case.segmentation),
        )

    def of_file(self, path: Path) -> str:
        """SHA-256 of a file; read only when its size or time is not the remembered one."""
        status = path.stat()
        known = f"{path.resolve()}|{status.st_size}|{status.st_mtime_ns}"
        memory = self.folder / f"{digest([str(path.resolve())])}.txt"
        if memory.is_file():
            remembered, _, fingerprint = memory.read_text(encoding="utf-8").rpartition("\n")
            if remembered == known:
                return fingerprint
        fingerprint = file_sha256(path)
        write_text(memory, f"{known}\n{fingerprint}")
        return fingerprint


def data_fingerprint(cases: Sequence[CaseFingerprint]) -> str:
    """One SHA-256 for a data set: its case names and what their files hold, in any order."""
    return digest(sorted(f"{c.case.name}:{c.imaging}:{c.segmentation}" for c in cases))
