"""The slices that trials and workers share: prepared once, memory-mapped, read-only.

One folder per prepared case, named by what made it (the two files' contents, the settings of this
step, the version of its code):

    <case>-<key>/       a prepared case (`kidneyseg.ct.prepared_cases`)
    locks/<case>-<key>  held while a process builds it
    fingerprints/       remembered hashes of the source files
    label_sizes/        remembered sizes of kidneys and tumours

A folder is built under a temporary name and renamed: what is there is whole. What a killed process
left under such a name is removed by the next one that prepares anything.
"""

import shutil
from collections.abc import Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import ValidationError

from kidneyseg.ct.case_processes import each_case, file_bytes
from kidneyseg.ct.cases import read_case
from kidneyseg.ct.fingerprints import CaseFingerprint, Fingerprints
from kidneyseg.ct.preparation import PREPARATION_VERSION, prepare_slices
from kidneyseg.ct.prepared_cases import MadeBy, Manifest, PreparedCase, store_case
from kidneyseg.ct.process_pool import count_processes
from kidneyseg.errors import PreparationError
from kidneyseg.files import replacing_folder
from kidneyseg.settings import DataSettings

SETTINGS = {"kidney_labels", "downsampling", "spacing_mm", "margin_slices", "margin_mm"}
MEMORY_EACH = 3 * 2**29  # bytes for one process: 1.5 GiB; the largest scan of KiTS19 takes 1.1
MANY_BYTES = 2**26  # of scans; fewer are prepared before processes have started


class SliceCache:
    """Prepared cases below one folder, for one set of data settings."""

    def __init__(self, folder: Path, settings: DataSettings) -> None:
        self.folder = folder
        self.settings = settings
        self.fingerprints = Fingerprints(folder / "fingerprints")

    def prepare(
        self,
        cases: Sequence[CaseFingerprint],
        *,
        hashes: bool = False,
        n_processes: int | None = None,
    ) -> Generator[PreparedCase, None, None]:
        """Yield each case from the cache; those that are missing or damaged are built, last.

        Damage is seen by size, or by hash too (a second or so for every gigabyte). Many are built
        at a time, each in a process; `n_processes` says how many if memory and cores shall not.
        Raises DataError for a case that cannot be used, PreparationError where building fails
        otherwise; what was built before stays.
        """
        self._sweep()
        missing = []
        for case in cases:
            opened = self.find(case, hashes=hashes)
            if opened is None:
                missing.append(case)
            else:
                yield opened
        n_bytes = sum(file_bytes(case.case.imaging) for case in missing)
        if n_processes is None:
            n_processes = count_processes(len(missing), MEMORY_EACH) if n_bytes > MANY_BYTES else 1
        build = _Build(cache=self, hashes=hashes)
        with closing(each_case(build, missing, n_processes, MEMORY_EACH)) as built:
            yield from built

    def find(self, case: CaseFingerprint, *, hashes: bool = False) -> PreparedCase | None:
        """Open a prepared case; None where it is missing or damaged."""
        made_by = self.made_by(case)
        folder = self.folder / f"{case.case.name}-{made_by.key[:16]}"
        try:
            manifest = Manifest.model_validate_json(
                (folder / "manifest.json").read_text(encoding="utf-8")
            )
        except (OSError, ValidationError, UnicodeDecodeError):
            return None
        prepared = PreparedCase(name=case.case.name, folder=folder, manifest=manifest)
        whole = manifest.made_by == made_by and prepared.is_whole(hashes=hashes)
        return prepared if whole else None

    def made_by(self, case: CaseFingerprint) -> MadeBy:
        """All that makes the prepared slices of a case what they are."""
        return MadeBy(
            imaging=case.imaging,
            segmentation=case.segmentation,
            version=PREPARATION_VERSION,
            settings=self.settings.model_dump(include=SETTINGS, mode="json"),
        )

    def build(self, case: CaseFingerprint, *, hashes: bool = False) -> PreparedCase:
        """Build a case, or wait for another process that does."""
        made_by = self.made_by(case)
        folder = self.folder / f"{case.case.name}-{made_by.key[:16]}"
        with self._lock(folder.name):
            made_meanwhile = self.find(case, hashes=hashes)
            if made_meanwhile is not None:
                return made_meanwhile
            volumes = read_case(case.case, self.settings.kidney_labels, self.settings.other_labels)
            slices = prepare_slices(volumes, self.settings)
            try:
                with replacing_folder(folder) as temporary:
                    store_case(temporary, case.case.name, made_by, slices)
            except OSError as error:
                raise PreparationError(
                    f"{folder}: cannot be written ({error}); free disk space, or name another "
                    "place (data.cache)"
                ) from error
        built = self.find(case)
        if built is None:
            raise PreparationError(f"{folder}: what was just prepared is not there")
        return built

    def _lock(self, name: str) -> FileLock:
        locks = self.folder / "locks"
        locks.mkdir(parents=True, exist_ok=True)
        return FileLock(locks / name)

    def _sweep(self) -> None:
        """Remove what killed processes left: temporary folders whose lock nobody holds."""
        for leftover in self.folder.glob(".*.tmp"):
            name = leftover.name[1:].rsplit(".", 2)[0]
            with suppress(Timeout), self._lock(name).acquire(timeout=0):
                shutil.rmtree(leftover, ignore_errors=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Build:
    """The building of cases, to be sent to other processes."""

    cache: SliceCache
    hashes: bool

    def __call__(self, case: CaseFingerprint) -> PreparedCase:
        return self.cache.build(case, hashes=self.hashes)
