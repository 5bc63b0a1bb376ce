"""`napari-uld`: parse, call, print. What a command needs is imported inside it, so that help comes at once."""

import importlib.util
import json
import logging
import math
import os
import shlex
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as ProgressBar
from rich.table import Table

from napari_uld.errors import UldError
from napari_uld.progress import Progress, Result, Work, finish

app = typer.Typer(
    help="Universal lesion detection in CT.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False
)
console = Console()


def _writable(path: Path | None) -> Path | None:
    """Refuse an output file whose folder is not there before any work is done."""
    if path is not None and not path.resolve().parent.is_dir():
        raise typer.BadParameter(f"the folder {path.resolve().parent} does not exist")
    return path


def _positive_numbers(text: str, option: str) -> tuple[float, ...]:
    """Read numbers divided by commas."""
    try:
        numbers = tuple(float(part) for part in text.split(","))
    except ValueError:
        numbers = ()
    if not numbers or not all(0 < number < math.inf for number in numbers):
        raise typer.BadParameter(f"give positive numbers divided by commas; found {text!r}", param_hint=option)
    return numbers


JsonFile = Annotated[
    Path | None, typer.Option("--json", callback=_writable, help="Write the same for programs into this file.")
]
Device = Annotated[str, typer.Option(help="auto, cuda, mps or cpu.")]
Data = Annotated[Path, typer.Option(help="Folder in DeepLesion's layout: DL_info.csv and Images_png.")]
SplitName = Annotated[str, typer.Option(help="train, val, test or all.")]


def main() -> None:
    """Entry point: a typed error becomes one sentence on stderr and exit status 1."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    try:
        app()
    except UldError as error:
        sys.stderr.write(f"napari-uld: {error}\n")
        raise SystemExit(1) from error
    except OSError as error:
        sys.stderr.write(f"napari-uld: {error}\n")
        raise SystemExit(1) from error
    except KeyboardInterrupt:
        sys.stderr.write("napari-uld: cancelled\n")
        raise SystemExit(1) from None


@app.command()
def demo(
    screenshot: Annotated[Path | None, typer.Option(help="Write the window's picture here and close.")] = None,
) -> None:
    """Open the sample study, run a detector on it and show what it found."""
    _check_window()
    from napari_uld.viewer.plugin.demo import run_demo

    rows = run_demo(screenshot)
    if rows:
        _print_table("Findings", rows)
    if screenshot is not None:
        console.print(f"The picture is in {screenshot}")


@app.command()
def detect(
    scan: Annotated[Path, typer.Argument(help="DICOM, NIfTI, NRRD/MHA or DeepLesion: a file or a folder.")],
    checkpoint: Annotated[str, typer.Option(help="A file, or a bundled checkpoint's name.")] = "retinanet_dense_ag",
    series: Annotated[str | None, typer.Option(help="Which scan, where the folder holds several.")] = None,
    device: Device = "auto",
    threshold: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Show findings from this score on; default: two false positives a key slice."),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--json", callback=_writable, help="Write all findings into this file.")
    ] = None,
) -> None:
    """Detect lesions on a whole scan."""
    from napari_uld.ct import read_scan
    from napari_uld.inference.catalogue import find_checkpoint
    from napari_uld.inference.checkpoint import load_checkpoint
    from napari_uld.inference.detect import detect as run
    from napari_uld.lesions.findings import DEFAULT_THRESHOLD
    from napari_uld.lesions.findings_file import write_findings

    detector = load_checkpoint(find_checkpoint(checkpoint), device)
    volume = read_scan(scan, series)
    for correction in volume.corrections:
        console.print(f"[yellow]{correction}[/yellow]")
    findings = _follow(run(volume, detector))
    if threshold is None:
        threshold = findings.operating_point or DEFAULT_THRESHOLD
    shown = findings.above(threshold)
    rows = [
        {
            "slice": int(shown.key_slices[i]),
            "score": round(float(shown.scores[i]), 3),
            "box (x1 y1 x2 y2, px)": " ".join(f"{v:.0f}" for v in shown.boxes[i]),
            "slices": len(shown.slice_boxes[i]),
        }
        for i in range(len(shown))
    ]
    _print_table(f"{volume.name}: {len(shown)} of {len(findings)} findings from a score of {threshold:g} on", rows)
    if out is not None:
        write_findings(out, findings)


@app.command()
def phantom(
    out: Annotated[Path, typer.Argument(help="A new folder.")],
    patients: Annotated[int, typer.Option(min=1)] = 10,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    phases: Annotated[int, typer.Option(min=1, help="Contrast phases of a study.")] = 1,
) -> None:
    """Generate CT-like studies with lesions, in DeepLesion's layout, and the whole truth beside them."""
    from napari_uld.training.data.phantom import generate_phantoms

    console.print(f"Phantoms are in {_follow(generate_phantoms(out, patients, seed, phases=phases))}")


