"""A worker's numbers for Prometheus, counted from its events and served over HTTP.

They are the worker's own, but for the study's finished trials and budget: what it knows of the
study since its last trial. The database has the whole story (`kidneyseg-search status --json`).
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from kidneyseg.errors import CorrectableError
from kidneyseg.search.events import EpochFinished, Event, TakenOver, TrialFinished, TrialStarted

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

# Seconds: from phantoms on a laptop to the report's networks, 30 s an epoch and more.
EPOCH_SECONDS = (1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 300.0, 900.0, 3600.0)
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}
HANDED_BACK = "handed_back"  # failed, and goes on under a new number


class SearchMetrics:
    """What a worker did, as metrics in a registry of its own."""

    def __init__(self, registry: "CollectorRegistry") -> None:
        from prometheus_client import Counter, Gauge, Histogram  # noqa: PLC0415 - an extra

        self.registry = registry
        self._trials = Counter(
            *("kidneyseg_trials", "Trials that ended in this worker."),
            ("study", "state"),
            registry=registry,
        )
        self._epochs = Histogram(
            *("kidneyseg_epoch_seconds", "Epochs trained by this worker, and how long they took."),
            ("study",),
            buckets=EPOCH_SECONDS,
            registry=registry,
        )

        def gauge(name: str, words: str) -> Gauge:
            return Gauge(f"kidneyseg_{name}", words, ("study",), registry=registry)

        self._best = gauge("best_dice", "Best validation Dice of a complete trial of this worker.")
        self._running = gauge("running_trials", "Trials that this worker trains now.")
        self._finished = gauge("study_finished_trials", "Finished trials of the whole study.")
        self._budget = gauge("study_budget_trials", "Finished trials that the study shall hold.")
        self._best_dice: dict[str, float] = {}  # by study
        self._held: dict[str, set[int]] = {}  # by study: the trials that run now

    def count(self, study: str, event: Event) -> None:
        """Take an event of a study in."""
        match event:
            case TrialStarted():
                self._hold(study).add(event.trial)
            case EpochFinished():
                self._hold(study).add(event.trial)
                self._epochs.labels(study).observe(event.seconds)
            case TrialFinished():
                self._count_trial(study, event)
            case TakenOver():
                self._hold(study).discard(event.trial)
        self._running.labels(study).set(len(self._hold(study)))

    def leave(self, study: str) -> None:
        """The worker works on this study no more: no trial of it is running here."""
        self._hold(study).clear()
        self._running.labels(study).set(0)

    def watch_database(self, is_away: Callable[[], bool], outages: Callable[[], int]) -> None:
        """Show, at every look, whether the database is away, and how often it went away."""
        self.registry.register(_Database(is_away, outages))

    def _count_trial(self, study: str, event: TrialFinished) -> None:
        self._hold(study).discard(event.trial)
        state = HANDED_BACK if event.goes_on else STATES.get(event.state, event.state)
        self._trials.labels(study, state).inc()
        self._finished.labels(study).set(event.finished)
        self._budget.labels(study).set(event.n_trials)
        if event.state == "COMPLETE" and event.dice is not None:
            best = max(event.dice, self._best_dice.get(study, event.dice))
            self._best_dice[study] = best
            self._best.labels(study).set(best)

    def _hold(self, study: str) -> set[int]:
        return self._held.setdefault(study, set())


class _Database:
    """The database's health, looked up whenever somebody asks for the metrics."""

    def __init__(self, is_away: Callable[[], bool], outages: Callable[[], int]) -> None:
        self._is_away = is_away
        self._outages = outages

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import (  # noqa: PLC0415 - an extra
            CounterMetricFamily,
            GaugeMetricFamily,
        )

        yield GaugeMetricFamily(
            "kidneyseg_database_away",
            "1 while calls to the database are being repeated.",
            value=float(self._is_away()),
        )
        yield CounterMetricFamily(
            "kidneyseg_database_outages",
            "Times that the database went away.",
            value=float(self._outages()),
        )


@contextmanager
def serve_metrics(port: int, host: str = "127.0.0.1") -> Iterator[SearchMetrics]:
    """Serve metrics at http://host:port/metrics while the block lasts; port 0 takes a free one.

    There is no login: on any other address than loopback, a firewall decides who may look.
    Raises CorrectableError without the extra `prometheus`, and for an address that cannot be
    listened on.
    """
    try:
        from prometheus_client import (  # noqa: PLC0415 - an extra
            CollectorRegistry,
            ProcessCollector,
            start_http_server,
        )
    except ImportError as error:
        raise CorrectableError(
            f"--metrics-port {port}: prometheus-client is not installed; expected "
            "pip install 'kidneyseg[prometheus]'"
        ) from error
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    metrics = SearchMetrics(registry)
    try:
        server, thread = start_http_server(port, host, registry)
    except (OSError, OverflowError) as error:
        raise CorrectableError(
            f"--metrics-port {port} on {host}: cannot be listened on ({error}); try another"
        ) from error
    try:
        yield metrics
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
