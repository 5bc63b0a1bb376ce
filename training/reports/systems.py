"""Every system in one table and one picture: its parts, its published row, what its small version reaches and costs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import Recipe, load_recipe, recipe_names
from napari_uld.errors import UldError
from napari_uld.evaluation.froc import FP_RATES
from napari_uld.files import replace_file
from napari_uld.progress import Progress, Work

from ..data.sub_volumes import sub_volumes
from .formats import markdown, short
from .planning import Budget, Experiment, Place, Row, Run, State, plan
from .plots import COLOURS, DASHES, FIRST_RATE, LAST_RATE, mean_curve
from .results import Result
from .system_costs import Cost, costs_of

# Where a table's picture lies: beside it.
PICTURE = "systems.png"
COLUMNS, POINTS = 2, 80
LEGEND_COLUMNS = 3
# A paper has more than fourteen systems.
STYLES = (*DASHES, ":")


@dataclass(frozen=True)
class Reached:
    """What a small version reached on the test phantoms.

    Parameters
    ----------
    on_slices
        Results on key slices, one a seed.
    in_scans
        Those in whole scans: by 3D IoU, or traced by P3D IoU.
    trained
        Of how many seeds, and in what its training was another than that of most.
    """

    on_slices: list[Result]
    in_scans: list[Result]
    trained: str = ""


def write_systems(path: Path, experiments: Sequence[Experiment], place: Place) -> Work[None]:
    """Write a table of all recipes, paper by paper, and beside it a picture of their FROC curves.

    Raises
    ------
    UldError
        If there are no test phantoms to measure costs on.
    """
    names = recipe_names()
    yield Progress(0, 0, "Reading what is trained")
    reached = {name: reached_by(name, experiments, place) for name in names}
    scan = sub_volumes(place.phantoms / "test", "all")[0].read()
    costs = yield from costs_of(names, scan)
    recipes = {name: load_recipe(name) for name in names}
    papers = sorted({recipe.method.paper for recipe in recipes.values()})
    parts = ["# Every system", _about(path.name, len(scan.hu))]
    for paper in papers:
        yield Progress(0, 0, f"Counting {paper}")
        of_paper = [name for name in names if recipes[name].method.paper == paper]
        parts += [f"## {paper}", markdown([_row(name, recipes[name], reached[name], costs[name]) for name in of_paper])]
    picture = path.with_name(PICTURE)
    drawn = {paper: {name: reached[name] for name in names if recipes[name].method.paper == paper} for paper in papers}
    draw_systems(picture, drawn)
    parts.append(f"![FROC curves, paper by paper]({PICTURE})")
    replace_file(path, lambda partial: partial.write_text("\n\n".join(parts) + "\n", encoding="utf-8"))


def reached_by(name: str, experiments: Sequence[Experiment], place: Place) -> Reached:
    """What the first experiment that trained a recipe, in its small version, found out about it.

    One that trained it as it is comes before one that let it go on from a trained host, and before one that changed
    what it sees.
    """
    rows = [(each, row) for each in experiments if each.version == "small" for row in each.rows if _is_of(row, name)]
    for experiment, row in sorted(rows, key=lambda found: (bool(found[1].changes), _goes_on(found[1]))):
        runs = [_plan_or_none(experiment, row, seed, place) for seed in experiment.seeds_of(row)]
        finished = [run for run in runs if run is not None and run.state is State.FINISHED]
        if finished:
            results, trained = [run.result() for run in finished], _trained(experiment, row, len(finished))
            if experiment.judging.counts == "volumes":
                return Reached([], results, trained)
            return Reached(results, [run.traced_result() for run in finished] if row.traced else [], trained)
    return Reached([], [])


def _trained(experiment: Experiment, row: Row, seeds: int) -> str:
    """Say of how many seeds it is, and what is peculiar about it."""
    said = [f"{seeds} seed{'s' * (seeds != 1)}"]
    said += [f"with {name} = {value}" for name, value in row.changes.get("input", {}).items()]
    if row.init is not None:
        said.append(f"from `{row.init.label}`")
    patients, _ = experiment.budget.train
    if patients != Budget().train[0]:
        said.append(f"on {patients} other patients")
    return ", ".join(said)


def _plan_or_none(experiment: Experiment, row: Row, seed: int, place: Place) -> Run | None:
    """A row's run, or None where its phantoms are not there."""
    try:
        return plan(experiment, row, seed, place)
    except UldError:
        return None


def _is_of(row: Row, name: str) -> bool:
    """Whether a row is a recipe's, gone on from a trained host or not, and changed in what it sees at most.

    The host itself, for longer, is none.
    """
    longer = row.init is not None and row.init.recipe == name
    return row.recipe == name and row.changes.keys() <= {"input"} and not row.count_negatives and not longer


def _goes_on(row: Row) -> bool:
    """Whether it goes on from a trained row though its recipe does not ask for that: it was trained for longer."""
    return row.init is not None and row.init.recipe != load_recipe(row.recipe, "small").method.init


