"""The experiments' FROC curves as the papers have them, from what their runs left; PNGs for docs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from napari_uld.evaluation.by_size import of_lesions, size_bins
from napari_uld.evaluation.froc import FP_RATES, froc
from napari_uld.progress import Progress, Work

from .formats import short
from .planning import Experiment, Place, Plot
from .results import Result
from .tables import collect_all

# Okabe and Ito's colours, which the colour-blind tell apart; their yellow is too light for a line on white.
COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
# Rows that coincide are seen in turn. With seven colours fourteen rows differ.
DASHES = ("-", "--")
# Of false positives per image: where curves begin, and where they end unless a plot asks for their ceilings.
FIRST_RATE, LAST_RATE = 0.125, 16.0
# Points of a curve between a rate and its double.
POINTS_AN_OCTAVE = 16


def write_plots(folder: Path, experiments: Sequence[Experiment], place: Place) -> Work[dict[Path, list[str]]]:
    """Draw every plot of the experiments of which a row is finished, each into a PNG of its name.

    Returns
    -------
    dict of Path to list of str
        The files, and the labels of the rows that each lacks because they are not finished.

    Raises
    ------
    DataError
        If no row of any is finished.
    """
    collected = collect_all(experiments, place)
    folder.mkdir(exist_ok=True)
    drawn: dict[Path, list[str]] = {}
    for experiment, results, _ in collected:
        for plot in experiment.plots:
            asked = {label: each for label, each in results.items() if plot.rows is None or label in plot.rows}
            if any(asked.values()):
                path = folder / f"{plot.name or experiment.name}.png"
                yield Progress(len(drawn), 0, f"Drawing {path.name}")
                title = f"{experiment.title}: {plot.name}" if plot.name else experiment.title
                draw_plot(path, title, plot, {label: list(each.values()) for label, each in asked.items() if each})
                drawn[path] = [label for label, each in asked.items() if not each]
    return drawn


def draw_plot(path: Path, title: str, plot: Plot, shown: dict[str, list[Result]]) -> None:
    """Draw one plot as a PNG: curves, and sensitivity by size beside them where it asks for that.

    Parameters
    ----------
    shown
        By row label, in the table's order: the row's results, one a seed.
    """
    figure = Figure(figsize=(8.2 if plot.size_rate is None else 11, 4.2), layout="constrained")
    panels = figure.subplots(1, 1 if plot.size_rate is None else 2, squeeze=False)[0]
    _draw_curves(panels[0], plot, shown)
    panels[0].set_title(title)
    if plot.size_rate is not None:
        _draw_sizes(panels[1], plot.size_rate, shown)
    # Without the library's version in it, the same results give the same file.
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


def mean_curve(results: Sequence[Result], rates: Sequence[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sensitivity at each of `rates`: (rates,) the seeds' mean, the lowest seed's and the highest seed's."""
    values = np.asarray([froc(result.matches, rates).values for result in results])
    return values.mean(axis=0), values.min(axis=0), values.max(axis=0)


def size_sensitivities(results: Sequence[Result], rate: float) -> np.ndarray:
    """(seeds, bins) sensitivity to the lesions of each size at `rate` false positives per image."""
    return np.asarray(
        [
            [
                froc(of_lesions(result.matches, chosen), [rate]).values[0]
                for chosen in size_bins(result.diameters).values()
            ]
            for result in results
        ]
    )


def _draw_curves(axes: Axes, plot: Plot, shown: dict[str, list[Result]]) -> None:
    """A line a row, best average first in the legend, within a band from the lowest to the highest seed."""
    averages = {label: float(np.mean([each.curve.average for each in results])) for label, results in shown.items()}
    farthest = 0.0
    for label in sorted(shown, key=lambda label: -averages[label]):
        colour, dashes = _style(shown, label)
        # Where the last seed's detections end, so does the mean: there it is the mean of the ceilings.
        end = max(float(result.curve.fp_per_image[-1]) for result in shown[label])
        end = max(end if plot.ceilings else min(end, LAST_RATE), 2 * FIRST_RATE)
        rates = np.geomspace(FIRST_RATE, end, int(np.log2(end / FIRST_RATE) * POINTS_AN_OCTAVE))
        mean, low, high = mean_curve(shown[label], rates.tolist())
        name = f"{short(averages[label])}  {label}"
        if plot.ceilings:
            axes.plot(end, mean[-1], "o", color=colour, markersize=5)
            name += f" (ceiling {short(mean[-1])})"
        axes.plot(rates, mean, dashes, color=colour, linewidth=1.6, label=name, zorder=2 + DASHES.index(dashes))
        axes.fill_between(rates, low, high, color=colour, alpha=0.13, linewidth=0)
        farthest = max(farthest, end)
    axes.set_xscale("log", base=2)
    axes.set_xlim(FIRST_RATE, farthest * (1.15 if plot.ceilings else 1))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel="false positives per image", ylabel="sensitivity", ylim=(0, 1))
    axes.grid(alpha=0.3)
    axes.figure.legend(
        loc="outside right upper",
        title=f"average at {FP_RATES[0]:g}-{FP_RATES[-1]:g} FP\nline: mean of the seeds\nband: lowest to highest",
        alignment="left",
        fontsize="small",
        title_fontsize="small",
        frameon=False,
    )


def _draw_sizes(axes: Axes, rate: float, shown: dict[str, list[Result]]) -> None:
    """A group of bars a size, a bar a row, with a line from the lowest to the highest seed."""
    diameters = next(iter(shown.values()))[0].diameters
    bins = {name: sum(int(each.sum()) for each in chosen) for name, chosen in size_bins(diameters).items()}
    width = 0.8 / len(shown)
    for order, (label, results) in enumerate(shown.items()):
        values = size_sensitivities(results, rate)
        mean = values.mean(axis=0)
        place = np.arange(len(bins)) + (order - (len(shown) - 1) / 2) * width
        axes.bar(place, mean, width * 0.92, color=_style(shown, label)[0], alpha=0.8)
        axes.vlines(place, values.min(axis=0), values.max(axis=0), color="black", linewidth=1)
        for x, y, top in zip(place, mean, values.max(axis=0), strict=True):
            axes.annotate(short(y), (x, top), (0, 2), textcoords="offset points", ha="center", fontsize="x-small")
    axes.set_xticks(range(len(bins)), [f"{name}\n{number:,} lesions" for name, number in bins.items()])
    axes.set(title=f"By long diameter, at {rate:g} FP per image", ylabel="sensitivity", ylim=(0, 1))
    axes.grid(axis="y", alpha=0.3)
    axes.set_axisbelow(True)


def _style(shown: dict[str, list[Result]], label: str) -> tuple[str, str]:
    """Colour and dashes of a row, by its place in the table."""
    place = list(shown).index(label)
    return COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
