"""The commands of `kidneyseg-search`."""

import typer

from kidneyseg.cli.search.confirm import confirm
from kidneyseg.cli.search.dashboard import dashboard
from kidneyseg.cli.search.delete import delete
from kidneyseg.cli.search.doctor import doctor
from kidneyseg.cli.search.export import export
from kidneyseg.cli.search.report import report
from kidneyseg.cli.search.run import run
from kidneyseg.cli.search.status import status
from kidneyseg.cli.search.stop import stop
from kidneyseg.cli.search.submit import submit
from kidneyseg.cli.search.worker import worker
from kidneyseg.cli.version import version_option

app = typer.Typer(
    help="Search hyper-parameters for kidney segmentation in CT.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.callback()(version_option)
for command in (
    *(run, worker, submit, status, stop, confirm),
    *(export, report, dashboard, delete, doctor),
):
    app.command()(command)
