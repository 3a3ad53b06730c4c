"""The schema of our tables: made whole, told apart by age, upgraded without losing a row."""

import json
import threading
from collections.abc import Iterator
from typing import Any

import optuna
import pytest
from optuna.storages import RDBStorage
from sqlalchemy import Connection, inspect, make_url, select, text

from kidneyseg.errors import StorageError
from kidneyseg.search.migrating import (
    newest_revision,
    prepare_schema,
    read_revision,
    upgrade_schema,
)
from kidneyseg.search.storage import open_storage, parse_address
from kidneyseg.search.tables import OURS, leases, orders

# As the first release made it.
FIRST_RELEASE = """CREATE TABLE kidneyseg_leases (
    trial_id INTEGER NOT NULL,
    worker VARCHAR(300) NOT NULL,
    beat INTEGER NOT NULL,
    PRIMARY KEY (trial_id),
    FOREIGN KEY (trial_id) REFERENCES trials (trial_id) ON DELETE CASCADE)"""
BEFORE_OPTUNA_5 = "v3.0.0.d"


def connect(address: str) -> RDBStorage:
    url = parse_address(address).render_as_string(hide_password=False)
    return RDBStorage(url, skip_compatibility_check=True)


@pytest.fixture
def rdb(bare_address: str) -> Iterator[RDBStorage]:
    """A database that holds Optuna's tables and none of ours."""
    opened = connect(bare_address)
    yield opened
    opened.engine.dispose()


@pytest.fixture
def first_release(rdb: RDBStorage) -> RDBStorage:
    """A database of the first release: a study of 50 trials, one of them running; two others."""
    study = optuna.create_study(storage=rdb, study_name="tiny")
    study.set_user_attr("n_trials", 50)
    trial = study.ask()
    optuna.create_study(storage=rdb, study_name="foreign").set_user_attr("n_trials", "many")
    optuna.create_study(storage=rdb, study_name="empty")
    with rdb.engine.begin() as connection:
        connection.execute(text(FIRST_RELEASE))
        row = {"trial_id": trial._trial_id, "worker": "somebody", "beat": 3}
        connection.execute(leases.insert().values(row))
    return rdb


def version_of(rdb: RDBStorage, table: str) -> list[str]:
    with rdb.engine.connect() as connection:
        return list(connection.scalars(text(f"SELECT version_num FROM {table}")))


def write_version(rdb: RDBStorage, table: str, version: str) -> None:
    with rdb.engine.begin() as connection:
        connection.execute(text(f"UPDATE {table} SET version_num = :v"), {"v": version})


def describe(rdb: RDBStorage) -> dict[str, Any]:
    """Columns, keys and references of our tables, as the database tells them."""
    found = inspect(rdb.engine)
    return {
        table.name: (
            {c["name"]: (str(c["type"]), c["nullable"]) for c in found.get_columns(table.name)},
            found.get_pk_constraint(table.name)["constrained_columns"],
            [
                (key["constrained_columns"], key["referred_table"], key["options"])
                for key in found.get_foreign_keys(table.name)
            ],
        )
        for table in OURS
    }


def test_a_new_database_is_made_at_the_newest_revision(rdb: RDBStorage) -> None:
    optunas = version_of(rdb, "alembic_version")
    assert read_revision(rdb.engine) is None
    prepare_schema(rdb, "here")
    assert version_of(rdb, "kidneyseg_version") == [newest_revision()] == ["0003"]
    assert version_of(rdb, "alembic_version") == optunas
    prepare_schema(rdb, "here")  # a second time nothing happens
    assert version_of(rdb, "kidneyseg_version") == ["0003"]


def test_an_upgraded_database_is_like_a_new_one(first_release: RDBStorage) -> None:
    upgrade_schema(first_release, "here")
    upgraded = describe(first_release)
    with first_release.engine.begin() as connection:
        drop_ours(connection)
    prepare_schema(first_release, "here")
    assert describe(first_release) == upgraded
    assert all(keys[0][2] == {"ondelete": "CASCADE"} for _, _, keys in upgraded.values())


