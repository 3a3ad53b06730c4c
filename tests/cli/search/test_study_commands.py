"""What a person does with studies that are there: watch, stop, delete, and see the doctor."""

import io
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import optuna
import pytest
from sqlalchemy import insert, text, update

from kidneyseg.cli.main import kidneyseg_search
from kidneyseg.errors import StorageLostError
from kidneyseg.search.findings import Finding, Level
from kidneyseg.search.identity import WorkerIdentity
from kidneyseg.search.orders import ask_for, read_order
from kidneyseg.search.status import find_study_id
from kidneyseg.search.storage import Storage, open_storage
from kidneyseg.search.tables import leases, workers

WORKER = WorkerIdentity(host="box", machine="m", pid=7, started=1.0)


@pytest.fixture
def storage(workplace: Path) -> Iterator[Storage]:
    """The default database, with a study of five trials, one of which a living worker trains."""
    opened = open_storage("sqlite:///runs/studies.db")
    study = optuna.create_study(storage=opened.optuna, study_name="a", direction="maximize")
    ask_for(opened, study._study_id, 5)
    trial_id = study.ask()._trial_id
    now = datetime.now(UTC).replace(tzinfo=None)
    row = {"study_id": study._study_id, "worker": str(WORKER), "device": "cpu"}
    opened.change(insert(workers).values(**row, since=now, seen=now))
    opened.change(insert(leases).values(trial_id=trial_id, worker=str(WORKER), beat=1))
    yield opened
    opened.engine.dispose()


def let_worker_die(storage: Storage) -> None:
    storage.change(
        update(workers).values(seen=datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None))
    )


