"""Names that stand for cases where something leaves the data folder: `case-3f9a12c0`.

A pseudonym is the beginning of HMAC-SHA256 of the case's name under a secret key (RFC 2104). The
same name has the same pseudonym wherever the key is the same; without the key nobody can compute
it, nor try names until one fits. The key lies in the runs folder, is made once, and stays there; or
KIDNEYSEG_PSEUDONYM_KEY_FILE names a copy of it.
"""

import hashlib
import hmac
import os
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path

from kidneyseg.errors import DataError, SettingsError

KEY_FILE = "pseudonyms.key"  # in the runs folder
KEY_VARIABLE = "KIDNEYSEG_PSEUDONYM_KEY_FILE"  # of the environment: the key's file, instead
KEY_BYTES = 32
DIGITS = 8  # of a pseudonym: two of a thousand cases share one in 1 of 8600 data sets


def pseudonym(case_name: str, key: bytes) -> str:
    """The pseudonym of a case, such as case-3f9a12c0."""
    digest = hmac.new(key, case_name.encode(), hashlib.sha256).hexdigest()
    return f"case-{digest[:DIGITS]}"


def pseudonyms(case_names: Iterable[str], key: bytes) -> dict[str, str]:
    """The pseudonyms of cases by name. Raises DataError where two cases would share one."""
    by_name = {name: pseudonym(name, key) for name in case_names}
    if len(set(by_name.values())) < len(by_name):
        raise DataError(
            f"pseudonyms: two of {len(by_name)} cases share one; expected another key, in a runs "
            "folder of its own (common.runs)"
        )
    return by_name


def load_key(runs: Path) -> bytes:
    """The key of a runs folder, made where there is none yet; of several at once one makes it.

    Raises SettingsError for a key that is damaged or that every account of the machine can read,
    and where the environment names a file that is not there.
    """
    path, is_named = key_path(runs)
    try:
        if not path.exists() and not is_named:
            _make_key(path)
        return _read_key(path)
    except OSError as error:
        where = f"a copy of {KEY_FILE} ({KEY_VARIABLE} names it)"
        expected = where if is_named else "a runs folder of yours (common.runs)"
        raise SettingsError(
            f"{path}: the key of the pseudonyms cannot be made or read ({error.strerror}); "
            f"expected {expected}"
        ) from error


def key_path(runs: Path) -> tuple[Path, bool]:
    """Where the key lies, and whether the environment named that file."""
    named = os.environ.get(KEY_VARIABLE)
    return (Path(named), True) if named else (runs / KEY_FILE, False)


def key_fingerprint(key: bytes) -> str:
    """What tells keys apart and says nothing of the key: an HMAC that is no case's."""
    return hmac.new(key, b"\0which key of pseudonyms", hashlib.sha256).hexdigest()


def check_key(runs: Path, recorded: str, whose: str) -> None:
    """Refuse another key than the one whose fingerprint was recorded; makes none.

    Raises SettingsError.
    """
    path, _ = key_path(runs)
    cure = f"expected its own key: copy it there, or name the file by {KEY_VARIABLE}"
    if not path.exists():
        raise SettingsError(
            f"{whose} has pseudonyms for the names of cases, and {path} is not there; {cure}"
        )
    if key_fingerprint(load_key(runs)) != recorded:
        raise SettingsError(f"{path}: another key than that of the pseudonyms of {whose}; {cure}")


def _make_key(path: Path) -> None:
    """Write a new key whole, then give it its name, unless another process was faster."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_hex(KEY_BYTES) + "\n")
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)  # fails where a key is: it never replaces one
        except FileExistsError:
            return
    finally:
        temporary.unlink()


def _read_key(path: Path) -> bytes:
    if stat.S_IMODE(path.stat().st_mode) & stat.S_IRWXO:
        raise SettingsError(
            f"{path}: every account of this machine can read it; expected chmod 600 {path}"
        )
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    try:
        key = bytes.fromhex(text)
    except ValueError:
        key = b""
    if len(key) != KEY_BYTES:
        raise SettingsError(
            f"{path}: not a key of pseudonyms; expected {2 * KEY_BYTES} hexadecimal digits: "
            "restore it, or remove it to begin with new pseudonyms"
        )
    return key