@app.command()
def masks(
    data: Annotated[Path, typer.Argument(help="Folder in DeepLesion's layout: DL_info.csv and Images_png.")],
    kind: Annotated[str, typer.Option(help="grabcut or ellipse.")] = "grabcut",
    processes: Annotated[int | None, typer.Option(min=1, help="Default as many as there are cores.")] = None,
    out: JsonFile = None,
) -> None:
    """Make the pseudo masks of a data set's lesions once and store them in its folder; training then takes them."""
    from napari_uld.training.data.key_slices import annotated_slices
    from napari_uld.training.data.mask_run import store_masks

    report = _follow(store_masks(data, annotated_slices(data, "all"), kind, processes))
    _print_table(f"{data}: {kind} masks", [report.of_run()])
    _print_table("How they came about", report.of_origins())
    _write_json(out, report.to_dict())


@app.command()
def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file; see `napari-uld recipes`.")],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/<recipe>.")] = None,
    small: Annotated[bool, typer.Option("--small", help="The recipe's small version.")] = False,
    init: Annotated[str | None, typer.Option(help="Checkpoint to take over weights from.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where this run stopped.")] = False,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a detector."""
    from napari_uld.detectors.specs.recipe import load_recipe
    from napari_uld.inference.catalogue import find_checkpoint
    from napari_uld.training.loop import TrainingOptions, training_notes
    from napari_uld.training.loop import train as run

    loaded = load_recipe(recipe, small=small)
    folder = out or Path("runs") / (loaded.method.name + ("_small" if small else ""))
    start = find_checkpoint(init) if init else None
    options = TrainingOptions(data=data, out=folder, init=start, resume=resume, device=device, seed=seed)
    checkpoint = _follow(run(loaded, options))
    for note in training_notes(folder):
        console.print(f"[yellow]{note}[/yellow]")
    console.print(f"The best epoch's checkpoint is {checkpoint}; the log is {folder / 'log.jsonl'}")


@app.command()
def evaluate(
    subject: Annotated[str, typer.Argument(help="A checkpoint (file or bundled name), or a .findings.json file.")],
    data: Data,
    split: SplitName = "test",
    annotated: Annotated[
        bool, typer.Option("--annotated", help="Score phantoms by DL_info.csv alone, not by the whole truth.")
    ] = False,
    count_negatives: Annotated[
        bool, typer.Option("--count-negatives", help="Count detections of the false-positive class as lesions (+FP).")
    ] = False,
    rates: Annotated[
        str, typer.Option(help="False positives per image to read sensitivity at, and to average over.")
    ] = "0.5,1,2,4",
    device: Device = "auto",
    out: JsonFile = None,
) -> None:
    """Sensitivity at mean numbers of false positives per image, with 95% bootstrap intervals, and average precision."""
    from napari_uld.training.evaluate import evaluate_subject

    evaluation = _follow(
        evaluate_subject(
            subject,
            data,
            split,
            annotated=annotated,
            count_negatives=count_negatives,
            rates=_positive_numbers(rates, "--rates"),
            device=device,
        )
    )
    columns = [f"{rate:g} FP" for rate in evaluation.curve.rates] + ["average"]
    values = [*evaluation.curve.values, evaluation.curve.average]
    cells = [f"{v:.3f} [{a:.3f}, {b:.3f}]" for v, a, b in zip(values, evaluation.low, evaluation.high, strict=True)]
    scores = [f"{score:.3f}" if 0 <= score <= 1 else "-" for score in evaluation.curve.scores] + [""]
    title = f"{subject}: {evaluation.lesions} lesions on {evaluation.images} images of {evaluation.patients} patients"
    sensitivity = {"": "sensitivity"} | dict(zip(columns, cells, strict=True)) | {"AP": f"{evaluation.ap:.3f}"}
    _print_table(title, [sensitivity, {"": "from a score of"} | dict(zip(columns, scores, strict=True)) | {"AP": ""}])
    _write_json(out, evaluation.to_dict())


@app.command()
def positives(
    boxes: Annotated[Path, typer.Argument(help="A COCO JSON file of lesion boxes.")],
    plot: Annotated[Path | None, typer.Option(callback=_writable, help="Draw the histograms into this PNG.")] = None,
    out: JsonFile = None,
) -> None:
    """How many anchors are positive for each box: by IoU, by BM's lower IoU and by BMC."""
    from napari_uld.training.data.coco import read_coco
    from napari_uld.training.reports.positives import count_positives, plot_positives

    report = _follow(count_positives(read_coco(boxes)))
    title = f"{boxes.name}: positive anchors of {report.boxes} boxes"
    _print_table(title, [count.of_boxes() for count in report.rules])
    histograms = [{"rule, stride": f"{count.rule}, {count.stride}"} | count.histogram() for count in report.rules]
    _print_table("Boxes by their number of positive anchors, %", histograms)
    _print_table(f"Positive anchors of {report.images} images", [count.of_images() for count in report.rules])
    _print_table("Cells of an image that its bounding map fills", [count.summary() for count in report.cells])
    if plot is not None:
        plot_positives(report, plot)
    _write_json(out, report.to_dict())


