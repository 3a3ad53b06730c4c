"""The two programs' entries: the one place where an error becomes a line and an exit code."""

import os
import signal
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import typer

from kidneyseg.cli.telling import asks_for_json, chosen_log, telling
from kidneyseg.cores import share_cores
from kidneyseg.errors import ExitCode, KidneysegError, Terminated

# Slurm and others warn by SIGUSR1 that time runs out.
TERMINATIONS = tuple(
    getattr(signal, name) for name in ("SIGTERM", "SIGUSR1") if hasattr(signal, name)
)


def kidneyseg(arguments: Sequence[str] | None = None) -> int:
    """Run `kidneyseg` and return its exit code."""
    from kidneyseg.cli.data.app import app

    return run_program(app, "kidneyseg", arguments)


def kidneyseg_search(arguments: Sequence[str] | None = None) -> int:
    """Run `kidneyseg-search` and return its exit code."""
    from kidneyseg.cli.search.app import app

    return run_program(app, "kidneyseg-search", arguments)


def run_program(app: typer.Typer, name: str, arguments: Sequence[str] | None = None) -> int:
    """Run one command; what goes wrong is one line on stderr, with `--debug` the traceback too."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in given
    given = [argument for argument in given if argument != "--debug"] or ["--help"]
    with telling(as_json=asks_for_json(given)):
        return _run(app, name, given, debug=debug)


def _run(app: typer.Typer, name: str, given: list[str], *, debug: bool) -> int:
    share_cores()
    before = _catch_terminations()
    try:
        code = typer.main.get_command(app).main(given, prog_name=name, standalone_mode=False)
        if code == ExitCode.INTERRUPTED:
            raise KeyboardInterrupt  # noqa: TRY301 - Typer made a number of it
        return int(code or ExitCode.DONE)
    except KidneysegError as error:
        if debug:
            traceback.print_exc()
        return _say(name, str(error), error.exit_code)
    except typer.TyperException as error:
        return _say(
            name,
            f"{error.format_message()} (see {_command(error, name)} --help)",
            ExitCode.CORRECTABLE,
        )
    except (KeyboardInterrupt, typer.Abort):
        return _say(name, "interrupted; the same command goes on", ExitCode.INTERRUPTED)
    except Terminated:
        return _say(name, "terminated; the same command goes on", ExitCode.TERMINATED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except Exception as error:  # noqa: BLE001 - the last resort: one line, and a code
        if debug:
            traceback.print_exc()
        return _say(name, _unexpected(error), ExitCode.FAILED)
    finally:
        _restore(before)


def _unexpected(error: Exception) -> str:
    """What is said of an error that nobody foresaw."""
    first = (str(error).splitlines() or ["no message"])[0]
    if type(error).__module__.partition(".")[0] in ("sqlalchemy", "psycopg"):
        return f"the database did not answer ({first}); give the same command when it is back"
    return f"unexpected {type(error).__name__}: {first} (--debug shows where)"


def _command(error: typer.TyperException, name: str) -> str:
    """The command that was called wrongly, as far as it is known."""
    context = getattr(error, "ctx", None)
    return str(context.command_path) if context is not None else name


def _say(name: str, message: str, code: ExitCode) -> int:
    one_line = " ".join(message.split())
    if (log := chosen_log()) is not None:
        log.say(f"{name}: {one_line}", "error")
    else:
        sys.stderr.write(f"{name}: {one_line}\n")
    return code


def _catch_terminations() -> dict[int, Any]:
    """Have what asks a program to end raise Terminated; return what was done about it before."""
    return {number: signal.signal(number, _terminate) for number in TERMINATIONS}


def _restore(handlers: dict[int, Any]) -> None:
    for number, handler in handlers.items():
        signal.signal(number, handler)


def _terminate(_signal: int, _frame: object) -> None:
    for number in TERMINATIONS:  # once is enough: what follows must not be interrupted
        signal.signal(number, signal.SIG_IGN)
    raise Terminated
