"""Pseudonyms of cases, against the test vectors of RFC 4231, and the key's keeping."""

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from kidneyseg import pseudonyms as module
from kidneyseg.errors import DataError, SettingsError
from kidneyseg.pseudonyms import (
    KEY_VARIABLE,
    check_key,
    key_fingerprint,
    load_key,
    pseudonym,
    pseudonyms,
)


@pytest.fixture(autouse=True)
def _no_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.mark.parametrize(
    ("key", "data", "digest"),
    [
        (b"Jefe", "what do ya want for nothing?", "5bdcc146bf60754e6a042426089575c7"),
        (b"\x0b" * 20, "Hi There", "b0344c61d8db38535ca8afceaf0bf12b"),
    ],
)
def test_a_pseudonym_is_the_beginning_of_the_hmac(key: bytes, data: str, digest: str) -> None:
    assert pseudonym(data, key) == f"case-{digest[:8]}"


def test_two_cases_never_share_one(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"case_{k:05d}" for k in range(300)]
    found = pseudonyms(names, b"key")
    assert list(found) == names
    assert len(set(found.values())) == 300
    monkeypatch.setattr(module, "DIGITS", 1)
    with pytest.raises(DataError, match="two of 300 cases share one"):
        pseudonyms(names, b"key")


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        key = load_key(tmp_path / "runs")
    finally:
        os.umask(before)
    path = tmp_path / "runs" / "pseudonyms.key"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert len(key) == 32
    assert load_key(tmp_path / "runs") == key
    assert load_key(tmp_path / "others") != key
    assert list(path.parent.iterdir()) == [path]


def test_many_at_once_get_the_same_key(tmp_path: Path) -> None:
    with ThreadPoolExecutor(16) as pool:
        keys = set(pool.map(lambda _: load_key(tmp_path), range(64)))
    assert len(keys) == 1
    assert [path.name for path in tmp_path.iterdir()] == ["pseudonyms.key"]


def test_a_key_that_everybody_can_read_is_refused(tmp_path: Path) -> None:
    load_key(tmp_path)
    (tmp_path / "pseudonyms.key").chmod(0o644)
    with pytest.raises(SettingsError, match="can read it; expected chmod 600"):
        load_key(tmp_path)
    (tmp_path / "pseudonyms.key").chmod(0o640)  # a group that works together
    load_key(tmp_path)


@pytest.mark.parametrize("text", ["", "abc", "zz" * 32, "00" * 31])
def test_a_damaged_key_is_refused_and_not_replaced(text: str, tmp_path: Path) -> None:
    path = tmp_path / "pseudonyms.key"
    path.write_text(text, encoding="utf-8")
    path.chmod(0o600)
    with pytest.raises(SettingsError, match="not a key of pseudonyms; expected 64 hexadecimal"):
        load_key(tmp_path)
    assert path.read_text(encoding="utf-8") == text


def test_a_place_that_cannot_hold_it_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="cannot be made or read"):
        load_key(tmp_path / "file" / "runs")


def test_the_environment_names_a_copy_of_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = load_key(tmp_path / "runs")
    (tmp_path / "runs" / "pseudonyms.key").rename(tmp_path / "copy")
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "copy"))
    assert load_key(tmp_path / "other") == key
    assert not (tmp_path / "other").exists()


def test_a_named_key_that_is_not_there_is_never_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, str(tmp_path / "copy"))
    with pytest.raises(SettingsError, match=KEY_VARIABLE):
        load_key(tmp_path / "runs")
    assert list(tmp_path.iterdir()) == []


def test_keys_are_told_apart_by_what_says_nothing_of_them(tmp_path: Path) -> None:
    first, second = load_key(tmp_path / "a"), load_key(tmp_path / "b")
    assert key_fingerprint(first) != key_fingerprint(second)
    assert key_fingerprint(first) not in (first.hex(), second.hex())
    check_key(tmp_path / "a", key_fingerprint(first), "study 's'")
    with pytest.raises(SettingsError, match="another key than that of the pseudonyms"):
        check_key(tmp_path / "b", key_fingerprint(first), "study 's'")


def test_a_key_that_must_be_there_is_never_made(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"pseudonyms\.key is not there; expected its own key"):
        check_key(tmp_path / "runs", "f" * 64, "the model")
    assert list(tmp_path.iterdir()) == []
