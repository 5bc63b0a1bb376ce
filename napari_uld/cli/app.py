"""`napari-uld`: the commands, and what becomes of their errors."""

import logging
import sys

import typer

from napari_uld.cli.data import masks, phantom
from napari_uld.cli.recipes import anchors, info, recipes
from napari_uld.cli.scans import demo, detect
from napari_uld.cli.training import evaluate, experiments, positives, train
from napari_uld.errors import UldError

app = typer.Typer(
    help="Universal lesion detection in CT.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
# In the order of the help. What a command needs is imported inside it, so that help comes at once.
for command in (demo, detect, phantom, masks, train, evaluate, positives, anchors, info, recipes, experiments):
    app.command()(command)


def main() -> None:
    """Entry point: a typed error becomes one sentence on stderr and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except (UldError, OSError) as error:
        sys.stderr.write(f"napari-uld: {error}\n")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        sys.stderr.write("napari-uld: cancelled\n")
        raise SystemExit(1) from None
