"""A PostgreSQL server of the tests' own, on a free port, that can be stopped and started again."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
from sqlalchemy import make_url

from tests.machine import do_without

PASSWORD = "s3cr:t/w@rd"  # of a server that lives for the tests
START_SECONDS = 30


def postgres_programs() -> Path | None:
    """The folder of this machine's PostgreSQL server, if it has one."""
    asked = shutil.which("pg_config")
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin"), reverse=True)
    if asked:
        told = subprocess.run(
            [asked, "--bindir"], capture_output=True, encoding="utf-8", check=True
        )
        found.insert(0, Path(told.stdout.strip()))
    if directly := shutil.which("postgres"):
        found.append(Path(directly).resolve().parent)
    return next((path for path in found if (path / "initdb").exists()), None)


def free_port() -> int:
    """A port of the loopback address that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
    return port


@contextmanager
def new_server(max_connections: int = 200) -> Iterator["PostgresServer"]:
    """Run a server of this machine's own programs; else see `do_without`."""
    programs = postgres_programs()
    if programs is None:
        do_without("postgres", "install PostgreSQL, or set KIDNEYSEG_TEST_POSTGRES")
    folder = Path(tempfile.mkdtemp(prefix="kidneyseg-postgres-"))
    server = PostgresServer(programs, folder, max_connections)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


class PostgresServer:
    """A server whose data lie in a folder."""

    def __init__(self, programs: Path, folder: Path, max_connections: int = 200) -> None:
        self.password = PASSWORD
        self._max_connections = max_connections
        self._programs = programs
        self._folder = folder
        self._identity = _not_root()
        self._process: subprocess.Popen[Any] | None = None
        password_file = folder / "password"
        password_file.write_text(PASSWORD, encoding="utf-8")
        for path in (folder, password_file) if self._identity else ():
            shutil.chown(path, "nobody", self._identity["group"])
        self._port = free_port()
        make = [programs / "initdb", "-D", folder / "data", "-U", "kidneyseg"]
        options = ["-A", "scram-sha-256", "--no-sync", "--locale=C", "-E", "UTF8"]
        self._run([*make, *options, "--pwfile", password_file])

    @property
    def address(self) -> str:
        """The address of its first database, with the password."""
        url = make_url(f"postgresql://kidneyseg@127.0.0.1:{self._port}/postgres")
        return url.set(password=PASSWORD).render_as_string(hide_password=False)

    @property
    def pid(self) -> int:
        """The server's own process."""
        if self._process is None:
            raise RuntimeError("the server does not run")
        return self._process.pid

    def start(self) -> None:
        """Start it, and wait until it answers."""
        options = {
            "listen_addresses": "127.0.0.1",
            "port": self._port,
            "unix_socket_directories": self._folder,
            "fsync": "off",
            "max_connections": self._max_connections,
        }
        serve = [self._programs / "postgres", "-D", self._folder / "data"]
        with (self._folder / "log").open("ab") as log:
            settings = [f"--{name}={value}" for name, value in options.items()]
            self._process = subprocess.Popen(
                [*map(str, serve), *settings],
                cwd="/",
                stdout=log,
                stderr=log,
                **self._identity,
            )
        self._wait()

    def freeze(self) -> None:
        """Let it answer nothing, and not end either."""
        for process in self._processes():
            process.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        for process in self._processes():
            process.resume()

    def _processes(self) -> list[psutil.Process]:
        server = psutil.Process(self.pid)
        return [server, *server.children()]

    def stop(self) -> None:
        """Stop it at once: every connection breaks."""
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # a fast shutdown
            self._process.wait(START_SECONDS)
            self._process = None

    def _run(self, command: list[Any]) -> None:
        subprocess.run(command, check=True, capture_output=True, cwd="/", **self._identity)

    def _wait(self) -> None:
        deadline = time.monotonic() + START_SECONDS
        while True:
            try:
                psycopg.connect(self.address, connect_timeout=5).close()
            except psycopg.OperationalError:
                ended = self._process is None or self._process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise
                time.sleep(0.05)
            else:
                return


def _not_root() -> dict[str, Any]:
    """How to start PostgreSQL, which refuses to run as root."""
    if os.geteuid() != 0:
        return {}
    return {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
