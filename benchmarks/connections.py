"""How many workers one PostgreSQL takes before its connections end, with and without PgBouncer.

    python benchmarks/connections.py --workers 40 120 240

Each simulated worker opens the database as ours do, reports an epoch every few seconds, and shows
signs of life. The server allows 100 connections, as it does where nobody changed it. Needs
PostgreSQL's programs, and `pgbouncer` for the second half.
"""

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
from sqlalchemy import make_url

from kidneyseg.errors import KidneysegError
from kidneyseg.search.leases import Heart
from kidneyseg.search.objective import report_epoch
from kidneyseg.search.storage import open_storage
from kidneyseg.search.studies import load_study

sys.path.insert(0, str(Path(__file__).parents[1]))
from benchmarks.filled_study import EPOCHS, begin, epoch_report
from tests.postgres_server import PostgresServer, postgres_programs

PERIOD_SECONDS = 5.0  # between two epochs of a simulated worker
POOL_SIZE = 20  # connections of PgBouncer to the server


def work(address: str, place: int, failures: list[str], waits: list[float], until: float) -> None:
    """Be a worker: join, take a trial, report epochs and show signs of life."""
    try:
        storage = open_storage(address, patience_seconds=0)
        study = load_study(storage, "storage")
        trial = study.optuna.ask()
        study.definition.draw(trial)
        epoch = 0
        with Heart(study, "cpu", place) as heart, heart.lease(trial._trial_id):  # noqa: SLF001
            while time.monotonic() < until and epoch < EPOCHS:
                epoch += 1
                start = time.monotonic()
                report_epoch(study, trial, epoch_report(epoch))
                study.pruner.should_prune(trial._trial_id, epoch)  # noqa: SLF001
                waits.append(time.monotonic() - start)
                time.sleep(PERIOD_SECONDS)
        storage.engine.dispose()
    except (KidneysegError, psycopg.Error, Exception) as error:  # noqa: BLE001 - counted
        failures.append(str(error).splitlines()[0])


@contextmanager
def pgbouncer(server: PostgresServer, folder: Path) -> Iterator[str]:
    """Run PgBouncer in transaction mode in front of a server; yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    url = make_url(server.address)
    (folder / "users.txt").write_text(f'"{url.username}" "{server.password}"\n', encoding="utf-8")
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\n* = host=127.0.0.1 port={url.port}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n"
        f"auth_type = scram-sha-256\nauth_file = {folder / 'users.txt'}\n"
        f"pool_mode = transaction\nmax_client_conn = 5000\ndefault_pool_size = {POOL_SIZE}\n"
        "ignore_startup_parameters = extra_float_digits,options\nunix_socket_dir =\n",
        encoding="utf-8",
    )
    command = ["pgbouncer", str(folder / "pgbouncer.ini")]
    if os.geteuid() == 0:
        shutil.chown(folder, "nobody")
        for path in folder.iterdir():
            shutil.chown(path, "nobody")
        command = [command[0], "-u", "nobody", command[1]]
    with (folder / "bouncer.log").open("w") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)  # noqa: S603 - our own
    time.sleep(1)
    try:
        yield url.set(port=port).render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait()


def try_workers(n_workers: int, address: str, server: PostgresServer, seconds: float) -> str:
    """Run simulated workers for a while; what came of it."""
    failures: list[str] = []
    waits: list[float] = []
    until = time.monotonic() + seconds
    threads = [
        threading.Thread(target=work, args=(address, place, failures, waits, until))
        for place in range(n_workers)
    ]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    time.sleep(seconds / 2)
    with psycopg.connect(server.address) as connection:
        count = connection.execute("SELECT count(*) FROM pg_stat_activity").fetchone()
    for thread in threads:
        thread.join()
    waits.sort()
    median = 1000 * waits[len(waits) // 2] if waits else float("nan")
    words = f"; first: {failures[0][:90]}" if failures else ""
    return (
        f"{len(failures):4} failed, {count[0] if count else 0:4} connections, "
        f"{median:6.0f} ms an epoch{words}"
    )


def main() -> None:
    """Print what happens at each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, nargs="+", default=[40, 120, 240])
    parser.add_argument("--seconds", type=float, default=30.0)
    arguments = parser.parse_args()
    programs = postgres_programs()
    if programs is None:
        sys.exit("no PostgreSQL here")
    with tempfile.TemporaryDirectory() as folder:
        data, bouncer = Path(tempfile.mkdtemp(prefix="kidneyseg-")), Path(folder)
        server = PostgresServer(programs, data, max_connections=100)
        server.start()
        begin(open_storage(server.address)).storage.engine.dispose()
        for n_workers in arguments.workers:
            told = try_workers(n_workers, server.address, server, arguments.seconds)
            print(f"{n_workers:4} workers, PostgreSQL alone:  {told}", flush=True)
        if shutil.which("pgbouncer") is None:
            print("no pgbouncer here")
        else:
            Path(folder).chmod(0o755)
            with pgbouncer(server, bouncer) as address:
                for n_workers in arguments.workers:
                    told = try_workers(n_workers, address, server, arguments.seconds)
                    print(f"{n_workers:4} workers, with PgBouncer:    {told}", flush=True)
        server.stop()


if __name__ == "__main__":
    main()
