"""A folder as the documents have it, with tiny scans and settings."""

import os
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

from kidneyseg.cli.main import kidneyseg_search
from kidneyseg.phantom.data_set import write_phantoms
from kidneyseg.phantom.drawing import PhantomSize
from tests.docs.shell import Shell
from tests.postgres_server import PostgresServer, postgres_programs

TINY = """
[data]
spacing_mm = 16.0
slice_size = [32, 32]
margin_slices = 1
[network]
filters = 2
kernel_size = 1
[training]
max_epochs = 1
small_batch_size = 16
[common]
device = "cpu"
"""
MakeShell = Callable[..., Shell]


@pytest.fixture(scope="session")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five small phantom scans."""
    folder = tmp_path_factory.mktemp("phantoms") / "cases"
    for _ in write_phantoms(folder, 5, 0, PhantomSize.SMALL):
        pass
    return folder


@pytest.fixture(scope="session")
def fresh_folder(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Path]:
    """Make a folder with data at `kits19/data`, phantoms in `runs/`, and settings of a tiny size.

    Both environments, `local` and `cluster`, are the same tiny one there.
    """

    def make() -> Path:
        folder = tmp_path_factory.mktemp("reader")
        shutil.copytree(phantoms, folder / "kits19" / "data")
        shutil.copytree(phantoms, folder / "runs" / "phantom")
        (folder / "environments").mkdir()
        for name in ("local", "cluster"):
            (folder / "environments" / f"{name}.toml").write_text(TINY, encoding="utf-8")
        return folder

    return make


@pytest.fixture
def make_shell(monkeypatch: pytest.MonkeyPatch) -> MakeShell:
    """Open a shell in a folder."""

    def make(folder: Path, **substitutions: str) -> Shell:
        return Shell(folder, monkeypatch, substitutions)

    return make


@pytest.fixture(scope="session")
def searched_folder(fresh_folder: Callable[[], Path]) -> Path:
    """A folder in which the study `lr_loss` was searched and exported to `best/` and `other/`.

    What most pages begin with. Copy it: it is shared.
    """
    folder, before = fresh_folder(), Path.cwd()
    os.chdir(folder)
    try:
        study = ["--study", "lr_loss"]
        for command in (
            ["run", *study, "--n-trials", "2", "--data", "kits19/data"],
            ["export", *study, "--out", "best"],
            ["export", *study, "--out", "other", "--trial", "1"],
        ):
            assert kidneyseg_search(command) == 0
    finally:
        os.chdir(before)
    return folder


@pytest.fixture(scope="session")
def server_address() -> Iterator[str]:
    """Give the address of a PostgreSQL database from which others can be made."""
    if given := os.environ.get("KIDNEYSEG_TEST_POSTGRES"):
        yield given
        return
    programs = postgres_programs()
    if programs is None and os.environ.get("KIDNEYSEG_TEST_REQUIRE") == "postgres":
        pytest.fail("no PostgreSQL here, and KIDNEYSEG_TEST_REQUIRE asks for it")
    if programs is None:
        pytest.skip("no PostgreSQL here; install it or set KIDNEYSEG_TEST_POSTGRES")
    folder = Path(tempfile.mkdtemp(prefix="kidneyseg-postgres-"))
    server = PostgresServer(programs, folder)
    server.start()
    try:
        yield server.address
    finally:
        server.stop()
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def database(server_address: str) -> Iterator[str]:
    """Give the address of an empty PostgreSQL database; drop it in the end."""
    name = f"kidneyseg_docs_{uuid.uuid4().hex}"
    with psycopg.connect(server_address, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
        yield make_url(server_address).set(database=name).render_as_string(hide_password=False)
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
