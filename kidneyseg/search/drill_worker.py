"""A worker process of a drill: its order on stdin, the database's address in the environment."""

import os
import signal
import sys
from contextlib import closing

from kidneyseg.errors import ExitCode, KidneysegError, Terminated
from kidneyseg.runs import STORAGE_VARIABLE
from kidneyseg.search.service import join_study
from kidneyseg.search.storage import open_storage
from kidneyseg.search.workers import work_together
from kidneyseg.settings import Environment, Part


class DrillOrder(Part):
    """What a worker process of a drill is told."""

    study: str
    environment: Environment
    workers: int


def main() -> int:
    """Work until the study's budget is reached."""
    signal.signal(signal.SIGTERM, _terminate)
    order = DrillOrder.model_validate_json(sys.stdin.read())
    storage = open_storage(os.environ[STORAGE_VARIABLE])
    begun = join_study(storage, order.study, order.environment)
    device = order.environment.common.device
    workplaces = [begun.workplace(device, place, order.workers) for place in range(order.workers)]
    try:
        with closing(work_together(workplaces)) as told:
            for _ in told:
                pass
    except Terminated:
        return ExitCode.TERMINATED
    except KidneysegError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return ExitCode.DONE


def _terminate(_signal: int, _frame: object) -> None:
    raise Terminated


if __name__ == "__main__":
    sys.exit(main())
