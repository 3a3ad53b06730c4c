"""The worker's metrics, as Prometheus reads them over HTTP."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from kidneyseg.errors import CorrectableError
from kidneyseg.search.events import EpochFinished, TakenOver, TrialFinished, TrialStarted
from kidneyseg.search.metrics import SearchMetrics, serve_metrics
from tests.postgres_server import free_port

LABELS = ("study", "state", "le")


@pytest.fixture
def port() -> int:
    return free_port()


@pytest.fixture
def metrics(port: int) -> Iterator[SearchMetrics]:
    with serve_metrics(port) as served:
        yield served


def read(port: int) -> dict[tuple[str, ...], float]:
    """Every sample there is: by name, study, state and bucket."""
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    return {
        (sample.name, *(sample.labels[label] for label in LABELS if label in sample.labels)): (
            sample.value
        )
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def epoch(trial: int, seconds: float) -> EpochFinished:
    return EpochFinished(
        trial=trial, epoch=1, max_epochs=6, dice=0.5, best_dice=0.5, loss=0.7, seconds=seconds
    )


def ended(
    trial: int, state: str, dice: float | None, *, goes_on: bool = False, finished: int = 0
) -> TrialFinished:
    return TrialFinished(
        trial=trial,
        state=state,
        dice=dice,
        epochs=1,
        reason="",
        finished=finished,
        n_trials=50,
        goes_on=goes_on,
    )


def test_trials_are_counted_by_how_they_ended(metrics: SearchMetrics, port: int) -> None:
    for number, state in enumerate(["COMPLETE", "COMPLETE", "PRUNED", "FAIL"]):
        metrics.count("lr_loss", ended(number, state, 0.5, finished=number))
    metrics.count("lr_loss", ended(4, "FAIL", None, goes_on=True, finished=3))
    samples = read(port)
    counts = {
        state: samples["kidneyseg_trials_total", "lr_loss", state]
        for state in ("complete", "pruned", "failed", "handed_back")
    }
    assert counts == {"complete": 2, "pruned": 1, "failed": 1, "handed_back": 1}
    assert samples["kidneyseg_study_finished_trials", "lr_loss"] == 3
    assert samples["kidneyseg_study_budget_trials", "lr_loss"] == 50


def test_epochs_are_counted_with_their_seconds(metrics: SearchMetrics, port: int) -> None:
    for seconds in (2.0, 30.0, 31.0):
        metrics.count("lr_loss", epoch(0, seconds))
    samples = read(port)
    assert samples["kidneyseg_epoch_seconds_count", "lr_loss"] == 3
    assert samples["kidneyseg_epoch_seconds_sum", "lr_loss"] == 63
    assert samples["kidneyseg_epoch_seconds_bucket", "lr_loss", "30.0"] == 2


def test_the_best_dice_is_of_complete_trials_and_never_falls(
    metrics: SearchMetrics, port: int
) -> None:
    for number, (state, dice) in enumerate([("COMPLETE", 0.6), ("PRUNED", 0.9), ("COMPLETE", 0.4)]):
        metrics.count("lr_loss", ended(number, state, dice))
    assert read(port)["kidneyseg_best_dice", "lr_loss"] == 0.6


def test_running_trials_are_those_begun_and_not_ended(metrics: SearchMetrics, port: int) -> None:
    for number in range(3):
        metrics.count("lr_loss", TrialStarted(trial=number, hyperparameters={}))
    metrics.count("other", TrialStarted(trial=0, hyperparameters={}))
    metrics.count("lr_loss", ended(1, "PRUNED", 0.1))
    assert read(port)["kidneyseg_running_trials", "lr_loss"] == 2
    assert read(port)["kidneyseg_running_trials", "other"] == 1
    metrics.leave("lr_loss")  # asked to stop: trials are handed back without a word
    assert read(port)["kidneyseg_running_trials", "lr_loss"] == 0


def test_a_result_that_was_taken_over_is_a_trial_that_ends(
    metrics: SearchMetrics, port: int
) -> None:
    metrics.count("lr_loss", TakenOver(trial=3, source=1))
    metrics.count("lr_loss", ended(3, "COMPLETE", None))
    samples = read(port)
    assert samples["kidneyseg_trials_total", "lr_loss", "complete"] == 1
    assert samples["kidneyseg_running_trials", "lr_loss"] == 0


def test_the_database_is_asked_at_every_look(metrics: SearchMetrics, port: int) -> None:
    away, outages = [False], [0]
    metrics.watch_database(lambda: away[0], lambda: outages[0])
    assert read(port)["kidneyseg_database_away",] == 0
    away[0], outages[0] = True, 2
    samples = read(port)
    assert samples["kidneyseg_database_away",] == 1
    assert samples["kidneyseg_database_outages_total",] == 2


def test_metrics_answer_on_loopback_alone_unless_told_otherwise(
    metrics: SearchMetrics, port: int
) -> None:
    assert metrics.registry is not None
    with closing(socket.socket()) as probe:
        probe.settimeout(5)
        assert probe.connect_ex(("127.0.0.2", port)) != 0


def test_the_port_is_free_again_after_the_block(port: int) -> None:
    with serve_metrics(port):
        pass
    with serve_metrics(port):
        assert read(port)


def test_a_port_that_is_taken_is_named(metrics: SearchMetrics, port: int) -> None:
    assert metrics.registry is not None
    with pytest.raises(CorrectableError, match=rf"--metrics-port {port} on 127\.0\.0\.1"):
        serve_metrics(port).__enter__()


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    with pytest.raises(CorrectableError, match=r"kidneyseg\[prometheus\]"):
        serve_metrics(9400).__enter__()


def test_who_asks_for_no_metrics_does_not_import_the_extra() -> None:
    code = (
        "import sys; import kidneyseg.search.metrics; sys.exit('prometheus_client' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
