"""Empty databases of each kind for a benchmark, copies of full ones, and what a server spends."""

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import psutil
import psycopg
from sqlalchemy import make_url

from tests.postgres_server import PostgresServer, new_server, postgres_programs

KINDS = ("sqlite", "postgres")
SETTLE_SECONDS = 1.0  # until a connection that was closed is counted with those that ended


@dataclass(frozen=True, slots=True)
class SqliteFiles:
    """SQLite files in a folder."""

    folder: Path
    numbers: Iterator[int] = field(default_factory=count)
    name: str = "SQLite"

    def new(self) -> str:
        """Give the address of an empty database."""
        return f"sqlite:///{self.folder}/{next(self.numbers)}.db"

    def copy(self, address: str) -> str:
        """Give the address of a copy of a database that nobody has open."""
        path = self.folder / f"{next(self.numbers)}.db"
        shutil.copy(str(make_url(address).database), path)
        return f"sqlite:///{path}"

    def server_seconds(self) -> float:
        """Give the processor time of a server: there is none."""
        return 0.0


@dataclass(frozen=True, slots=True)
class PostgresDatabases:
    """Databases of one PostgreSQL server."""

    server: PostgresServer
    numbers: Iterator[int] = field(default_factory=count)
    name: str = "PostgreSQL"

    def new(self) -> str:
        """Give the address of an empty database."""
        return self._create("template1")

    def copy(self, address: str) -> str:
        """Give the address of a copy of a database that nobody has open."""
        return self._create(str(make_url(address).database))

    def server_seconds(self) -> float:
        """Give the processor time of the server and its connections, ended ones included."""
        time.sleep(SETTLE_SECONDS)
        server = psutil.Process(self.server.pid)
        own = server.cpu_times()
        seconds = own.user + own.system + own.children_user + own.children_system
        for child in server.children():
            with suppress(psutil.NoSuchProcess):  # ended meanwhile: the next look counts it
                times = child.cpu_times()
                seconds += times.user + times.system
        return float(seconds)

    def _create(self, template: str) -> str:
        name = f"bench{next(self.numbers)}"
        with psycopg.connect(self.server.address, autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}".encode())
        return make_url(self.server.address).set(database=name).render_as_string(False)


Databases = SqliteFiles | PostgresDatabases


@contextmanager
def databases(kind: str) -> Iterator[Databases]:
    """Give databases of a kind; those on PostgreSQL on a server of this machine's own programs."""
    if kind == "postgres":
        with new_server() as server:
            yield PostgresDatabases(server)
        return
    with tempfile.TemporaryDirectory() as folder:
        yield SqliteFiles(Path(folder))


def kinds_here() -> Sequence[str]:
    """Those that this machine has."""
    return KINDS if postgres_programs() else KINDS[:1]
