"""`kidneyseg verify`: check every case."""

import json
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer

from kidneyseg.cli import options
from kidneyseg.cli.options import Choices
from kidneyseg.errors import ExitCode


def verify(
    data: Annotated[
        Path,
        typer.Argument(help="Case folders as in KiTS19 or nnU-Net, or a table of paths (.csv)."),
    ],
    labels_only: Annotated[
        bool, typer.Option("--labels-only", help="Check the labels; the scans may be missing.")
    ] = False,
    as_json: options.Json = False,
    environment: options.EnvironmentName = "local",
    set_: options.Set = None,
) -> None:
    """Check every case: errors with their cure, and notes of what is odd but right.

    Example: kidneyseg verify kits19/data
    """
    from kidneyseg.cli.display import track
    from kidneyseg.ct.findings import findings_text
    from kidneyseg.ct.layouts import list_files
    from kidneyseg.ct.verification import check_cases, collect_findings

    settings = Choices(environment, data, set_ or []).environment.data
    cases = list_files(data)
    with closing(check_cases(cases, settings, labels_only=labels_only)) as checking:
        findings = collect_findings(track(checking, "cases checked", len(cases)))
    n_errors = sum(finding.is_error for finding in findings)
    if as_json:
        document = {
            "data": str(data),
            "cases": len(cases),
            "errors": n_errors,
            "notes": len(findings) - n_errors,
            "findings": [finding.as_json() for finding in findings],
        }
        typer.echo(json.dumps(document))
    else:
        typer.echo(findings_text(findings), nl=bool(findings))
        typer.echo(f"{len(cases)} cases: {n_errors} errors, {len(findings) - n_errors} notes")
    if n_errors:
        raise typer.Exit(ExitCode.FAILED)