def drop_ours(connection: Connection) -> None:
    for name in (*(table.name for table in OURS), "kidneyseg_version"):
        connection.execute(text(f"DROP TABLE {name}"))


def test_an_older_database_is_not_upgraded_in_silence(
    first_release: RDBStorage, bare_address: str
) -> None:
    before = inspect(first_release.engine).get_table_names()
    with pytest.raises(StorageError, match="wants an upgrade: kidneyseg-search doctor --upgrade"):
        open_storage(bare_address)
    assert inspect(first_release.engine).get_table_names() == before
    assert read_revision(first_release.engine) == "0001"


def test_an_upgrade_carries_budgets_over_and_keeps_every_row(
    first_release: RDBStorage, bare_address: str
) -> None:
    optunas = version_of(first_release, "alembic_version")
    assert upgrade_schema(first_release, "here") == ["our tables: from 0001 to 0003"]
    assert version_of(first_release, "alembic_version") == optunas
    with first_release.engine.connect() as connection:
        (order,) = connection.execute(select(orders)).all()
        (lease,) = connection.execute(select(leases)).all()
    assert tuple(order) == (first_release.get_study_id_from_name("tiny"), 50, None, False, 0)
    assert (lease.worker, lease.beat) == ("somebody", 3)
    assert upgrade_schema(first_release, "here") == []
    open_storage(bare_address).engine.dispose()


def test_an_upgrade_that_fails_changes_nothing(
    first_release: RDBStorage, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(inspect(first_release.engine).get_table_names())

    def fail(_: object) -> None:
        raise ValueError("a budget that nobody can read")

    monkeypatch.setattr(json, "loads", fail)  # the last thing that the step does
    with pytest.raises(ValueError, match="nobody can read"):
        upgrade_schema(first_release, "here")
    assert set(inspect(first_release.engine).get_table_names()) == before
    assert read_revision(first_release.engine) == "0001"


@pytest.mark.parametrize("table", ["kidneyseg_version", "alembic_version"])
def test_a_newer_database_is_refused_and_left_alone(
    table: str, rdb: RDBStorage, bare_address: str
) -> None:
    prepare_schema(rdb, "here")
    write_version(rdb, table, "9999")
    for refuse in (prepare_schema, upgrade_schema):
        with pytest.raises(StorageError, match=r"here: .* revision 9999, newer than .*; update"):
            refuse(rdb, "here")
    assert version_of(rdb, table) == ["9999"]


def test_an_older_database_of_optuna_s_is_upgraded_on_request_only(
    rdb: RDBStorage, capfd: pytest.CaptureFixture[str]
) -> None:
    newest = rdb.get_head_version()
    write_version(rdb, "alembic_version", BEFORE_OPTUNA_5)
    with pytest.raises(StorageError, match=r"here: schema wants an upgrade: .*Optuna's tables"):
        prepare_schema(rdb, "here")
    assert upgrade_schema(rdb, "here") == [
        f"Optuna's tables: from {BEFORE_OPTUNA_5} to {newest}",
        "our tables: made at 0003",
    ]
    assert version_of(rdb, "alembic_version") == [newest]
    prepare_schema(rdb, "here")
    assert capfd.readouterr() == ("", "")


def test_8_at_once_make_our_tables_once(bare_address: str) -> None:
    connect(bare_address).engine.dispose()
    start, failures = threading.Barrier(8), []

    def make() -> None:
        mine = connect(bare_address)
        start.wait()
        try:
            prepare_schema(mine, "here")
        except Exception as error:  # noqa: BLE001 - whatever it is, the test shall show it
            failures.append(error)
        finally:
            mine.engine.dispose()

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    rdb = connect(bare_address)
    assert version_of(rdb, "kidneyseg_version") == ["0003"]
    rdb.engine.dispose()


def test_a_password_is_in_no_refusal(first_release: RDBStorage, bare_address: str) -> None:
    password = make_url(bare_address).password
    with pytest.raises(StorageError) as caught:
        open_storage(bare_address)
    assert password is None or str(password) not in str(caught.value)
