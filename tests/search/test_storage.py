"""The database: opened safely, one line when it cannot be, its password never shown."""

import multiprocessing
import socket
import sqlite3
import stat
import traceback
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import func, insert, make_url, select, text, update
from sqlalchemy.exc import IntegrityError

from kidneyseg.errors import StorageError
from kidneyseg.search.patience import Patience
from kidneyseg.search.storage import Storage, hide_password, open_storage, parse_address
from kidneyseg.search.tables import leases, trials

SECRET = "pa55-w0rd"  # of no server
PORT_NOBODY_LISTENS_ON = 1


def refusal(address: str, *, create: bool = True) -> str:
    with pytest.raises(StorageError) as caught:
        open_storage(address, create=create)
    message = str(caught.value)
    assert "\n" not in message
    assert SECRET not in message
    assert SECRET not in "".join(traceback.format_exception(caught.value))  # --debug shows it
    return message


@pytest.mark.parametrize(
    "address",
    [
        f"postgresql://user:{SECRET}@host/studies",
        f"postgresql+psycopg://user:{SECRET}@host:5432/studies",
        f"postgresql://user@host/studies?password={SECRET}",
        f"postgresql://user@host/studies?sslmode=require&sslpassword={SECRET}",
        f"mysql+pymysql://user:{SECRET}@host/studies",
    ],
)
def test_a_password_is_hidden_wherever_it_stands(address: str) -> None:
    hidden = hide_password(make_url(address))
    assert SECRET not in hidden
    assert "***" in hidden
    assert "user" in hidden
    assert "host" in hidden


@pytest.mark.parametrize("name", ["postgres", "postgresql", "postgresql+psycopg"])
def test_postgresql_goes_through_psycopg(name: str) -> None:
    assert parse_address(f"{name}://host/studies").drivername == "postgresql+psycopg"


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("", "expected for example sqlite:///runs/studies.db"),
        (f"nonsense {SECRET}", "expected for example sqlite:///runs/studies.db"),
        (f"postgresql://user:{SECRET}@host:port/studies", "not one that SQLAlchemy reads"),
        (f"postgresql://user:first@{SECRET}@host/studies", "%40"),
        (f"oracle7://user:{SECRET}@host/studies", "no driver for oracle7"),
    ],
)
def test_what_is_no_address_is_refused(address: str, expected: str) -> None:
    assert expected in refusal(address)


def test_a_server_that_is_not_there_is_told_in_one_line() -> None:
    port = PORT_NOBODY_LISTENS_ON
    message = refusal(f"postgresql://user:{SECRET}@127.0.0.1:{port}/studies")
    assert message.startswith(f"postgresql+psycopg://user:***@127.0.0.1:{port}/studies: ")
    assert "expected a database that can be reached" in message


def test_a_host_of_unknown_name_is_told_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    message = refusal(f"postgresql://user@no-such-host.invalid/studies?password={SECRET}")
    assert "no-such-host.invalid" in message


@pytest.mark.postgres
def test_a_wrong_password_is_told_without_it(postgres_address: str) -> None:
    url = make_url(postgres_address).set(password=SECRET)
    message = refusal(url.render_as_string(hide_password=False))
    assert "password authentication failed" in message
    wrong_in_query = url.set(password=None).update_query_dict({"password": SECRET})
    assert "password=***" in refusal(wrong_in_query.render_as_string(hide_password=False))


@pytest.mark.postgres
def test_a_database_that_is_not_there_is_told(postgres_address: str) -> None:
    url = make_url(postgres_address).set(database="nowhere")
    assert '"nowhere" does not exist' in refusal(url.render_as_string(hide_password=False))


@pytest.mark.postgres
def test_the_password_of_a_working_address_is_not_shown(postgres_database: str) -> None:
    storage = open_storage(postgres_database)
    password = str(make_url(postgres_database).password)
    assert password not in storage.address
    assert password not in repr(storage.engine)
    storage.engine.dispose()


@pytest.mark.postgres
def test_times_are_utc_whatever_the_server_thinks(postgres_database: str) -> None:
    storage = open_storage(postgres_database)
    with storage.engine.begin() as connection:
        name = make_url(postgres_database).database
        connection.execute(text(f"ALTER DATABASE {name} SET TimeZone = 'Asia/Tokyo'"))
    storage.engine.dispose()
    with storage.engine.connect() as connection:
        assert connection.scalar(text("SHOW TimeZone")) == "UTC"
    storage.engine.dispose()


def test_a_sqlite_file_that_is_not_there_is_made_only_where_asked(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "studies.db"
    message = refusal(f"sqlite:///{path}", create=False)
    assert message == f"{path}: no such database; run a study first, or name another --storage"
    assert not path.parent.exists()
    open_storage(f"sqlite:///{path}").engine.dispose()
    assert path.is_file()
    open_storage(f"sqlite:///{path}", create=False).engine.dispose()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "studies.db"
    path.write_text(
        "these are no studies, but some text that is long enough" * 40, encoding="utf-8"
    )
    assert "file is not a database" in refusal(f"sqlite:///{path}")


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "runs").touch()
    assert f"{tmp_path / 'runs'}: cannot be made" in refusal(f"sqlite:///{tmp_path}/runs/a.db")


