"""What cases are called where something leaves the data folder: their own names, or pseudonyms.

With `common.pseudonyms` the database, models, logs and pictures are given pseudonyms only. What
stays with the data knows cases by their own names: the split below `runs/`, the cache, and what a
person reads about files of their own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from kidneyseg.ct.cases import Case
from kidneyseg.pseudonyms import check_key, key_fingerprint, load_key, pseudonym, pseudonyms
from kidneyseg.runs import Runs
from kidneyseg.settings import DataSettings, Environment

KITS19_FILES = ("imaging.", "segmentation.")  # names of files that name no case
SHORT = 4  # characters; of a shorter name parts of other words are no mention
CUT = re.compile(r"[^\n]{0,40}(?:\.\.\.|\u2026)[^\n]{0,40}")  # where a message left something out
NOT_OF_A_PATH = r"\s'\",;:()\[\]"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownNames:
    """The names under which cases are shown."""

    key: str = ""  # fingerprint of the pseudonyms' key; empty: cases have their own names
    by_name: Mapping[str, str] = field(default_factory=dict)  # pseudonyms of all labelled cases
    mentions: Mapping[str, str] = field(default_factory=dict)  # in texts: names, paths; and instead
    folders: tuple[str, ...] = ()  # of which no path is shown

    def of(self, name: str) -> str:
        """The name under which a case is shown."""
        return self.by_name[name] if self.key else name

    def shown(self, settings: DataSettings) -> DataSettings:
        """Data settings that name cases as they are shown."""
        return _renamed(settings, self.by_name)

    def own(self, settings: DataSettings) -> DataSettings:
        """Data settings that name cases by their own names."""
        return _renamed(settings, {shown: name for name, shown in self.by_name.items()})

    def scrub(self, text: str) -> str:
        """A text, such as an error's, without names of cases and paths that may hold one.

        A message that was cut may hold a part of a name: what is around the cut goes.
        """
        if not self.key:
            return text
        if self.mentions:
            text = re.sub(_any_of(self.mentions), lambda found: self.mentions[found.group()], text)
        for folder in self.folders:
            below = rf"{re.escape(folder)}(?:/[^{NOT_OF_A_PATH}]*)?"
            text = re.sub(below, "[a path of the data]", text)
        return CUT.sub("[...]", text)


AS_THEY_ARE = ShownNames()


def find_shown_names(cases: Sequence[Case], environment: Environment) -> ShownNames:
    """The names under which labelled cases are shown, as the settings say.

    Raises SettingsError for a key that cannot be used, DataError where two cases would share a
    pseudonym.
    """
    common = environment.common
    if not common.pseudonyms:
        return AS_THEY_ARE
    key = load_key(common.runs)
    by_name = pseudonyms((case.name for case in cases), key)
    mentions = {case.patient: pseudonym(case.patient, key) for case in cases}
    for case in cases:
        mentions |= dict(_files(case, by_name[case.name]))
    data, cache = environment.data.folder, Runs(common.runs).cache(environment)
    # The files of a table may lie anywhere: beside the program, too.
    places = [data] if data is not None and data.is_dir() else []
    return ShownNames(
        key=key_fingerprint(key),
        by_name=by_name,
        mentions={**mentions, **by_name},
        folders=tuple({form for folder in (*places, cache) for form in _absolute(folder)}),
    )


def adopt_pseudonyms(environment: Environment, recorded: str | None, whose: str) -> Environment:
    """The environment with pseudonyms where a study or a model has them; it decides.

    Raises SettingsError where the key is another than the recorded one, or is not there.
    """
    if not recorded:
        return environment
    common = environment.common
    check_key(common.runs, recorded, whose)
    update = {"common": common.model_copy(update={"pseudonyms": True})}
    return environment.model_copy(update=update)


def _files(case: Case, shown: str) -> Iterator[tuple[str, str]]:
    """A case's files as texts may name them, and what is said instead."""
    for path, what in ((case.imaging, "scan"), (case.segmentation, "labels")):
        instead = f"[the {what} of {shown}]"
        yield str(path), instead
        for form in _absolute(path):
            yield form, instead
        if not path.name.startswith(KITS19_FILES):
            yield path.name, instead


def _absolute(path: Path) -> set[str]:
    return {str(path.absolute()), str(path.resolve())}


def _renamed(settings: DataSettings, names: Mapping[str, str]) -> DataSettings:
    named = {
        key: tuple(names.get(name, name) for name in getattr(settings, key))
        for key in ("include", "exclude")
    }
    return settings.model_copy(update=named)


def _any_of(mentions: Mapping[str, str]) -> str:
    """A pattern of all mentions, the longest first: one may begin another."""
    return "|".join(map(_pattern, sorted(mentions, key=len, reverse=True)))


def _pattern(mention: str) -> str:
    whole = re.escape(mention)
    return rf"(?<![^\W_]){whole}(?![^\W_])" if len(mention) < SHORT else whole
