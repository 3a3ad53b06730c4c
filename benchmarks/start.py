"""What it takes until a worker trains: beside a plain script with Optuna, in the same run.

    python benchmarks/start.py

A worker imports, opens the database and joins the study; its first training process starts a fork
server, which imports torch, and the next ones are forked from it. A plain script imports torch and
Optuna and loads the study, and trains in its own process.
"""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

PLAIN = """
import sys, torch, optuna
study = optuna.load_study(study_name=sys.argv[2], storage=sys.argv[1])
study.ask().suggest_float("learning_rate", 1e-3, 1e-1, log=True)
"""
JOINING = """
import sys
from pathlib import Path
from kidneyseg.environment_files import load_environment
from kidneyseg.search.drill import drill_environment
from kidneyseg.search.service import join_study
from kidneyseg.search.storage import open_storage
machine = drill_environment(Path(sys.argv[3]), load_environment("local", {}))
begun = join_study(open_storage(sys.argv[1]), sys.argv[2], machine)
begun.workplace("cpu").study.optuna.ask()
"""


def seconds(call: Callable[[], object], rounds: int = 5) -> float:
    """The median of some rounds."""
    taken = []
    for _ in range(rounds):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return statistics.median(taken)


def main() -> None:
    """Print the medians."""
    # Here: a training process reads this file again, as a worker's own, which imports little.
    from kidneyseg.environment_files import load_environment  # noqa: PLC0415
    from kidneyseg.search.drill import Drill, begin_drill, drill_environment  # noqa: PLC0415
    from kidneyseg.search.events import TrialStarted  # noqa: PLC0415
    from kidneyseg.search.storage import open_storage  # noqa: PLC0415
    from kidneyseg.search.worker import work  # noqa: PLC0415

    with tempfile.TemporaryDirectory() as folder:
        address = f"sqlite:///{folder}/studies.db"
        environment = drill_environment(Path(folder), load_environment("local", {}))
        begun = begin_drill(open_storage(address), environment, Drill(n_trials=4))
        name = begun.study.name

        def script(text: str) -> Callable[[], object]:
            command = [sys.executable, "-c", text, address, name, folder]
            return lambda: subprocess.run(command, check=True, capture_output=True)  # noqa: S603

        print(f"plain script until its first trial: {seconds(script(PLAIN)):.2f} s")
        print(f"our worker until its first trial:   {seconds(script(JOINING)):.2f} s")
        # A study of its own: in the other, trials stand open that the scripts asked for and left.
        fresh = begin_drill(open_storage(f"{address}.fresh"), environment, Drill(n_trials=4))
        workplace = fresh.workplace("cpu")
        starts, last = [], time.perf_counter()
        for event in work(workplace, 4):
            if isinstance(event, TrialStarted):
                starts.append(time.perf_counter() - last)
            last = time.perf_counter()
        print(f"the first training process:         {starts[0]:.2f} s more")
        print(f"each training process after it:     {statistics.median(starts[1:]):.2f} s")


if __name__ == "__main__":
    main()
