"""How well anchors fit a data set's boxes: found ones, RetinaNet's default and the published ones.

Every figure is exact, over all boxes; see `training.anchor_search` for the search and what its IoU is.
"""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from ..anchor_search import IMAGE_SIDE, PUBLISHED, PUBLISHED_SQUARED, RETINANET, AnchorSet, Found, best_ious

PERCENTILES = (5, 25, 50)
# What anchor-based detectors commonly ask of a positive anchor.
POSITIVE_IOU = 0.5
# Bins across the plot.
GRID = 60
# Of the found and of the default anchors: two of Okabe and Ito's colours, which remain different to people who
# confuse red and green; the marks differ in shape too.
MARKS = (("o", "#e69f00"), ("^", "#0072b2"))


@dataclass(frozen=True, eq=False)
class AnchorFit:
    """How one set of anchors fits.

    Parameters
    ----------
    name
        For a table's row.
    anchors
        The set.
    ious
        (boxes,) IoU of each box with its best anchor.
    """

    name: str
    anchors: AnchorSet
    ious: np.ndarray

    def of_anchors(self) -> dict[str, str]:
        """What the set is made of, for a table's row."""
        return {
            "anchors": self.name,
            "scales": _listed(self.anchors.scales),
            "ratios (height / width)": _listed(self.anchors.ratios),
        }

    @property
    def mean(self) -> float:
        """Mean best IoU."""
        return float(self.ious.mean())

    def of_boxes(self) -> dict[str, Any]:
        """How good the best IoUs are, for a table's row and for JSON."""
        percentiles = np.percentile(self.ious, PERCENTILES)
        return {
            "anchors": self.name,
            "mean": round(self.mean, 4),
            "min": round(float(self.ious.min()), 3),
            **{f"{which}%": round(float(value), 3) for which, value in zip(PERCENTILES, percentiles, strict=True)},
            f"< {POSITIVE_IOU}, %": round(100 * float((self.ious < POSITIVE_IOU).mean()), 2),
        }


@dataclass(frozen=True, eq=False)
class AnchorReport:
    """The whole report.

    Parameters
    ----------
    sizes
        (boxes, 2) widths and heights at 512 pixels.
    found
        The search's result.
    fits
        The found set first.
    """

    sizes: np.ndarray
    found: Found
    fits: tuple[AnchorFit, ...]

    @property
    def search(self) -> str:
        """What the search did, in a sentence."""
        found = self.found
        return (
            f"Searched in {found.seconds:.2f} s: {found.evaluations:,} anchor sets on {found.bins:,} bins of "
            f"{len(self.sizes):,} boxes. Mean best IoU of the best one: {found.objective:.4f} on the bins, "
            f"{self.fits[0].mean:.4f} on all boxes"
        )

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON."""
        found = self.found
        return {
            "boxes": len(self.sizes),
            "search": {
                "bins": found.bins,
                "evaluations": found.evaluations,
                "generations": found.generations,
                "seconds": round(found.seconds, 3),
                "mean_on_bins": round(found.objective, 4),
            },
            "best_iou": [{**asdict(fit.anchors), **fit.of_boxes()} for fit in self.fits],
        }


def report_anchors(sizes: np.ndarray, found: Found, *, plus_one: bool = False) -> AnchorReport:
    """Compare what a search found for these box sizes with the sets that are known."""
    sets = {
        "found": found.anchors,
        "RetinaNet's default": RETINANET,
        "published, as h/w": PUBLISHED,
        "published, as (h/w)^2": PUBLISHED_SQUARED,
    }
    fits = (
        AnchorFit(name, anchors, best_ious(sizes, anchors.shapes(), plus_one=plus_one))
        for name, anchors in sets.items()
    )
    return AnchorReport(sizes, found, tuple(fits))


def recipe_fragment(report: AnchorReport, source: str, command: str) -> str:
    """Write the found set as a recipe's table in TOML.

    Parameters
    ----------
    source, command
        Name of the data and the command line, for its comment.
    """
    anchors = report.found.anchors
    origin = f"{len(report.sizes):,} boxes of {source}: mean best IoU {report.fits[0].mean:.4f}, by {command}"
    return (
        # Paths may hold what a comment in TOML must not.
        f"# {''.join(letter if letter.isprintable() else '?' for letter in origin)}\n"
        "[detector]\n"
        f"anchor_sizes = {_array(anchors.sizes)}\n"
        f"anchor_scales = {_array(anchors.scales)}\n"
        "# Height / width.\n"
        f"anchor_ratios = {_array(anchors.ratios)}\n"
    )


def plot_anchors(report: AnchorReport, path: Path) -> None:
    """Draw the boxes' widths and heights as a density with found and default anchors over them, as a PNG."""
    figure = Figure(figsize=(7.5, 6.5), layout="constrained")
    axes = figure.subplots()
    low, high = report.sizes.min() / 1.3, max(report.sizes.max() * 1.3, 2 * report.sizes.min())
    widths, heights = report.sizes.T
    extent = (np.log10(low), np.log10(high)) * 2
    # Grey begins below 1: a single box would be white on white.
    boxes = axes.hexbin(
        widths,
        heights,
        xscale="log",
        yscale="log",
        gridsize=GRID,
        extent=extent,
        mincnt=1,
        norm=LogNorm(vmin=0.3),
        cmap="Greys",
    )
    figure.colorbar(boxes, ax=axes, label="boxes in a hexagon", format="%g")
    for fit, (marker, colour) in zip(report.fits, MARKS, strict=False):
        label = f"{fit.name}: mean best IoU {fit.mean:.3f}"
        across, down = fit.anchors.shapes().T
        axes.scatter(across, down, s=44, marker=marker, color=colour, edgecolors="white", linewidths=0.8, label=label)
    ticks = [tick for tick in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512) if low <= tick <= high]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, [str(tick) for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.set(xlim=(low, high), ylim=(low, high), aspect="equal")
    axes.set(xlabel=f"width, px of a {IMAGE_SIDE}-px input", ylabel=f"height, px of a {IMAGE_SIDE}-px input")
    axes.set_title(f"{len(report.sizes):,} boxes and the anchors for them")
    axes.legend(loc="upper left")
    # Without the library's version in it, the same boxes give the same file.
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


def _listed(values: tuple[float, ...]) -> str:
    return " ".join(f"{value:.3g}" for value in values)


def _array(values: tuple[float, ...]) -> str:
    """TOML's array of floats: Python's shortest text of each."""
    return f"[{', '.join(str(float(value)) for value in values)}]"
