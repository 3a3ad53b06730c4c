"""The server of the dashboard: waitress, or cheroot where certificate files ask for TLS.

waitress has no TLS; cheroot does, but frees its threads less well from slow clients: each is used
for what it does better. Both bound the headers, the body and the time that a client may take.
"""

import socket
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from waitress import create_server, wasyncore

from kidneyseg.errors import CorrectableError, SettingsError
from kidneyseg.search.dashboard_guard import WSGIApp
from kidneyseg.search.dashboard_login import check_private

LOOPBACK = ("127.0.0.1", "localhost", "::1")
EVERYWHERE = ("0.0.0.0", "::")  # noqa: S104 - allowed with a login
LAST_PORT = 65535
N_THREADS = 8
MAX_HEADER_BYTES = 32 * 1024
MAX_BODY_BYTES = 64 * 1024  # nothing that is only looked at needs one
TIMEOUT_SECONDS = 30
MAX_CONNECTIONS = 200
WAKE_SECONDS = 1.0  # of the loop that serves, without any request


@dataclass(frozen=True, slots=True, kw_only=True)
class Address:
    """Where the dashboard listens, and with which certificate."""

    host: str
    port: int  # 0: a free one
    tls: ssl.SSLContext | None = None

    @property
    def is_loopback(self) -> bool:
        """Whether other machines cannot reach it."""
        return self.host in LOOPBACK

    def url(self, port: int) -> str:
        """What to type into a browser on this machine; `port` is the one it listens on."""
        scheme = "http" if self.tls is None else "https"
        host = "127.0.0.1" if self.host in EVERYWHERE else self.host
        return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"

    @property
    def warning(self) -> str:
        """What is to be said about it; mostly nothing."""
        if self.is_loopback or self.tls is not None:
            return ""
        return (
            f"--host {self.host} without --tls-certificate: the password crosses the network "
            "unencrypted unless a proxy before this adds TLS"
        )


class Server:
    """A server that runs in a thread of its own, between `with` and its end.

    `stop` makes `run` return; `close` is called after it has, when no thread serves any more.
    """

    def __init__(
        self,
        port: int,
        run: Callable[[], None],
        stop: Callable[[], None],
        close: Callable[[], None] = lambda: None,
    ) -> None:
        self.port = port
        self._stop, self._close = stop, close
        self._thread = threading.Thread(target=run, name="dashboard", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stop()
        self._thread.join()
        self._close()

    def wait(self) -> None:
        """Wait until it ends, which it does not by itself; signals are heard meanwhile."""
        self._thread.join()


def make_server(app: WSGIApp, address: Address) -> Server:
    """Listen on an address. Raises CorrectableError where that cannot be."""
    if not 0 <= address.port <= LAST_PORT:
        raise CorrectableError(f"--port {address.port}: expected 0 to {LAST_PORT}")
    try:
        if address.tls is None:
            return _make_plain(app, address)
        return _make_tls(app, address, address.tls)
    except socket.gaierror as error:
        raise CorrectableError(
            f"--host {address.host}: not an address of this machine ({error.strerror}); expected "
            "for example 127.0.0.1, or 0.0.0.0 for all of them"
        ) from None
    except OSError as error:
        raise CorrectableError(
            f"--host {address.host} --port {address.port}: cannot be listened on ({error}); try "
            "another"
        ) from error


def load_certificate(certificate: Path | None, key: Path | None) -> ssl.SSLContext | None:
    """A certificate chain and its key, both PEM files; None where neither is named.

    Raises SettingsError for files that do not go together or cannot be read.
    """
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise SettingsError("--tls-certificate and --tls-key: one is missing; expected both")
    check_private(key, "--tls-key")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
        raise SettingsError(
            f"--tls-certificate {certificate} --tls-key {key}: {_reason(error)}; expected PEM "
            "files that belong together, the key without a passphrase"
        ) from None
    return context


def _make_plain(app: WSGIApp, address: Address) -> Server:
    listening = _listen(address)
    connections: dict[int, object] = {}
    server = create_server(
        app,
        map=connections,
        sockets=[listening],
        threads=N_THREADS,
        ident=None,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=MAX_BODY_BYTES,
        channel_timeout=TIMEOUT_SECONDS,
        connection_limit=MAX_CONNECTIONS,
        clear_untrusted_proxy_headers=True,
    )

    ended = threading.Event()

    def run() -> None:
        while not ended.is_set():
            wasyncore.loop(timeout=WAKE_SECONDS, map=connections, count=1)

    def stop() -> None:
        ended.set()
        server.trigger.pull_trigger()  # open until `close`: whoever wakes the loop finds it so

    def close() -> None:
        server.task_dispatcher.shutdown()
        wasyncore.close_all(connections)

    return Server(listening.getsockname()[1], run, stop, close)


def _make_tls(app: WSGIApp, address: Address, context: ssl.SSLContext) -> Server:
    try:
        from kidneyseg.search.dashboard_tls import build_tls_server  # noqa: PLC0415 - an extra
    except ImportError:
        raise SettingsError(
            "--tls-certificate: needs cheroot; install it with kidneyseg[tls]"
        ) from None
    server = build_tls_server(app, (address.host, address.port), context)
    return Server(server.bind_addr[1], server.serve, server.stop)


def _listen(address: Address) -> socket.socket:
    found = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    family, _, _, _, where = found[0]
    return socket.create_server(where[:2], family=family)


def _no_passphrase() -> bytes:
    raise ValueError("the key has a passphrase")


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, ssl.SSLError):
        return str(error.reason or "not PEM").replace("_", " ").lower()
    return getattr(error, "strerror", None) or str(error)
