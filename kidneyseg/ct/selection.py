"""Which labelled cases of a data folder are used at all, and what is known of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kidneyseg.ct.cache import SliceCache
from kidneyseg.ct.cases import Case
from kidneyseg.ct.fingerprints import CaseFingerprint, data_fingerprint
from kidneyseg.ct.label_sizes import LabelSizeMemory
from kidneyseg.ct.splits import Stratum
from kidneyseg.errors import DataError
from kidneyseg.settings import DataSettings


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectedCases:
    """The cases that are used, known by content."""

    cases: dict[str, CaseFingerprint]  # by name
    strata: dict[str, Stratum]  # by name
    left_out: frozenset[str]  # names of the other labelled cases

    @property
    def fingerprint(self) -> str:
        """One SHA-256 for the data that is used."""
        return data_fingerprint(list(self.cases.values()))

    @property
    def scans(self) -> dict[str, str]:
        """How the SHA-256 of each case's scan begins, by its name."""
        return {name: case.imaging[:16] for name, case in self.cases.items()}

    @property
    def patients(self) -> dict[str, str]:
        """The patient of each case, by its name."""
        return {name: case.case.patient for name, case in self.cases.items()}


def select_cases(labelled: Sequence[Case], cache: SliceCache) -> SelectedCases:
    """Take the cases that include, exclude and max_tumor_fraction leave.

    Raises DataError for a name that is no case's, for two cases with the same scan, and where fewer
    than three are left.
    """
    settings = cache.settings
    named = _named(labelled, settings)
    known = cache.fingerprints.of_cases(named)
    sizes = LabelSizeMemory(cache.folder / "label_sizes").of_cases(known)
    most = 1.0 if settings.max_tumor_fraction is None else settings.max_tumor_fraction
    cases = {
        case.case.name: case
        for case in known
        if sizes[case.case.name].tumor_fraction(settings) <= most
    }
    _check_scans_differ(cases)
    if len(cases) < min(3, len(labelled)):
        raise DataError(
            f"data.include, exclude and max_tumor_fraction leave {len(cases)} of {len(labelled)} "
            "cases; expected at least 3: one each for training, validation and test"
        )
    return SelectedCases(
        cases=cases,
        strata={name: sizes[name].stratum(settings) for name in cases},
        left_out=frozenset(case.name for case in labelled) - cases.keys(),
    )


def _named(labelled: Sequence[Case], settings: DataSettings) -> list[Case]:
    """The cases that include and exclude leave."""
    names = {case.name for case in labelled}
    for key, given in (("include", settings.include), ("exclude", settings.exclude)):
        unknown = sorted(set(given) - names)
        if unknown:
            raise DataError(
                f"data.{key}: no labelled case is called {unknown[0]!r}; expected names such as "
                f"{labelled[0].name}"
            )
    wanted = (set(settings.include) or names) - set(settings.exclude)
    return [case for case in labelled if case.name in wanted]


def _check_scans_differ(cases: Mapping[str, CaseFingerprint]) -> None:
    """Refuse two cases whose scans are the same file: the split may part them."""
    first_of: dict[str, str] = {}
    for name, case in cases.items():
        first = first_of.setdefault(case.imaging, name)
        if first != name:
            raise DataError(
                f"{case.case.imaging}: {name} has the same scan as {first}; parted by the split, "
                "it would tell the test what training saw. Take one away, or leave it out: "
                f'data.exclude=["{name}"]'
            )
