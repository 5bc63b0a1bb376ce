"""What every command needs: options of one meaning, a progress bar, tables and JSON."""

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from napari_uld.progress import Progress, Result, Work, finish

if TYPE_CHECKING:
    from napari_uld.detectors.specs.recipe import Version

console = Console()


def writable(path: Path | None) -> Path | None:
    """Refuse an output file whose folder is not there before any work is done."""
    if path is not None and not path.resolve().parent.is_dir():
        raise typer.BadParameter(f"the folder {path.resolve().parent} does not exist")
    return path


def writable_folder(path: Path | None) -> Path | None:
    """Refuse an output folder that is a file, or whose own folder is not there, before any work is done."""
    if path is not None and path.is_file():
        raise typer.BadParameter(f"{path} is a file")
    return writable(path)


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
    """Run long work under a progress bar."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(step: Progress) -> None:
            bar.update(task, description=step.message, completed=step.done, total=step.total or None)

        return finish(work, show)


def print_table(title: str, rows: list[dict[str, Any]]) -> None:
    """Print rows, which share their columns, for people."""
    if not rows:
        console.print(f"{title}: none")
        return
    table = Table(title=title, title_justify="left")
    for number, column in enumerate(rows[0]):
        number_column = isinstance(rows[0][column], int | float)
        # The first column has the names that a person types; they are of no use cut short.
        table.add_column(column, justify="right" if number_column else "left", no_wrap=number == 0)
    for row in rows:
        table.add_row(*(str(value) for value in row.values()))
    console.print(table)


def write_json(path: Path | None, content: Any) -> None:
    """Write what was printed for programs, where they asked for it."""
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