def test_a_file_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "studies.db"
    open_storage(f"sqlite:///{path}").engine.dispose()
    path.chmod(stat.S_IRUSR)
    monkeypatch.setattr("os.access", lambda *_: False)  # root may write everything
    assert refusal(f"sqlite:///{path}").startswith(f"{path}: cannot be written")


def test_sqlite_has_a_write_ahead_log_and_checks_foreign_keys(storage: Storage) -> None:
    with storage.engine.connect() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        }
    assert pragmas == {
        "journal_mode": "wal",
        "synchronous": 1,  # NORMAL
        "foreign_keys": 1,
        "busy_timeout": 60_000,
    }


def test_a_sqlite_transaction_holds_the_write_lock_from_its_beginning(
    storage: Storage, tmp_path: Path
) -> None:
    """BEGIN IMMEDIATE: what a transaction has read cannot be changed under it."""
    other = sqlite3.connect(tmp_path / "studies.db", timeout=0, isolation_level=None)
    with storage.engine.connect() as connection:
        connection.scalar(select(func.count()).select_from(trials))
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            other.execute("BEGIN IMMEDIATE")
    other.execute("BEGIN IMMEDIATE")
    other.close()


def test_opening_a_second_time_keeps_what_is_there(bare_address: str) -> None:
    first = open_storage(bare_address)
    optuna.create_study(storage=first.optuna, study_name="a")
    second = open_storage(bare_address)
    assert optuna.get_all_study_names(second.optuna) == ["a"]
    for storage in (first, second):
        storage.engine.dispose()


def test_a_deleted_study_takes_its_leases_along(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    trial = study.ask()
    row = {"trial_id": trial._trial_id, "worker": "somebody", "beat": 0}
    with either_storage.engine.begin() as connection:
        connection.execute(insert(leases).values(row))
    optuna.delete_study(storage=either_storage.optuna, study_name="a")
    with either_storage.engine.connect() as connection:
        assert connection.scalar(select(func.count()).select_from(leases)) == 0
    assert optuna.get_all_study_names(either_storage.optuna) == []


def pop_all(address: str) -> list[int]:
    """Take queued trials until there are none, as a process of its own."""
    storage = open_storage(address)
    study = optuna.load_study(storage=storage.optuna, study_name="queue")
    claimed = []
    while (trial_id := study._pop_waiting_trial_id()) is not None:
        claimed.append(trial_id)
    storage.engine.dispose()
    return claimed


@pytest.mark.slow
def test_8_processes_claim_60_queued_trials_once_each(address: str) -> None:
    storage = open_storage(address)
    study = optuna.create_study(storage=storage.optuna, study_name="queue")
    for number in range(60):
        study.enqueue_trial({"x": number})
    with multiprocessing.get_context("spawn").Pool(8) as pool:
        claimed = pool.map(pop_all, [address] * 8, chunksize=1)
    together = [trial_id for each in claimed for trial_id in each]
    assert len(together) == len(set(together)) == 60
    assert sum(1 for each in claimed if each) > 1  # they did compete
    storage.engine.dispose()


def make_anew(address: str) -> str:
    storage = open_storage(address)
    storage.engine.dispose()
    return storage.address


@pytest.mark.slow
def test_4_processes_may_make_the_same_database_at_once(bare_address: str) -> None:
    with multiprocessing.get_context("spawn").Pool(4) as pool:
        assert len(set(pool.map(make_anew, [bare_address] * 4, chunksize=1))) == 1


def test_our_own_queries_outlast_an_outage(
    either_storage: Storage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kidneyseg.search.patience.FIRST_PAUSE_SECONDS", 0.001)
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    trial_id = study.ask()._trial_id
    dialect = either_storage.engine.dialect
    execute, left = dialect.do_execute, 0

    def away(*arguments: Any) -> None:
        nonlocal left
        if left:
            left -= 1
            raise dialect.loaded_dbapi.OperationalError("away")
        execute(*arguments)

    monkeypatch.setattr(dialect, "do_execute", away)
    row = {"trial_id": trial_id, "worker": "somebody", "beat": 0}
    left = 3
    assert either_storage.change(insert(leases).values(row)) == 1
    assert left == 0
    left = 3
    assert either_storage.change(update(leases).values(beat=7)) == 1
    left = 3
    assert either_storage.read(select(leases.c.beat)).scalar_one() == 7
    assert left == 0


def test_of_several_changes_all_are_made_or_none(either_storage: Storage) -> None:
    study = optuna.create_study(storage=either_storage.optuna, study_name="a")
    row = {"trial_id": study.ask()._trial_id, "worker": "somebody", "beat": 0}
    with pytest.raises(IntegrityError):
        either_storage.change(insert(leases).values(row), insert(leases).values(row))
    assert either_storage.read(select(leases)).all() == []


def test_not_there_at_the_start_is_told_at_once_and_patience_is_for_later(
    sqlite_address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    outlast = Patience.outlast

    def count(patience: Patience, call: Any) -> Any:
        asked.append(patience.seconds)
        return outlast(patience, call)

    monkeypatch.setattr(Patience, "outlast", count)
    storage = open_storage(sqlite_address, patience_seconds=7.0)
    assert set(asked) <= {0}
    assert storage.patience.seconds == 7
    storage.engine.dispose()
