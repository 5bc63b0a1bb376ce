"""What was reached by a protocol as tables, and as a report: Markdown, CSV, JSON and the FROC curve."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from napari_uld.files import replace_file

from ..scoring import Difference, Evaluation, Part
from .formats import markdown, short
from .plots import COLOURS, DASHES
from .results import write_json

# What a report's folder holds.
NAMES = ("report.md", "report.csv", "report.json", "froc.png")
# Points of a curve that is drawn.
POINTS = 500
# Whose sensitivities stand in one table.
Reached = dict[str, Evaluation]


def tables(reached: Reached, found: Difference | None) -> list[tuple[str, list[dict[str, str]]]]:
    """Titles and rows: of each detector, by size and by type where they are known, and of the difference."""
    told = []
    for subject, evaluation in reached.items():
        told.append((headline(subject, evaluation), rate_rows(evaluation)))
        for title, parts in (("By long diameter", evaluation.by_size), ("By type", evaluation.by_type)):
            if parts:
                per = evaluation.judging.counts.removesuffix("s")
                told.append((f"{title} (lesions), at false positives per {per}", part_rows(evaluation, parts)))
    if found is not None:
        subject, other = reached
        told.append((f"{subject} less {other}", difference_rows(reached[subject], found)))
    return told


def headline(subject: str, evaluation: Evaluation) -> str:
    """What was scored, and on how much."""
    free = f", {evaluation.lesion_free:,} of them without a lesion" if evaluation.lesion_free else ""
    said = f"; {evaluation.boxes}" if evaluation.boxes else ""
    return (
        f"{subject}: {evaluation.lesions} lesions on {evaluation.images} {evaluation.judging.counts}{free} of "
        f"{evaluation.patients} patients; {evaluation.judging.measure} from {evaluation.judging.threshold:g} on{said}"
    )


def rate_rows(evaluation: Evaluation) -> list[dict[str, str]]:
    """Sensitivity at each rate with its interval and what stands behind it; then the average, and AP."""
    curve = evaluation.curve
    rows = []
    for place, rate in enumerate(curve.rates):
        score = curve.scores[place]
        counts = curve.found[place], curve.false[place], curve.missed[place]
        values = _with_interval(curve.values[place], evaluation.low[place], evaluation.high[place])
        rows.append(_row(f"{rate:g} FP", values, f"{score:.3f}" if np.isfinite(score) else "-", counts))
    rows.append(_row("average", _with_interval(curve.average, evaluation.low[-1], evaluation.high[-1])))
    if evaluation.coco is None:
        return [*rows, _row("AP", _with_interval(evaluation.ap, *evaluation.ap_interval))]
    named = {"AP": evaluation.coco.ap, "AP50": evaluation.coco.ap50, "AP75": evaluation.coco.ap75}
    return [*rows, *(_row(name, f"{value:.3f}") for name, value in named.items())]


def part_rows(evaluation: Evaluation, parts: dict[str, Part]) -> list[dict[str, str]]:
    """Sensitivity to some of the lesions each: at every rate, on average, and at the rate that the papers give."""
    rate = evaluation.judging.bins.rate
    rows = []
    for name, part in parts.items():
        columns = {f"{r:g}": f"{v:.3f}" for r, v in zip(part.curve.rates, part.curve.values, strict=True)}
        columns.setdefault(f"{rate:g}", f"{part.at_bins_rate:.3f}")
        rows.append({"": f"{name} ({part.lesions:,})", **columns, "average": f"{part.curve.average:.3f}"})
    return rows


def difference_rows(evaluation: Evaluation, found: Difference) -> list[dict[str, str]]:
    """How much better it is than another, with 95% intervals of a bootstrap over the same patients."""
    names = [*(f"{rate:g} FP" for rate in evaluation.curve.rates), "average", "AP"]
    return [
        {"": name, "difference": f"{value:+.3f} [{low:+.3f}, {high:+.3f}]"}
        for name, value, low, high in zip(names, found.values, found.low, found.high, strict=True)
    ]


def to_dict(evaluation: Evaluation, other: Evaluation | None, found: Difference | None) -> dict[str, Any]:
    """Plain numbers of one, or of one and what it was compared with, for JSON."""
    content = evaluation.to_dict()
    if other is not None and found is not None:
        content |= {"against": other.to_dict(), "difference": found.to_dict()}
    return content


def write_report(folder: Path, reached: Reached, found: Difference | None) -> None:
    """Write the report of one detector, or of one and another that it is compared with, into a folder.

    Parameters
    ----------
    folder
        Is made where it is not there; its own folder must be.
    reached
        By name: the detector's first.
    """
    folder.mkdir(exist_ok=True)
    (subject, ours), *others = reached.items()
    text = "\n\n".join(f"## {title}\n\n{markdown(rows)}" for title, rows in tables(reached, found))
    text += "".join(f"\n\n{each.left_out}" for each in reached.values() if each.left_out)
    text += "\n\n![FROC](froc.png)\n"
    table = _csv(reached)
    replace_file(folder / NAMES[0], lambda partial: partial.write_text(text, encoding="utf-8"))
    replace_file(folder / NAMES[1], lambda partial: partial.write_text(table, encoding="utf-8"))
    write_json(folder / NAMES[2], {"subject": subject} | to_dict(ours, others[0][1] if others else None, found))
    draw_froc(folder / NAMES[3], reached)


def draw_froc(path: Path, reached: Reached) -> None:
    """Draw the FROC curves between the lowest and the highest rate, with intervals where sensitivity was read."""
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.subplots()
    for place, (name, each) in enumerate(reached.items()):
        colour = COLOURS[place % len(COLOURS)]
        rates = np.asarray(each.curve.rates)
        grid = np.geomspace(rates.min() / 1.5, rates.max() * 1.5, POINTS)
        axes.plot(
            grid,
            np.interp(grid, each.curve.fp_per_image, each.curve.sensitivity),
            DASHES[place % len(DASHES)],
            color=colour,
            linewidth=1.6,
            label=f"{short(each.curve.average)}  {name}",
        )
        values = each.curve.values
        spread = np.maximum([values - each.low[:-1], each.high[:-1] - values], 0)
        axes.errorbar(rates, values, yerr=spread, fmt="o", color=colour, markersize=3, linewidth=1)
    one = next(iter(reached.values()))
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.set(xlabel=f"false positives per {one.judging.counts[:-1]}", ylabel="sensitivity", ylim=(0, 1.02))
    axes.grid(alpha=0.3)
    axes.legend(loc="lower right", fontsize="small", frameon=False, title=f"average, {one.judging.measure}")
    # Without the library's version in it, the same results give the same file.
    figure.savefig(path, format="png", dpi=100, metadata={"Software": None})


def _csv(reached: Reached) -> str:
    """A row a detector, part of the lesions and rate."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["subject", "lesions", "of", "fp", "sensitivity", "low", "high", "score", "tp", "fp_count", "fn"])
    for name, each in reached.items():
        curve = each.curve
        columns = curve.rates, curve.values, each.low, each.high, curve.scores, curve.found, curve.false, curve.missed
        for rate, value, low, high, score, found, false, missed in zip(*columns, strict=False):
            behind = [f"{score:g}", int(found), int(false), int(missed)]
            writer.writerow([name, "all", each.lesions, rate, f"{value:.4f}", f"{low:.4f}", f"{high:.4f}", *behind])
        for part_name, part in (each.by_size | each.by_type).items():
            for rate, value in zip(part.curve.rates, part.curve.values, strict=True):
                writer.writerow([name, part_name, part.lesions, rate, f"{value:.4f}", *[""] * 6])
        writer.writerow(
            [name, "all", each.lesions, "AP", f"{each.ap:.4f}", *(f"{v:.4f}" for v in each.ap_interval), *[""] * 4]
        )
    return file.getvalue()


def _row(name: str, value: str, score: str = "", counts: Sequence[float] = ()) -> dict[str, str]:
    behind = [f"{int(count)}" for count in counts] or [""] * 3
    columns = dict(zip(("TP", "FP", "FN"), behind, strict=True))
    return {"": name, "sensitivity": value, "from a score of": score, **columns}


def _with_interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]"
