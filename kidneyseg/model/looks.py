"""The ledger's lines, as they lie in a model folder and beside a split: looks at test cases.

`evaluation.ledger` writes them. Here they are read, and kept where a model folder is replaced.
"""

from collections.abc import Iterable
from pathlib import Path

from pydantic import ValidationError

from kidneyseg.errors import DataError
from kidneyseg.files import write_text
from kidneyseg.settings import Part

LEDGER = "ledger.json"


class LookedModel(Part):
    """A model that the test set was looked at with."""

    weights_sha256: str
    study: str | None
    trial: int | None


class Look(Part):
    """One look at a test set."""

    when: str  # UTC, ISO 8601
    split: str  # fingerprint
    part: str  # test or all
    models: tuple[LookedModel, ...]  # one, or two that were compared


class LedgerFile(Part):
    """A ledger as it is written; looks are only ever added."""

    looks: tuple[Look, ...]


def read_looks(path: Path) -> tuple[Look, ...]:
    """Read a ledger; none where there is no file. Raises DataError for one that was damaged."""
    try:
        return LedgerFile.model_validate_json(path.read_text(encoding="utf-8")).looks
    except FileNotFoundError:
        return ()
    except (ValidationError, UnicodeDecodeError) as error:
        raise DataError(
            f"{path}: not a ledger that this program wrote; restore it, it says how often the test "
            "set was looked at"
        ) from error


def write_looks(path: Path, looks: Iterable[Look]) -> None:
    """Write a whole ledger."""
    write_text(path, LedgerFile(looks=tuple(looks)).model_dump_json(indent=2) + "\n")


def keep_looks(folders: Iterable[Path], new: Path) -> None:
    """Write all looks of some model folders into one that takes their place, in order of time.

    Those taken with other weights stay, too: the test cases were seen. Raises DataError.
    """
    looks = {look for folder in folders for look in read_looks(folder / LEDGER)}
    if looks:
        write_looks(new / LEDGER, sorted(looks, key=lambda look: look.when))