@app.command()
def anchors(
    data: Annotated[Path, typer.Argument(help="A COCO JSON file of lesion boxes, or a folder in DeepLesion's layout.")],
    split: Annotated[str, typer.Option(help="Of a folder: train, val, test or all.")] = "val",
    scales: Annotated[tuple[float, float], typer.Option(metavar="LOW HIGH", help="Bounds of the scales.")] = (0.4, 1.6),
    ratios: Annotated[
        tuple[float, float] | None,
        typer.Option(metavar="LOW HIGH", help="Bounds of both ratios; default 1 to 2 and 2 to 4."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    exact: Annotated[bool, typer.Option("--exact", help="Search on all boxes, not on bins of similar ones.")] = False,
    plus_one: Annotated[
        bool, typer.Option("--plus-one", help="Count a pixel more along every side, as older code does.")
    ] = False,
    toml: Annotated[
        Path | None, typer.Option(callback=_writable, help="Write the found set into this file, for a recipe.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(callback=_writable, help="Draw boxes and anchors into this PNG.")] = None,
    out: JsonFile = None,
) -> None:
    """Search the anchors that fit lesion boxes best; compare them with the default and the published ones."""
    from napari_uld.training.anchor_search import SIZES, SearchBounds, read_box_sizes, search_anchors
    from napari_uld.training.reports.anchors import plot_anchors, recipe_fragment, report_anchors

    bounds = SearchBounds(scales, (ratios, ratios)) if ratios else SearchBounds(scales)
    sizes = read_box_sizes(data, split)
    found = search_anchors(sizes, bounds, seed=seed, exact=exact, plus_one=plus_one)
    report = report_anchors(sizes, found, plus_one=plus_one)
    _print_table(f"Anchors of {' '.join(f'{size:g}' for size in SIZES)} px", [fit.of_anchors() for fit in report.fits])
    title = f"{data.name}: IoU of {len(sizes):,} boxes with their best anchors"
    _print_table(title, [fit.of_boxes() for fit in report.fits])
    console.print(report.search)
    if toml is not None:
        command = shlex.join(["napari-uld", *sys.argv[1:]])
        toml.write_text(recipe_fragment(report, data.name, command), encoding="utf-8")
    if plot is not None:
        plot_anchors(report, plot)
    _write_json(out, report.to_dict())


@app.command()
def info(
    subject: Annotated[str, typer.Argument(help="A recipe or a checkpoint: a name or a file.")],
    small: Annotated[bool, typer.Option("--small", help="The recipe's small version.")] = False,
    out: JsonFile = None,
) -> None:
    """What a recipe or a checkpoint is made of, and what it reached."""
    from napari_uld.training.reports.description import describe

    description = describe(subject, small=small)
    _print_table(description["title"], description["rows"])
    _write_json(out, description)


@app.command()
def recipes(out: JsonFile = None) -> None:
    """The recipes that come with the package."""
    from napari_uld.detectors.specs.recipe import load_recipe, recipe_names

    rows = []
    for name in recipe_names():
        method = load_recipe(name).method
        published = "  ".join(f"{value:g}" for value in method.published.values())
        rows.append({"recipe": name, "system": method.title, "published, %": published, "paper": method.paper})
    _print_table("Recipes (sensitivity at .5, 1, 2, 4 and some at 8 and 16 FP per image as published)", rows)
    _write_json(out, rows)


@app.command()
def experiments(
    name: Annotated[str | None, typer.Argument(help="Which one; default all.")] = None,
    root: Annotated[Path, typer.Option(help="Folder of the runs.")] = Path("runs/experiments"),
    phantoms: Annotated[Path, typer.Option(help="Folder with the sets train and test.")] = Path("runs/phantoms"),
    seeds: Annotated[str | None, typer.Option(help="0,1; default each experiment's own.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Label of a row; may be given again.")] = None,
    device: Device = "auto",
    listed: Annotated[bool, typer.Option("--list", help="Tell how far each run is; train nothing.")] = False,
    timing: Annotated[
        bool, typer.Option("--timing", help="Measure inference of what is trained; train nothing.")
    ] = False,
    tables: Annotated[
        Path | None,
        typer.Option(callback=_writable, help="Write the tables of what is trained into this file; train nothing."),
    ] = None,
) -> None:
    """Train and score the recipes that the tables compare, going on where it stopped; several may run side by side."""
    from napari_uld.training.reports.experiment_list import select
    from napari_uld.training.reports.experiments import Place, State, run_all, survey, time_all
    from napari_uld.training.reports.tables import write_tables

    chosen = select(name, only, seeds)
    place = Place(root, phantoms, device)
    if timing:
        _follow(time_all(chosen, place))
    if tables is not None:
        write_tables(tables, chosen, place)
    if timing or tables is not None:
        return
    outcomes = survey(chosen, place) if listed else _follow(run_all(chosen, place))
    _print_table("Experiments", [asdict(outcome) for outcome in outcomes])
    if not listed and any(outcome.state is State.FAILED for outcome in outcomes):
        raise typer.Exit(1)


def _check_window() -> None:
    """Say what is missing before Qt ends the program without a word."""
    if not any(importlib.util.find_spec(name) for name in ("PyQt6", "PySide6", "PyQt5", "PySide2")):
        raise UldError('There is no Qt for a window: pip install "napari-uld[qt]"')
    if sys.platform.startswith("linux") and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        raise UldError(
            "There is no display: run it under a virtual one (xvfb-run -a napari-uld demo --screenshot x.png)"
        )


def _follow(work: Work[Result]) -> Result:
    """Run long work under a progress bar."""
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
    with ProgressBar(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=None)

        def show(step: Progress) -> None:
            bar.update(task, description=step.message, completed=step.done, total=step.total or None)

        return finish(work, show)


def _print_table(title: str, rows: list[dict[str, Any]]) -> None:
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


def _write_json(path: Path | None, content: Any) -> None:
    if path is not None:
        path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
