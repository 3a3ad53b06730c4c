"""The cases that training and search may read: all but the sealed test cases."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kidneyseg.ct.cache import PreparedCase, SliceCache
from kidneyseg.ct.cases import list_cases
from kidneyseg.ct.fingerprints import CaseFingerprint, data_fingerprint
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.ct.splits import Split, split_cases, write_split
from kidneyseg.errors import DataError
from kidneyseg.runs import Runs
from kidneyseg.settings import Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentCases:
    """Training and validation cases, known by content; nothing of them is read yet."""

    environment: Environment
    cache: SliceCache
    split: Split
    cases: tuple[CaseFingerprint, ...]  # training and validation, in that order

    def prepare(self) -> Iterator[PreparedCase]:
        """Yield each case from the cache, prepared first where it is missing."""
        return self.cache.prepare(self.cases)

    def datasets(self, prepared: Sequence[PreparedCase]) -> tuple[SliceDataset, SliceDataset]:
        """The training and the validation slices of the prepared cases."""
        training = [case for case in prepared if case.name in self.split.training]
        validation = [case for case in prepared if case.name in self.split.validation]
        return self._dataset(training), self._dataset(validation)

    def _dataset(self, cases: Sequence[PreparedCase]) -> SliceDataset:
        settings = self.environment
        return SliceDataset(cases, settings.data.slice_size, settings.network.input_slices)


def find_development_cases(environment: Environment) -> DevelopmentCases:
    """Find the cases of the data folder, split them, and write the split down.

    Raises DataError for a folder that cannot be used.
    """
    runs = Runs(environment.common.runs)
    folder = environment.data.folder
    if folder is None:
        raise DataError("no data folder: give --data, or data.folder in the environment")
    cases = list_cases(folder)
    cache = SliceCache(runs.cache(environment), environment.data)
    known = {case.name: cache.fingerprints.of_case(case) for case in cases}
    split = split_cases(
        list(known),
        environment.data,
        data_fingerprint(list(known.values())),
        {case.name: case.patient for case in cases},
    )
    write_split(split, runs.evaluation_data(split.fingerprint))
    return DevelopmentCases(
        environment=environment,
        cache=cache,
        split=split,
        cases=tuple(known[name] for name in (*split.training, *split.validation)),
    )
