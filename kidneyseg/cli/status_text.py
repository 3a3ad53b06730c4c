"""A study's status in words."""

from kidneyseg.cli.display import short
from kidneyseg.search.status import StudyStatus


def _duration(hours: float) -> str:
    return f"{hours:.1f} hours" if hours >= 1 else f"{hours * 60:.1f} minutes"


def status_text(status: StudyStatus) -> str:
    """Trials by state, what they cost, the best so far, and who works on what."""
    states = status.states
    head = (
        f"study {status.study}: {status.finished} of {status.n_trials} trials finished "
        f"({states['complete']} complete, {states['pruned']} pruned), {states['running']} running, "
        f"{states['waiting']} waiting, {states['failed']} failed"
    )
    lines = [head, f"{status.epochs} epochs in {_duration(status.hours)} of work"]
    if status.best is not None:
        values = ", ".join(f"{name} {short(value)}" for name, value in status.best.params.items())
        lines.append(f"best: trial {status.best.number}, Dice {status.best.value:.4f}, {values}")
    for each in status.workers:
        dice = "" if each.dice is None else f", Dice {each.dice:.4f}"
        lines.append(f"running: trial {each.trial}, epoch {each.epoch}{dice} on {each.worker}")
    return "\n".join(lines)
