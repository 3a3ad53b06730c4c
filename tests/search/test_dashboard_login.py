"""The dashboard's login: whose, from where, and how often one may guess."""

import os
from pathlib import Path

import pytest
from werkzeug.datastructures import Authorization

from kidneyseg.errors import SettingsError
from kidneyseg.search.dashboard_login import (
    BURST,
    MOST_ADDRESSES,
    SECONDS_EACH,
    FailureLimit,
    Login,
    check_private,
    find_login,
)

PASSWORD = "correct horse battery"
LOGIN = Login(user="viewer", password=PASSWORD)
posix = pytest.mark.skipif(os.name != "posix", reason="files have no such modes here")


def basic(user: str | None, password: str | None) -> Authorization:
    return Authorization("basic", {"username": user, "password": password})


@pytest.fixture
def password_file(tmp_path: Path) -> Path:
    path = tmp_path / "password"
    path.write_text(f"{PASSWORD}\n", encoding="utf-8")
    path.chmod(0o600)
    return path


def test_the_right_name_and_password_are_admitted() -> None:
    assert LOGIN.admits(basic("viewer", PASSWORD))
    assert Login(user="viewer", password="schlüssel für alle").admits(
        basic("viewer", "schlüssel für alle")
    )


@pytest.mark.parametrize(
    "given",
    [
        None,
        basic("viewer", "correct horse batter"),
        basic("viewer", f"{PASSWORD}\n"),
        basic("viewer", PASSWORD.upper()),
        basic("viewer", ""),
        basic("viewer", None),
        basic("admin", PASSWORD),
        basic("", PASSWORD),
        Authorization("bearer", token=PASSWORD),
        Authorization("digest", {"username": "viewer", "password": PASSWORD}),
    ],
)
def test_nobody_else_is(given: Authorization | None) -> None:
    assert not LOGIN.admits(given)


def test_the_password_is_not_in_what_a_login_prints() -> None:
    assert PASSWORD not in f"{LOGIN!r} {LOGIN}"


def test_the_password_comes_from_the_file_or_the_environment(password_file: Path) -> None:
    variables = {"KIDNEYSEG_DASHBOARD_PASSWORD": "from the environment"}
    assert find_login("viewer", password_file, variables) == LOGIN
    found = find_login("me", None, variables)
    assert found == Login(user="me", password="from the environment")
    assert find_login("viewer", None, {}) is None


@pytest.mark.parametrize("password", ["", "short", "eleven char", "two lines\nof password"])
def test_a_password_that_is_none_is_refused_without_being_shown(password: str) -> None:
    with pytest.raises(
        SettingsError, match=r"KIDNEYSEG_DASHBOARD_PASSWORD: .*at least 12"
    ) as refused:
        find_login("viewer", None, {"KIDNEYSEG_DASHBOARD_PASSWORD": password})
    assert not password or password not in str(refused.value)


@pytest.mark.parametrize("user", ["", "a:b", "a\nb"])
def test_a_name_that_no_browser_can_send_is_refused(user: str) -> None:
    with pytest.raises(SettingsError, match="--user"):
        find_login(user, None, {"KIDNEYSEG_DASHBOARD_PASSWORD": PASSWORD})


@posix
@pytest.mark.parametrize("mode", [0o644, 0o604, 0o602, 0o666])
def test_a_password_file_that_every_account_reaches_is_refused(
    password_file: Path, mode: int
) -> None:
    password_file.chmod(mode)
    with pytest.raises(SettingsError, match=f"chmod 600 {password_file}"):
        find_login("viewer", password_file, {})


@posix
def test_a_group_may_read_it(password_file: Path) -> None:
    """As containers have it: their files belong to a group."""
    password_file.chmod(0o440)
    assert find_login("viewer", password_file, {}) == LOGIN


def test_a_file_that_is_none_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"--password-file .*nope: cannot be read"):
        find_login("viewer", tmp_path / "nope", {})
    with pytest.raises(SettingsError, match=r"--tls-key .*: expected a file"):
        check_private(tmp_path, "--tls-key")


def test_a_file_that_is_no_text_is_told(password_file: Path) -> None:
    password_file.write_bytes(b"\xff" * 20)
    with pytest.raises(SettingsError, match="in UTF-8"):
        find_login("viewer", password_file, {})


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_after_a_burst_one_guess_is_left_now_and_then() -> None:
    clock = Clock()
    limit = FailureLimit(clock)
    for _ in range(BURST):
        assert limit.wait_seconds("10.0.0.1") == 0
        limit.note("10.0.0.1")
    assert limit.wait_seconds("10.0.0.1") == pytest.approx(SECONDS_EACH)
    assert limit.wait_seconds("10.0.0.2") == 0
    clock.now += SECONDS_EACH
    assert limit.wait_seconds("10.0.0.1") == 0
    limit.note("10.0.0.1")
    assert limit.wait_seconds("10.0.0.1") == pytest.approx(SECONDS_EACH)


def test_who_waits_long_enough_has_a_burst_again() -> None:
    clock = Clock()
    limit = FailureLimit(clock)
    for _ in range(2):
        for _ in range(BURST):
            assert limit.wait_seconds("10.0.0.1") == 0
            limit.note("10.0.0.1")
        assert limit.wait_seconds("10.0.0.1") > 0
        clock.now += 2 * BURST * SECONDS_EACH


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8::1", "2001:db8::ffff:1", True),  # of one network of 2^64
        ("2001:db8::1", "2001:db8:0:1::1", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("::ffff:10.0.0.1", "::ffff:10.0.0.2", False),
        ("fe80::1%eth0", "fe80::2%eth0", True),
        ("", "unix", False),
    ],
)
def test_addresses_that_one_person_may_have_count_as_one(one: str, other: str, same: bool) -> None:
    limit = FailureLimit(Clock())
    for _ in range(BURST):
        limit.note(one)
    assert (limit.wait_seconds(other) > 0) == same


def test_many_addresses_fill_no_memory() -> None:
    clock = Clock()
    limit = FailureLimit(clock)
    for number in range(MOST_ADDRESSES + 5):
        limit.note(f"host-{number}")
    assert len(limit._paid_until) == MOST_ADDRESSES
    clock.now += 3600
    limit.note("another")
    assert list(limit._paid_until) == ["another"]
