"""The commands of `kidneyseg`."""

import typer

from kidneyseg.cli.data.evaluate import evaluate
from kidneyseg.cli.data.export import export
from kidneyseg.cli.data.phantom import phantom
from kidneyseg.cli.data.predict import predict
from kidneyseg.cli.data.prepare import prepare
from kidneyseg.cli.data.train import train
from kidneyseg.cli.data.verify import verify
from kidneyseg.cli.version import version_option

app = typer.Typer(
    help="Kidney segmentation in CT: data, one training, masks.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.callback()(version_option)
for command in (phantom, verify, prepare, train, evaluate, predict, export):
    app.command()(command)
