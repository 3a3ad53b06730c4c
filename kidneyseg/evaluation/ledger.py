"""The sealed test set's ledger: every look at the test cases is written down before it is taken.

runs/splits/<split>/ledger.json   beside `evaluation_data.json`: all looks at this test set
<model>/ledger.json               those taken with this model

A look at the test set is for the end. What is chosen after a look is chosen on the test set, and
its figures there are no longer those of unseen cases.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock

from kidneyseg.errors import CorrectableError, DataError
from kidneyseg.model.description import ModelDescription
from kidneyseg.model.looks import LEDGER, Look, LookedModel, read_looks, write_looks


class LookedBeforeError(CorrectableError):
    """The test set was looked at before, and nobody said `--again`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """The looks at one split's test set, in its own folder and in the models' folders."""

    split_folder: Path  # where evaluation_data.json lies
    model_folders: Sequence[Path]

    def write(self, look: Look, *, again: bool) -> int:
        """Write a look down and return how many there were before; to be called before reading.

        Raises LookedBeforeError for a second look without `again`, DataError for a ledger that
        cannot be read or written.
        """
        places = [folder / LEDGER for folder in (self.split_folder, *self.model_folders)]
        try:
            with FileLock(self.split_folder / ".ledger.lock"):
                written = [read_looks(path) for path in places]
                before = {each for looks in written for each in looks if each.split == look.split}
                if before and not again:
                    raise _looked_before(before)
                for path, looks in zip(places, written, strict=True):
                    write_looks(path, (*looks, look))
        except OSError as error:
            raise DataError(
                f"{error.filename or self.split_folder}: the ledger of looks at the test set "
                f"cannot be written ({error.strerror}); without it the test set stays sealed"
            ) from error
        return len(before)


def new_look(split: str, part: str, descriptions: Sequence[ModelDescription]) -> Look:
    """A look that is taken now."""
    return Look(
        when=datetime.now(UTC).isoformat(timespec="microseconds"),
        split=split,
        part=part,
        models=tuple(
            LookedModel(
                weights_sha256=description.weights_sha256,
                study=description.provenance.study,
                trial=description.provenance.trial,
            )
            for description in descriptions
        ),
    )


def _looked_before(before: set[Look]) -> LookedBeforeError:
    n, last = len(before), max(look.when for look in before)
    times = "once" if n == 1 else f"{n} times"
    return LookedBeforeError(
        f"the test set was looked at {times} before, last on {last[:10]}; each look more makes its "
        "figures less those of unseen cases: give --again if you must, or evaluate on validation"
    )
