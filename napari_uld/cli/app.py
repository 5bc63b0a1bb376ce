"""`napari-uld`: the commands, and what becomes of their errors."""

import contextlib
import io
import logging
import os
import sys
import warnings
from typing import Any

import typer

from napari_uld.cli.common import ClosedPipeError, visible
from napari_uld.cli.data import collect, masks, phantom
from napari_uld.cli.evaluation import evaluate, figure
from napari_uld.cli.mining import merge, mine
from napari_uld.cli.recipes import anchors, info, recipes
from napari_uld.cli.scans import demo, detect
from napari_uld.cli.training import experiments, positives, train
from napari_uld.errors import UldError
from napari_uld.files import GuaranteeWarning

app = typer.Typer(
    help="Universal lesion detection in CT.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
# In the order of the help. What a command needs is imported inside it, so that help comes at once.
for command in (
    demo,
    detect,
    mine,
    merge,
    phantom,
    collect,
    masks,
    train,
    evaluate,
    figure,
    positives,
    anchors,
    info,
    recipes,
    experiments,
):
    app.command()(command)


def main() -> None:
    """Entry point: a typed error becomes one sentence on stderr and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A name that this console has no letters for is spelled out, and costs nobody a result.
            stream.reconfigure(errors="backslashreplace")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _show_warning  # type: ignore[assignment]
            app()
    except (UldError, OSError) as error:
        _end(str(error), closed=isinstance(error, ClosedPipeError | BrokenPipeError))
    except KeyboardInterrupt:
        _end("cancelled")


_usual_warning = warnings.showwarning


def _show_warning(message: Warning | str, category: type[Warning], filename: str, lineno: int, *more: Any) -> None:
    """Show what a person can act on as a sentence, without the line of code that says it."""
    if issubclass(category, GuaranteeWarning):
        _tell(str(message))
    else:
        _usual_warning(message, category, filename, lineno, *more)


def _end(sentence: str, *, closed: bool = False) -> None:
    _tell(" ".join(sentence.split()))
    with contextlib.suppress(OSError, ValueError, AttributeError):
        # What could not be printed shall not be tried again when Python ends.
        if closed or not _can_flush():
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    raise SystemExit(1)


def _tell(sentence: str) -> None:
    """Write one sentence to stderr, where there is one."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"napari-uld: {visible(sentence)}\n")
        sys.stderr.flush()


def _can_flush() -> bool:
    try:
        sys.stdout.flush()
    except OSError:
        return False
    return True
