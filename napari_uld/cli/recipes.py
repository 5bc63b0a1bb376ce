"""What systems are made of: anchors, info and recipes."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from napari_uld.cli.common import Bundled, JsonFile, Small, print_table, say, version_of, writable, write_json
from napari_uld.files import replace_file

# Papers that count false positives by image begin at this rate; those that count by volume below it.
FIRST_PER_IMAGE = 0.5


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
        Path | None, typer.Option(callback=writable, help="Write the found set into this file, for a recipe.")
    ] = None,
    plot: Annotated[Path | None, typer.Option(callback=writable, help="Draw boxes and anchors into this PNG.")] = None,
    out: JsonFile = None,
) -> None:
    """Search the anchors that fit lesion boxes best; compare them with the default and the published ones."""
    from napari_uld.training.anchor_search import SIZES, SearchBounds, read_box_sizes, search_anchors
    from napari_uld.training.reports.anchors import plot_anchors, recipe_fragment, report_anchors

    bounds = SearchBounds(scales, (ratios, ratios)) if ratios else SearchBounds(scales)
    sizes = read_box_sizes(data, split)
    found = search_anchors(sizes, bounds, seed=seed, exact=exact, plus_one=plus_one)
    report = report_anchors(sizes, found, plus_one=plus_one)
    write_json(out, report.to_dict())
    if toml is not None:
        command = shlex.join(["napari-uld", *sys.argv[1:]])
        fragment = recipe_fragment(report, data.name, command).encode("utf-8", "backslashreplace")
        replace_file(toml, lambda partial: partial.write_bytes(fragment))
    if plot is not None:
        plot_anchors(report, plot)
    print_table(f"Anchors of {' '.join(f'{size:g}' for size in SIZES)} px", [fit.of_anchors() for fit in report.fits])
    title = f"{data.name}: IoU of {len(sizes):,} boxes with their best anchors"
    print_table(title, [fit.of_boxes() for fit in report.fits])
    say(report.search)


def info(
    subject: Annotated[str, typer.Argument(help="A recipe or a checkpoint: a name or a file.")],
    small: Small = False,
    bundled: Bundled = False,
    out: JsonFile = None,
) -> None:
    """What a recipe or a checkpoint is made of, and what it reached."""
    from napari_uld.training.reports.description import describe

    description = describe(subject, version_of(small, bundled))
    write_json(out, description)
    print_table(description["title"], description["rows"])


def recipes(out: JsonFile = None) -> None:
    """The recipes that come with the package, paper by paper."""
    from napari_uld.detectors.specs.recipe import load_recipe, recipe_names

    rows = []
    for name in recipe_names():
        method = load_recipe(name).method
        published = "  ".join(f"{value:g}" for value in method.published.values())
        rates = [float(rate) for rate in method.published]
        if rates and rates[0] < FIRST_PER_IMAGE:
            published += f"  ({f'{rates[0]:g}'.removeprefix('0')} to {rates[-1]:g} per volume)"
        rows.append({"recipe": name, "system": method.title, "published, %": published, "paper": method.paper})
    write_json(out, rows)
    for paper in sorted({row["paper"] for row in rows}):
        print_table(paper, [{k: v for k, v in row.items() if k != "paper"} for row in rows if row["paper"] == paper])
    say("Published: sensitivity at .5, 1, 2, 4 and some at 8 and 16 false positives per image.")