def stop_after(looks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Press Ctrl-C after so many looks."""
    left = [looks]

    def sleep(_: float) -> None:
        left[0] -= 1
        if not left[0]:
            raise KeyboardInterrupt

    monkeypatch.setattr("kidneyseg.cli.search.status.time.sleep", sleep)


@pytest.mark.usefixtures("storage")
def test_status_as_json_keeps_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert kidneyseg_search(["status", "--study", "a", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"study", "n_trials", "states", "best", "workers"} <= found.keys()
    assert found["states"] == {"complete": 0, "pruned": 0, "running": 1, "waiting": 0, "failed": 0}
    assert (found["n_trials"], found["best"]) == (5, None)
    (worker,) = found["workers"]
    assert (worker["worker"], worker["alive"], worker["trial"]) == ("box 7", True, 0)
    assert kidneyseg_search(["status", "--json"]) == 0
    assert [each["study"] for each in json.loads(capsys.readouterr().out)] == ["a"]


@pytest.mark.usefixtures("storage")
def test_watched_in_a_pipe_it_appends_and_ctrl_c_ends_it_quietly(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_after(3, monkeypatch)
    with pytest.raises(SystemExit) as ended:
        kidneyseg_search(["status", "--watch"])
    assert ended.value.code == 130
    told = capsys.readouterr()
    assert told.out.count("study a: 0 of 5 trials finished") == 3
    assert (told.err, "\x1b" in told.out) == ("", False)


@pytest.mark.usefixtures("storage")
def test_watched_in_a_terminal_it_is_drawn_in_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("TERM", "xterm-256color")
    stop_after(2, monkeypatch)
    with pytest.raises(SystemExit):
        kidneyseg_search(["status", "--watch"])
    up_a_line, erase = "\x1b[1A", "\x1b[2K"
    assert up_a_line in terminal.getvalue()
    assert erase in terminal.getvalue()


@pytest.mark.usefixtures("storage")
def test_a_database_that_goes_away_is_asked_again_while_watched(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from kidneyseg.search.status import read_status

    looks = [0]

    def read(storage: Storage, study: str) -> Any:
        looks[0] += 1
        if looks[0] == 2:
            raise StorageLostError("db: does not answer (no route)")
        return read_status(storage, study)

    monkeypatch.setattr("kidneyseg.search.status.read_status", read)
    stop_after(3, monkeypatch)
    with pytest.raises(SystemExit):
        kidneyseg_search(["status", "--watch"])
    told = capsys.readouterr()
    assert told.out.count("study a: ") == 2
    assert told.err == "db: does not answer (no route); asking again\n"


def test_stop_says_what_it_does_and_running_trials_go_on(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(["stop", "--study", "a"]) == 0
    assert capsys.readouterr().out == (
        "study a, 0 of 5 trials finished: no new trial begins; 1 running trial goes on to its end "
        "(--now: handed back); run or submit has it go on\n"
    )
    order = read_order(storage, find_study_id(storage, "a"))
    assert (order.stop, order.stop_now) == ("stopped with kidneyseg-search stop", False)
    assert kidneyseg_search(["stop", "--study", "b"]) == 2


def test_stop_now_waits_until_the_trials_are_handed_back(
    storage: Storage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    study = optuna.load_study(storage=storage.optuna, study_name="a")
    monkeypatch.setattr(
        "kidneyseg.search.stopping.time.sleep",
        lambda _: storage.optuna.set_trial_state_values(
            study.trials[0]._trial_id, optuna.trial.TrialState.FAIL
        ),
    )
    assert kidneyseg_search(["stop", "--study", "a", "--now"]) == 0
    told = capsys.readouterr().out.splitlines()
    assert "1 running trial is handed back" in told[0]
    assert told[1:] == ["1 trial still running", "no worker holds a trial"]
    assert read_order(storage, study._study_id).stop_now


@pytest.mark.usefixtures("storage")
def test_stop_now_names_the_trials_that_are_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter(range(0, 10_000, 60))
    monkeypatch.setattr("kidneyseg.search.stopping.time.monotonic", lambda: next(clock))
    monkeypatch.setattr("kidneyseg.search.stopping.time.sleep", lambda _: None)
    assert kidneyseg_search(["stop", "--study", "a", "--now"]) == 1
    assert "after 3 minutes still running: trial 0 (box 7)" in capsys.readouterr().err


def test_stop_now_does_not_wait_for_the_dead(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    let_worker_die(storage)
    assert kidneyseg_search(["stop", "--study", "a", "--now"]) == 0
    assert "no worker holds a trial" in capsys.readouterr().out


def test_delete_says_what_goes_and_asks(
    storage: Storage, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    let_worker_die(storage)
    Path("runs/a/trial_00000").mkdir(parents=True)
    Path("runs/a/trial_00000/log").write_bytes(b"1" * 2500)
    answers = iter(["n\n", "", "y\n"])
    for code, last in ((0, "nothing was deleted\n"), (2, ""), (0, "study a is deleted\n")):
        monkeypatch.setattr("sys.stdin", io.StringIO(next(answers)))
        assert kidneyseg_search(["delete", "--study", "a"]) == code
        told = capsys.readouterr()
        assert "study a: 1 trial goes (0 complete, 0 pruned), 0 epochs" in told.out
        assert "runs/a: 1 file, 2.5 kB" in told.out
        assert told.out.endswith(last)
        assert ("nobody answered" in told.err) == (code == 2)
        assert Path("runs/a").exists() == (not last.startswith("study"))
    assert kidneyseg_search(["delete", "--study", "a"]) == 2


def test_delete_refuses_while_workers_are_alive(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    assert kidneyseg_search(["delete", "--study", "a", "--yes"]) == 2
    assert "1 of its workers are alive (box 7)" in capsys.readouterr().err
    let_worker_die(storage)
    assert kidneyseg_search(["delete", "--study", "a", "--yes"]) == 0
    assert optuna.get_all_study_names(open_storage("sqlite:///runs/studies.db").optuna) == []


@pytest.mark.usefixtures("workplace")
def test_the_doctor_says_a_line_a_check_and_fails_on_errors_alone(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    found = [
        Finding(level=Level.OK, check="clock", found="right"),
        Finding(level=Level.WARNING, check="disk", found="little", cure="buy one"),
    ]
    monkeypatch.setattr("kidneyseg.search.doctor.examine", lambda *_: iter(found))
    assert kidneyseg_search(["doctor"]) == 0
    assert capsys.readouterr().out == "ok       clock: right\nwarning  disk: little; buy one\n"
    found.append(Finding(level=Level.ERROR, check="GPUs", found="none", cure="see nvidia-smi"))
    assert kidneyseg_search(["doctor", "--json"]) == 1
    assert [each["level"] for each in json.loads(capsys.readouterr().out)] == [
        "ok",
        "warning",
        "error",
    ]


def test_the_doctor_upgrades_on_request(
    storage: Storage, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("orders", "workers", "epochs", "places", "points", "version"):
        storage.change(text(f"DROP TABLE kidneyseg_{name}"))
    assert kidneyseg_search(["status"]) == 2
    assert "wants an upgrade: kidneyseg-search doctor --upgrade" in capsys.readouterr().err
    assert kidneyseg_search(["doctor", "--upgrade", "--json"]) in (0, 1)  # this machine's health
    told = capsys.readouterr()
    assert "our tables: from 0001 to 0003" in told.err
    checks = {(each["check"], each["level"]) for each in json.loads(told.out)}
    assert ("database", "error") not in checks
    assert kidneyseg_search(["status"]) == 0
