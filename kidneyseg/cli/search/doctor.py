"""`kidneyseg-search doctor`: what would go wrong, and how to mend it."""

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import machine_choices, storage_address
from kidneyseg.errors import ExitCode
from kidneyseg.runs import Runs

if TYPE_CHECKING:
    from kidneyseg.search.findings import Finding
    from kidneyseg.settings import Environment


def doctor(
    upgrade: Annotated[
        bool, typer.Option("--upgrade", help="First upgrade the database's schema, if it is older.")
    ] = False,
    drill: Annotated[
        bool,
        typer.Option(
            "--drill",
            help="Also kill workers of a tiny study at random moments, here and in this database.",
        ),
    ] = False,
    as_json: options.Json = False,
    storage: options.Storage = None,
    data: options.Data = None,
    environment: options.EnvironmentName = "local",
    set_: options.MachineSet = None,
) -> None:
    """Say what in this machine, database and data would go wrong, and how to mend it.

    Example: kidneyseg-search doctor --data kits19/data
    """
    from kidneyseg.search.doctor import examine

    choices = machine_choices(environment, data, set_)
    address = storage_address(storage, choices.runs)
    if upgrade:
        _upgrade(address)
    findings = []
    for finding in examine(address, choices.environment):
        findings.append(finding)
        if not as_json:
            typer.echo(_line(finding))
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings]))
    if any(finding.level == "error" for finding in findings):
        raise typer.Exit(ExitCode.FAILED)
    if drill:
        _drill(address, choices.environment)


def _upgrade(address: str) -> None:
    from kidneyseg.search.upgrading import upgrade_database

    done = upgrade_database(address)
    for each in done or ["the schema is this version's: nothing to upgrade"]:
        typer.echo(each, err=True)


def _drill(address: str, machine: "Environment") -> None:
    """Drill in a folder below the runs folder; the study and its files go at the end."""
    from kidneyseg.cli.display import stderr_console
    from kidneyseg.search.drill import Drill, begin_drill, drill_environment, end_drill, run_drill
    from kidneyseg.search.storage import open_storage

    console, plan = stderr_console(), Drill()
    storage = open_storage(address)
    begun = begin_drill(storage, drill_environment(Runs(machine.common.runs).drill, machine), plan)
    console.print(
        f"the drill: {plan.n_trials} tiny trials, {plan.n_processes} processes of "
        f"{plan.workers_each} workers, {plan.n_faults} faults"
    )
    try:
        for happened in run_drill(begun, address, plan):
            console.print(happened.what)
        n_trials = begun.study.n_trials  # more, where the work was done before all faults
    finally:
        end_drill(begun)
    typer.echo(
        f"the drill passed: exactly {n_trials} trials, none failed, every curve whole, "
        "no epoch twice"
    )


def _line(finding: "Finding") -> str:
    cure = f"; {finding.cure}" * bool(finding.cure)
    return f"{finding.level:<8} {finding.check}: {finding.found}{cure}"
