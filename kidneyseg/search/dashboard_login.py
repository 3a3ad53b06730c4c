"""Who may look at the dashboard: a name and a password, compared in constant time.

Every address may try a few passwords at once and then one every other second, so that none is found
by trying. Behind a proxy, or a container's network, many people share one address.
"""

import hmac
import ipaddress
import logging
import os
import stat
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from werkzeug.datastructures import Authorization

from kidneyseg.errors import SettingsError

PASSWORD_VARIABLE = "KIDNEYSEG_DASHBOARD_PASSWORD"  # noqa: S105 - of the environment
SHORTEST = 12  # characters of a password
BURST = 10  # wrong passwords that an address may send at once
SECONDS_EACH = 2.0  # that each wrong password costs beyond them
MOST_ADDRESSES = 10_000  # that are remembered

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """The one login of a dashboard."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"Login(user={self.user!r})"  # a traceback must not show the password

    def admits(self, given: Authorization | None) -> bool:
        """Whether these are the name and the password, in a time that says nothing of them."""
        if given is None or given.type != "basic":
            return False
        right_user = _same(given.username or "", self.user)
        right_password = _same(given.password or "", self.password)
        return right_user and right_password


class FailureLimit:
    """How many wrong passwords an address may send: a burst, then one now and then."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._paid_until: dict[str, float] = {}  # by network, each failure SECONDS_EACH later

    def wait_seconds(self, address: str) -> float:
        """How long the address has to wait until it may try again; 0 when it may."""
        with self._lock:
            debt = self._paid_until.get(_network(address), 0.0) - self._clock()
        return max(0.0, debt - (BURST - 1) * SECONDS_EACH)

    def note(self, address: str) -> None:
        """Note a wrong password."""
        with self._lock:
            now, network = self._clock(), _network(address)
            self._paid_until[network] = max(self._paid_until.pop(network, now), now) + SECONDS_EACH
            if len(self._paid_until) > MOST_ADDRESSES:
                self._forget(now)

    def _forget(self, now: float) -> None:
        """Forget those that have waited long enough; where all are recent, the oldest."""
        kept = {network: until for network, until in self._paid_until.items() if until > now}
        if len(kept) > MOST_ADDRESSES:
            del kept[next(iter(kept))]
        self._paid_until = kept


def find_login(
    user: str, password_file: Path | None, variables: Mapping[str, str] = os.environ
) -> Login | None:
    """The login that a file or else the environment gives; None where neither names a password.

    Raises SettingsError for a password that is short, or in a file that every account can read.
    """
    if password_file is not None:
        password, source = _read_password(password_file), f"--password-file {password_file}"
    elif PASSWORD_VARIABLE in variables:
        password, source = variables[PASSWORD_VARIABLE], PASSWORD_VARIABLE
    else:
        return None
    if len(password) < SHORTEST or not password.isprintable():
        raise SettingsError(
            f"{source}: {len(password)} characters; expected a password of one line and at least "
            f"{SHORTEST}"
        )
    if not user or ":" in user or not user.isprintable():
        raise SettingsError(f"--user {user!r}: expected a name without ':'")
    return Login(user=user, password=password)


def check_private(path: Path, option: str) -> None:
    """Refuse a file of secrets that every account can read. Raises SettingsError."""
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise SettingsError(f"{option} {path}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(mode):
        raise SettingsError(f"{option} {path}: expected a file")
    if os.name == "posix" and stat.S_IMODE(mode) & stat.S_IRWXO:
        raise SettingsError(
            f"{option} {path}: every account of this machine can read it; expected chmod 600 {path}"
        )


def _read_password(path: Path) -> str:
    check_private(path, "--password-file")
    try:
        return path.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
    except OSError as error:
        raise SettingsError(f"--password-file {path}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise SettingsError(f"--password-file {path}: expected text, in UTF-8") from None


def _same(given: str, expected: str) -> bool:
    """Compare by hash: of unequal lengths, too, the time says nothing."""
    return hmac.compare_digest(sha256(given.encode()).digest(), sha256(expected.encode()).digest())


def _network(address: str) -> str:
    """The address; of IPv6 its network of 2^64 addresses, all of which one person may have."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:  # as a socket of both kinds names those of IPv4
            return str(parsed.ipv4_mapped)
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
