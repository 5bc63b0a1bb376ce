"""What every command needs: options of one meaning, a progress bar, and results that are kept before they are told."""

import json
import math
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from napari_uld.files import replace_file
from napari_uld.progress import Progress, Result, Work, finish

if TYPE_CHECKING:
    from napari_uld.detectors.specs.recipe import Version

# Room that there must be for a result, before work on it begins; in bytes.
ROOM = 1 << 16
# Columns that a table with lines between them may have.
MOST_LINED = 8


class ClosedPipeError(OSError):
    """Nobody reads what is printed any more."""


class PlainConsole(Console):
    """Prints what it is given: names of scans and files are foreign text, never markup."""

    def on_broken_pipe(self) -> NoReturn:
        """Say so to whoever still reads, where rich would end without a word."""
        raise ClosedPipeError(
            "nobody reads what is printed (the pipe was closed); files that were asked for are written"
        )


console = PlainConsole(markup=False, emoji=False)


def visible(text: object) -> str:
    """Give text with what would steer a terminal, or cannot be printed, spelled out."""
    return "".join(
        one if one.isprintable() or one == "\n" else one.encode("unicode_escape", "surrogatepass").decode("ascii")
        for one in str(text)
    )


def say(text: object, style: str | None = None) -> None:
    """Print a line for people."""
    console.print(visible(text), style=style)


def writable(path: Path | None) -> Path | None:
    """Refuse an output file that could not be written, before any work is done."""
    if path is None:
        return None
    folder = path.resolve().parent
    if not folder.is_dir():
        raise typer.BadParameter(f"the folder {visible(folder)} does not exist: make it, or choose another")
    if path.is_dir():
        raise typer.BadParameter(f"{visible(path)} is a folder: give the name of a file")
    if path.exists() and not path.is_file():
        raise typer.BadParameter(f"{visible(path)} is no file that can be replaced: give the name of one")
    if path.exists() and not os.access(path, os.W_OK):
        raise typer.BadParameter(f"{visible(path)} may not be written to: allow it, or give another name")
    _check_room(folder)
    return path


def fillable(path: Path) -> Path:
    """Refuse a folder to fill that could not be made, with those above it, or written to, before any work is done."""
    there = path.resolve()
    while not there.exists() and there != there.parent:
        there = there.parent
    if not there.is_dir():
        raise typer.BadParameter(f"{visible(there)} is a file: give the name of a folder")
    _check_room(there)
    return path


def writable_folder(path: Path | None) -> Path | None:
    """Refuse an output folder that is a file, or whose own folder is not there, before any work is done."""
    if path is None:
        return None
    if not path.resolve().parent.is_dir():
        raise typer.BadParameter(f"the folder {visible(path.resolve().parent)} does not exist: make it first")
    return fillable(path)


def _check_room(folder: Path) -> None:
    """Refuse a folder that no file can be written in, by writing one."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
            file.flush()
    except OSError as error:
        raise typer.BadParameter(
            f"nothing can be written in {visible(folder)} ({error.strerror or error}): "
            "make room, or choose another folder"
        ) from error


JsonFile = Annotated[
    Path | None, typer.Option("--json", callback=writable, help="Write the same for programs into this file.")
]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
Data = Annotated[Path, typer.Option(help="Folder in DeepLesion's layout: DL_info.csv and Images_png.")]
Small = Annotated[bool, typer.Option("--small", help="The recipe's small version.")]
Bundled = Annotated[bool, typer.Option("--bundled", help="The small version, trained until it gains no more.")]
SplitName = Annotated[str, typer.Option(help="train, val, test or all.")]


def version_of(small: bool, bundled: bool) -> "Version":
    """The version of a recipe that was asked for."""
    if small and bundled:
        raise typer.BadParameter("give one of them", param_hint="--small, --bundled")
    return "small" if small else "bundled" if bundled else "published"


def positive_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read numbers divided by commas."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < math.inf for number in numbers):
        raise typer.BadParameter(f"give positive numbers divided by commas; found {text!r}", param_hint=option)
    return numbers


def follow(work: Work[Result]) -> Result:
    """Run long work under a progress bar, where there is a terminal to show it."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn()
    with ProgressBar(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)

        def show(step: Progress) -> None:
            bar.update(task, description=visible(step.message), completed=step.done, total=step.total or None)

        return finish(work, show)


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows, which share their columns, for people."""
    if not rows:
        say(f"{title}: none")
        return
    table = Table(title=visible(title), title_justify="left")
    if len(rows[0]) > MOST_LINED:
        # Lines between so many columns would leave no room for their numbers on a terminal of 80 letters.
        table.box, table.padding, table.show_edge, table.pad_edge = SIMPLE_HEAD, (0, 1, 0, 0), False, False
    for number, column in enumerate(rows[0]):
        number_column = isinstance(rows[0][column], int | float)
        # The first column has the names that a person types; they are of no use cut short.
        table.add_column(column, justify="right" if number_column else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(visible(value) for value in row.values()))
    console.print(table)


def write_json(path: Path | None, content: Any) -> None:
    """Write a result for programs, where they asked for it: before it is printed, so that no printing can lose it."""
    if path is not None:
        data = (json.dumps(content, indent=2) + "\n").encode()
        replace_file(path, lambda partial: partial.write_bytes(data))
