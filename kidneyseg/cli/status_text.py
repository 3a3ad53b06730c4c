"""A study's status in words."""

from collections.abc import Iterator

from kidneyseg.cli.display import short
from kidneyseg.search.study_status import BestTrial, RunningTrial, StudyStatus, WorkerStatus


def status_text(status: StudyStatus) -> str:
    """Trials by state, what they cost, the best so far, and who works on what."""
    return "\n".join(_lines(status))


def counted(number: int, thing: str) -> str:
    """A number of things: 1 trial, 2 trials."""
    return f"{number} {thing}" if number == 1 else f"{number} {thing}s"


def hours_words(hours: float) -> str:
    """Hours as people say them: 40 s, 12 minutes, 3.4 hours, 2.5 days."""
    seconds = hours * 3600
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    if hours < 1.65:
        return f"{hours * 60:.0f} minutes"
    return f"{hours:.1f} hours" if hours < 48 else f"{hours / 24:.1f} days"


def _lines(status: StudyStatus) -> Iterator[str]:
    yield _trials(status)
    yield _cost(status)
    if status.best is not None:
        yield _best(status.best)
    if status.stop is not None:
        running = "; running trials are handed back" if status.stop_now else ""
        yield f"no new trial begins: {status.stop}{running}"
    elif (left := _left(status)) is not None:
        yield left
    yield from _workers(status)


def _trials(status: StudyStatus) -> str:
    states = status.states
    parts = [f"{states['complete']} complete, {states['pruned']} pruned"]
    others = [f"{states[name]} {name}" for name in ("running", "waiting", "failed") if states[name]]
    return (
        f"study {status.study}: {status.finished} of {counted(status.n_trials, 'trial')} finished "
        f"({parts[0]}){''.join(f', {each}' for each in others)}"
    )


def _cost(status: StudyStatus) -> str:
    spent = f"spent: {counted(status.epochs, 'epoch')}, {hours_words(status.hours)} of work"
    if not status.saved_epochs:
        return spent
    saved = f"{counted(status.saved_epochs, 'epoch')}, {hours_words(status.saved_hours)}"
    return f"{spent}; saved by pruning: about {saved}"


def _best(best: BestTrial) -> str:
    values = ", ".join(f"{name} {short(value)}" for name, value in best.params.items())
    return f"best so far: trial {best.number}, Dice {best.value:.4f}{f', {values}' * bool(values)}"


def _left(status: StudyStatus) -> str | None:
    n_left = status.n_trials - status.finished
    if n_left <= 0:
        return None
    if status.hours_left is None:
        return f"left: {counted(n_left, 'trial')}"
    return f"left: {counted(n_left, 'trial')}, about {hours_words(status.hours_left)}"


def _workers(status: StudyStatus) -> Iterator[str]:
    for worker in status.workers:
        yield f"worker {worker.worker} on {worker.device}: {_worker(worker)}"
    known = {worker.trial for worker in status.workers}
    for trial in status.running:
        if trial.trial not in known:
            holder = f"worker {trial.worker}" if trial.worker else "worker not known"
            yield f"{holder}: {_trial(trial.trial, trial)}"


def _worker(worker: WorkerStatus) -> str:
    doing = "between two trials" if worker.trial is None else _trial(worker.trial, worker)
    if worker.alive:
        return doing
    seen = f"gone, last seen {hours_words(worker.seen_seconds_ago / 3600)} ago"
    return seen if worker.trial is None else f"{seen} in {doing}"


def _trial(number: int, at: WorkerStatus | RunningTrial) -> str:
    if not at.epoch:
        return f"trial {number}, first epoch"
    parts = [f"trial {number}", counted(at.epoch, "epoch")]
    if at.dice is not None:
        parts.append(f"Dice {at.dice:.4f}")
    if at.seconds_per_epoch is not None:
        parts.append(f"{short(at.seconds_per_epoch)} s an epoch")
    return ", ".join(parts)
