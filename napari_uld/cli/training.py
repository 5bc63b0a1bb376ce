"""Making detectors and looking at how they learn: train, experiments and positives."""

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from napari_uld.cli.common import (
    Bundled,
    Data,
    Device,
    JsonFile,
    Small,
    fillable,
    follow,
    print_table,
    say,
    version_of,
    writable,
    writable_folder,
    write_json,
)

if TYPE_CHECKING:
    from napari_uld.lesions.annotations import Source


def train(
    recipe: Annotated[str, typer.Argument(help="A recipe's name or file; see `napari-uld recipes`.")],
    data: Data,
    out: Annotated[Path | None, typer.Option(help="Folder of the run; default runs/<recipe>.")] = None,
    small: Small = False,
    bundled: Bundled = False,
    init: Annotated[str | None, typer.Option(help="Checkpoint to take over weights from.")] = None,
    weights: Annotated[
        Path | None, typer.Option(help="File of ImageNet's weights; default torchvision's cache, or fetched into it.")
    ] = None,
    from_scratch: Annotated[
        bool, typer.Option("--from-scratch", help="Begin with random weights, whatever the recipe says.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where this run stopped.")] = False,
    sources: Annotated[
        str | None,
        typer.Option(
            help="expert,mined,edited: learn from these alone, and from annotation files beside the series; "
            "default all that DL_info.csv lists."
        ),
    ] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Train a detector."""
    from napari_uld.detectors.specs.recipe import load_recipe
    from napari_uld.inference.catalogue import find_checkpoint
    from napari_uld.training.loop import TrainingOptions
    from napari_uld.training.loop import train as run
    from napari_uld.training.run_files import trained_lesions, training_notes

    version = version_of(small, bundled)
    loaded = load_recipe(recipe, version)
    named = Path("runs") / (loaded.method.name + ("" if version == "published" else f"_{version}"))
    folder = fillable(out or named)
    options = TrainingOptions(
        data=data,
        out=folder,
        init=find_checkpoint(init) if init else None,
        weights=weights,
        from_scratch=from_scratch,
        resume=resume,
        device=device,
        seed=seed,
        sources=None if sources is None else _sources(sources),
    )
    checkpoint = follow(run(loaded, options))
    for note in training_notes(folder):
        say(note, "yellow")
    say(f"It learnt from {trained_lesions(folder)}, as {folder / 'log.jsonl'} says; the best epoch is {checkpoint}")


def _sources(text: str) -> "tuple[Source, ...]":
    """Read where lesions shall come from."""
    from napari_uld.lesions.annotations import Source

    asked = [part.strip() for part in text.split(",")]
    unknown = [part for part in asked if part not in list(Source)]
    if unknown:
        raise typer.BadParameter(
            f"give some of {', '.join(Source)} divided by commas; found {', '.join(map(repr, unknown))}",
            param_hint="--sources",
        )
    return tuple(source for source in Source if source in asked)


def positives(
    boxes: Annotated[Path, typer.Argument(help="A COCO JSON file of lesion boxes.")],
    plot: Annotated[Path | None, typer.Option(callback=writable, help="Draw the histograms into this PNG.")] = None,
    out: JsonFile = None,
) -> None:
    """How many anchors are positive for each box: by IoU, by BM's lower IoU and by BMC."""
    from napari_uld.training.data.coco import read_coco
    from napari_uld.training.reports.positives import count_positives, plot_positives

    report = follow(count_positives(read_coco(boxes)))
    write_json(out, report.to_dict())
    if plot is not None:
        plot_positives(report, plot)
    title = f"{boxes.name}: positive anchors of {report.boxes} boxes"
    print_table(title, [count.of_boxes() for count in report.rules])
    histograms = [{"rule, stride": f"{count.rule}, {count.stride}"} | count.histogram() for count in report.rules]
    print_table("Boxes by their number of positive anchors, %", histograms)
    print_table(f"Positive anchors of {report.images} images", [count.of_images() for count in report.rules])
    print_table("Cells of an image that its bounding map fills", [count.summary() for count in report.cells])


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
    renew: Annotated[
        bool, typer.Option("--renew", help="Delete what is stored of another recipe, and train it anew.")
    ] = False,
    tables: Annotated[
        Path | None,
        typer.Option(callback=writable, help="Write the tables of what is trained into this file; train nothing."),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            callback=writable_folder, help="Draw the FROC curves of what is trained into this folder; train nothing."
        ),
    ] = None,
    systems: Annotated[
        Path | None,
        typer.Option(
            callback=writable,
            help="Write a table of every recipe into this file, and a picture beside it; train nothing.",
        ),
    ] = None,
) -> None:
    """Train and score the recipes that the tables compare, going on where it stopped; several may run side by side."""
    from napari_uld.training.reports.experiment_list import select
    from napari_uld.training.reports.experiments import run_all, survey, time_all
    from napari_uld.training.reports.planning import Place, State
    from napari_uld.training.reports.plots import write_plots
    from napari_uld.training.reports.systems import write_systems
    from napari_uld.training.reports.tables import write_tables

    chosen = select(name, only, seeds)
    place = Place(root, phantoms, device)
    if timing:
        follow(time_all(chosen, place))
    if tables is not None:
        write_tables(tables, chosen, place)
    if plots is not None:
        for path, lacking in follow(write_plots(plots, chosen, place)).items():
            say(f"Drawn: {path}" + (f"; not trained yet: {', '.join(lacking)}" if lacking else ""))
    if systems is not None:
        follow(write_systems(systems, chosen, place))
    if timing or any(path is not None for path in (tables, plots, systems)):
        return
    outcomes = survey(chosen, place) if listed else follow(run_all(chosen, place, renew=renew))
    # A sentence about most rows, of phantoms that are not there say, is said once.
    counts = Counter(outcome.note for outcome in outcomes)
    shared = [note for note, count in counts.items() if count > 1 and " " in note]
    rows = [asdict(outcome) | ({"note": ""} if outcome.note in shared else {}) for outcome in outcomes]
    print_table("Experiments", rows)
    for note in shared:
        say(f"{counts[note]} of them: {note}")
    if not listed and any(outcome.state in (State.FAILED, State.STALE) for outcome in outcomes):
        raise typer.Exit(1)
