"""Where the dashboard listens, and TLS by certificate files."""

import http.client
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from waitress.trigger import trigger

from kidneyseg.errors import CorrectableError, SettingsError
from kidneyseg.search.dashboard_server import Address, load_certificate, make_server
from tests.machine import find_program


def hello(environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "5")])
    return [environ["wsgi.url_scheme"].encode()]


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate of localhost, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    chain, key = folder / "chain.pem", folder / "key.pem"
    make = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext"
    names = "subjectAltName=DNS:localhost,IP:127.0.0.1"
    command: list[str | Path] = [find_program("openssl"), *make.split(), names]
    command += ["-keyout", key, "-out", chain]
    subprocess.run(command, check=True, capture_output=True)
    key.chmod(0o600)
    return chain, key


def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(CorrectableError, match=f"--port {port}: cannot be listened on"):
            make_server(hello, Address(host="127.0.0.1", port=port))


@pytest.mark.parametrize("port", [-1, 65536])
def test_a_port_that_cannot_be_is_told(port: int) -> None:
    with pytest.raises(CorrectableError, match=f"--port {port}: expected 0 to 65535"):
        make_server(hello, Address(host="127.0.0.1", port=port))


def test_a_host_that_is_none_is_told() -> None:
    with pytest.raises(CorrectableError, match=r"--host nowhere\.invalid: not an address"):
        make_server(hello, Address(host="nowhere.invalid", port=0))


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("127.0.0.1", "http://127.0.0.1:81/"),
        ("0.0.0.0", "http://127.0.0.1:81/"),
        ("::1", "http://[::1]:81/"),
        ("gpu7", "http://gpu7:81/"),
    ],
)
def test_its_address_can_be_typed_into_a_browser(host: str, url: str) -> None:
    assert Address(host=host, port=0).url(81) == url


def test_a_password_that_crosses_the_network_in_the_open_is_warned_of(
    certificate: tuple[Path, Path],
) -> None:
    assert "unencrypted" in Address(host="0.0.0.0", port=0).warning
    assert not Address(host="localhost", port=0).warning
    secure = Address(host="0.0.0.0", port=0, tls=load_certificate(*certificate))
    assert not secure.warning
    assert secure.url(81) == "https://127.0.0.1:81/"


def test_a_certificate_needs_its_key(certificate: tuple[Path, Path]) -> None:
    assert load_certificate(None, None) is None
    with pytest.raises(SettingsError, match="expected both"):
        load_certificate(certificate[0], None)
    with pytest.raises(SettingsError, match="expected both"):
        load_certificate(None, certificate[1])


def test_files_that_are_no_certificate_are_told(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    wrong = tmp_path / "wrong.pem"
    wrong.write_text("no certificate", encoding="utf-8")
    wrong.chmod(0o600)
    for pair in ((wrong, key), (chain, wrong), (tmp_path / "nope.pem", key), (key, key)):
        with pytest.raises(SettingsError, match="expected PEM files that belong together"):
            load_certificate(*pair)
    with pytest.raises(SettingsError, match=r"--tls-key .*: cannot be read"):
        load_certificate(chain, tmp_path / "nope.pem")


def test_a_key_with_a_passphrase_is_not_asked_for(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "rsa", "-aes128", "-passout", "pass:x1y2z3", "-in", key, "-out", locked],
        check=True,
        capture_output=True,
    )
    locked.chmod(0o600)
    with pytest.raises(SettingsError, match="without a passphrase"):
        load_certificate(chain, locked)


def test_a_key_that_every_account_can_read_is_refused(
    certificate: tuple[Path, Path], tmp_path: Path
) -> None:
    chain, key = certificate
    public = tmp_path / "key.pem"
    public.write_bytes(key.read_bytes())
    public.chmod(0o644)
    with pytest.raises(SettingsError, match=f"chmod 600 {public}"):
        load_certificate(chain, public)


class TestTLS:
    """The server that certificate files ask for."""

    @pytest.fixture(autouse=True)
    def _needs_cheroot(self) -> None:
        pytest.importorskip("cheroot", reason="TLS needs cheroot: the extra kidneyseg[tls]")

    @pytest.fixture
    def address(self, certificate: tuple[Path, Path]) -> Address:
        return Address(host="127.0.0.1", port=0, tls=load_certificate(*certificate))

    @pytest.fixture
    def trusting(self, certificate: tuple[Path, Path]) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=str(certificate[0]))

    def ask(self, port: int, trusting: ssl.SSLContext) -> bytes:
        connection = http.client.HTTPSConnection("127.0.0.1", port, timeout=8, context=trusting)
        connection.request("GET", "/")
        content = connection.getresponse().read()
        connection.close()
        return content

    def test_it_speaks_tls(self, address: Address, trusting: ssl.SSLContext) -> None:
        with make_server(hello, address) as server:
            assert self.ask(server.port, trusting) == b"https"

    def test_who_connects_and_says_nothing_stops_nobody(
        self, address: Address, trusting: ssl.SSLContext
    ) -> None:
        with (
            make_server(hello, address) as server,
            socket.create_connection(("127.0.0.1", server.port)),
            socket.create_connection(("127.0.0.1", server.port)),
        ):
            assert self.ask(server.port, trusting) == b"https"

    def test_who_speaks_no_tls_sees_nothing(
        self, address: Address, trusting: ssl.SSLContext
    ) -> None:
        with make_server(hello, address) as server:
            with socket.create_connection(("127.0.0.1", server.port), timeout=8) as plain:
                plain.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert b"200 OK" not in plain.recv(1000)
            assert self.ask(server.port, trusting) == b"https"

    def test_old_versions_are_refused(self, address: Address) -> None:
        assert address.tls is not None
        assert address.tls.minimum_version == ssl.TLSVersion.TLSv1_2

    # cheroot leaves the socket that it could not bind to the garbage collector
    @pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
    def test_a_port_that_is_taken_is_told(self, address: Address) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            with pytest.raises(CorrectableError, match=f"--port {port}: cannot be listened on"):
                make_server(hello, Address(host="127.0.0.1", port=port, tls=address.tls))


def test_without_cheroot_it_is_said_what_to_install(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("cheroot", "cheroot.ssl.builtin"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, "kidneyseg.search.dashboard_tls", raising=False)
    address = Address(host="127.0.0.1", port=0, tls=load_certificate(*certificate))
    with pytest.raises(SettingsError, match=r"kidneyseg\[tls\]"):
        make_server(hello, address)


def test_it_ends_cleanly_when_a_request_wakes_it_at_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Another thread's wake-up serves the end before our own is written."""
    wake = trigger._physical_pull

    def wake_twice(self: trigger) -> None:
        wake(self)
        time.sleep(0.3)
        wake(self)

    monkeypatch.setattr(trigger, "_physical_pull", wake_twice)
    with make_server(hello, Address(host="127.0.0.1", port=0)) as server:
        pass
    assert not server._thread.is_alive()
