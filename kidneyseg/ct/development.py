"""The cases that training and search may read: all but the sealed test cases."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.case_processes import each_case
from kidneyseg.ct.cases import list_cases
from kidneyseg.ct.contact_sheet import MEMORY_EACH, CasePictures, DrawCase
from kidneyseg.ct.fingerprints import CaseFingerprint
from kidneyseg.ct.nnunet_splits import import_split
from kidneyseg.ct.prepared_cases import PreparedCase
from kidneyseg.ct.process_pool import count_processes
from kidneyseg.ct.selection import SelectedCases, select_cases
from kidneyseg.ct.shown_names import AS_THEY_ARE, ShownNames, find_shown_names
from kidneyseg.ct.slices import SliceDataset
from kidneyseg.ct.split_records import NO_TEST, record_split
from kidneyseg.ct.splits import Split, split_cases
from kidneyseg.errors import DataError
from kidneyseg.provenance import Provenance, find_provenance
from kidneyseg.runs import Runs, make_folder
from kidneyseg.settings import DataSettings, Environment


@dataclass(frozen=True, slots=True, kw_only=True)
class DevelopmentCases:
    """Training and validation cases, known by content; of them nothing but sizes was read yet.

    Split, fingerprints and cache know cases by their own names. What a training is given has the
    names that may leave the data folder: those of `shown`, `datasets` and `environment`.
    """

    environment: Environment  # its include and exclude hold the names that are shown
    cache: SliceCache
    split: Split
    cases: tuple[CaseFingerprint, ...]  # training and validation, in that order
    selected: SelectedCases  # with the test cases
    names: ShownNames = AS_THEY_ARE

    @property
    def warning(self) -> str | None:
        """What a person should know of the split before anything is trained on it; or None."""
        return None if self.split.test else NO_TEST

    def prepare(self, *, hashes: bool = False) -> Generator[PreparedCase, None, None]:
        """Yield each case from the cache, prepared first where it is missing or damaged.

        In the order in which they are done. Damage is seen by size, or by hash too.
        """
        return self.cache.prepare(self.cases, hashes=hashes)

    def datasets(self, prepared: Sequence[PreparedCase]) -> tuple[SliceDataset, SliceDataset]:
        """The training and the validation slices of the prepared cases."""
        training = self.shown(prepared, self.split.training)
        validation = self.shown(prepared, self.split.validation)
        return self._dataset(training), self._dataset(validation)

    def shown(self, prepared: Sequence[PreparedCase], names: Sequence[str]) -> list[PreparedCase]:
        """The prepared cases of these names of the split, in order, under the names to be shown."""
        by_name = {case.name: case for case in prepared}
        return [replace(by_name[name], name=self.names.of(name)) for name in names]

    def provenance(
        self,
        *,
        seed: int,
        device: str,
        threads: int,  # of the processor, for the training
        study: str | None = None,
        trial: int | None = None,
    ) -> Provenance:
        """Where a training of these cases, on this machine, comes from."""
        found = find_provenance(
            data=self.split.data,
            split=self.split.fingerprint,
            seed=seed,
            device=device,
            threads=threads,
            study=study,
            trial=trial,
        )
        return found.model_copy(update={"pseudonyms": self.names.key or None})

    def folds(self) -> list[Split]:
        """The splits of all folds; without folds, the one split."""
        settings = self.environment.data
        if settings.folds is None:
            return [self.split]
        each = (settings.model_copy(update={"fold": fold}) for fold in range(settings.folds))
        return [split_selected(self.selected, one) for one in each]

    def pictures(self) -> Generator[CasePictures, None, None]:
        """Yield two pictures of every selected case, those for the test too, as they are drawn."""
        cases = list(self.selected.cases.values())
        n_processes = count_processes(len(cases), MEMORY_EACH)
        draw = DrawCase(settings=self.environment.data)
        return each_case(draw, cases, n_processes, MEMORY_EACH)

    def _dataset(self, cases: Sequence[PreparedCase]) -> SliceDataset:
        settings = self.environment
        return SliceDataset(cases, settings.data.slice_size, settings.network.input_slices)


def find_development_cases(environment: Environment) -> DevelopmentCases:
    """Find the cases of the data folder, split them, and write the split down.

    Every file is hashed and every label map measured before, for the split is made of that. From
    here on test cases are not opened, but for `pictures`, which a person asks for. Raises DataError
    for a folder that cannot be used, SettingsError for a key of pseudonyms that cannot.
    """
    runs = Runs(environment.common.runs)
    make_folder(runs.folder, "common.runs")
    make_folder(runs.cache(environment), "data.cache")
    folder = environment.data.folder
    if folder is None:
        raise DataError("no data folder: give --data, or data.folder in the environment")
    labelled = list_cases(folder)
    names = find_shown_names(labelled, environment)
    cache = SliceCache(runs.cache(environment), names.own(environment.data))
    selected = select_cases(labelled, cache)
    split = split_selected(selected, environment.data)
    record_split(split, runs)
    return DevelopmentCases(
        environment=environment.model_copy(update={"data": names.shown(environment.data)}),
        cache=cache,
        split=split,
        cases=tuple(selected.cases[name] for name in (*split.training, *split.validation)),
        selected=selected,
        names=names,
    )


def split_selected(selected: SelectedCases, settings: DataSettings) -> Split:
    """Split cases as the settings say: by a file of nnU-Net's, or our own way."""
    if settings.splits_file is not None:
        split = import_split(settings.splits_file, settings.fold, selected, settings.split_seed)
    elif settings.fold and settings.folds is None:
        raise DataError(f"data.fold = {settings.fold}: expected data.folds or data.splits_file too")
    else:
        names, data = list(selected.cases), selected.fingerprint
        split = split_cases(names, settings, data, selected.patients, selected.strata)
    return split.model_copy(update={"scans": selected.scans})