def _about(name: str, slices: int) -> str:
    return (
        "Paper by paper: the classes that a system is made of (`napari_uld/detectors/`), its sensitivity as published "
        "(per cent, at the paper's own rates, on its own data), and what its small version reaches on the phantoms of "
        "[experiments.md](experiments.md): sensitivity at .5, 1, 2 and 4 false positives per key slice with its "
        f"average at {FP_RATES[0]:g} to {FP_RATES[-1]:g}, and the average per whole scan, by P3D IoU at .125 to 8 or, "
        "of VLD's paper, by 3D IoU at .25 to 2, means over the seeds; what is empty is not trained, or with other "
        "changes than to its input alone. What went on from a trained host had as many steps again: it is no match for "
        "what did not. Time and memory are the small version's with random weights, one thread of a CPU, all systems "
        f"by turns on one scan of {slices} slices: the median of a slice by itself (along a scan, neighbours share "
        "what they see), and the most that tensors held at a time beside the weights, of a system of volumes for the "
        f"whole scan.\n\n```\nnapari-uld experiments --systems docs/{name}\n```"
    )


def _row(name: str, recipe: Recipe, reached: Reached, cost: Cost) -> dict[str, str]:
    small = build_detector(load_recipe(name, "small"))
    with torch.device("meta"):
        published = build_detector(recipe)
    on_slices, in_scans = reached.on_slices, reached.in_scans
    at_rates = [short(v) for v in np.mean([each.curve.values for each in on_slices], axis=0)] if on_slices else []
    return {
        "recipe": f"`{name}`",
        "made of": _made_of(small),
        "published, %": " ".join(f"{value:g}" for value in recipe.method.published.values()),
        "small, per key slice": " ".join(at_rates),
        "average": _average([each.curve.average for each in on_slices]),
        "per scan": _average([each.scan_curve.average for each in in_scans]),
        "trained": reached.trained,
        "parameters": _millions(published),
        "small ones": _millions(small),
        "ms a slice": f"{1000 * cost.seconds:.0f}",
        "MiB": f"{cost.peak / 2**20:.0f}",
    }


def _average(values: Sequence[float]) -> str:
    return short(float(np.mean(values))) if values else ""


def _made_of(model: Any) -> str:
    heads = [part for name, part in model.named_children() if name not in ("encoder", "auxiliary")]
    names = [type(part).__name__ for part in (model.encoder.backbone, model.encoder, *heads)]
    return ", ".join([*names, *model.auxiliary] if hasattr(model, "auxiliary") else names)


def _millions(model: Any) -> str:
    return f"{sum(weight.numel() for weight in model.parameters()) / 1e6:.2f} M"


def draw_systems(path: Path, papers: dict[str, dict[str, Reached]]) -> None:
    """Draw a panel a paper: FROC curves per key slice, or per scan where its systems see none; other papers' in grey.

    Parameters
    ----------
    papers
        By title, then by recipe; what is not trained is left out.
    """
    shown = {paper: {n: r for n, r in of.items() if r.on_slices or r.in_scans} for paper, of in papers.items()}
    shown = {paper: of for paper, of in shown.items() if of}
    rows = -(-len(shown) // COLUMNS)
    figure = Figure(figsize=(11, 4.5 * max(rows, 1)), layout="constrained")
    panels = figure.subplots(max(rows, 1), COLUMNS, squeeze=False).ravel()
    grey = [r.on_slices for of in shown.values() for r in of.values() if r.on_slices]
    for axes, (paper, of) in zip(panels, shown.items(), strict=False):
        if any(r.on_slices for r in of.values()):
            for results in grey:
                _curve(axes, results, "#d8d8d8", "-", None)
        _panel(axes, paper, of)
    for axes in panels[len(shown) :]:
        axes.set_axis_off()
    # Without the library's version in it, the same results give the same file.
    figure.savefig(path, format="png", dpi=90, metadata={"Software": None})


def _panel(axes: Axes, paper: str, of: dict[str, Reached]) -> None:
    by_slice = any(reached.on_slices for reached in of.values())
    for place, (name, reached) in enumerate(of.items()):
        results = reached.on_slices if by_slice else reached.in_scans
        if results:
            style = STYLES[place // len(COLOURS) % len(STYLES)]
            _curve(axes, results, COLOURS[place % len(COLOURS)], style, name)
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    counted = "key slice" if by_slice else "scan"
    axes.set(xlabel=f"false positives per {counted}", ylabel="sensitivity", ylim=(0, 1), xlim=(FIRST_RATE, LAST_RATE))
    axes.set_title(paper, fontsize="small", wrap=True)
    axes.grid(alpha=0.3)
    # Below the axes: of a paper with many systems it would hide curves.
    axes.legend(
        fontsize="x-small",
        frameon=False,
        loc="upper center",
        bbox_to_anchor=(0.5, -0.14),
        ncols=LEGEND_COLUMNS,
        columnspacing=1,
    )


def _curve(axes: Axes, results: list[Result], colour: str, dashes: str, label: str | None) -> None:
    rates = np.geomspace(FIRST_RATE, LAST_RATE, POINTS)
    mean, _, _ = mean_curve(results, rates.tolist())
    axes.plot(rates, mean, dashes, color=colour, linewidth=1.4, label=label, zorder=1 if label is None else 2)
