"""The experiments' tables, from what their runs left; Markdown for docs."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from napari_uld.errors import DataError, UldError
from napari_uld.evaluation.by_size import BINS, size_bins
from napari_uld.evaluation.comparison import fp_at, paired_difference
from napari_uld.evaluation.froc import FP_RATES, froc

from .distance_tables import DISTANCE_ABOUT, distance_rows
from .experiments import TIMING
from .formats import markdown, signed, spread
from .planning import Experiment, Place, Row, State, plan
from .results import Result
from .scan_tables import collect_scans, scan_rows, size_rows, traced_about, volume_section

# The false positives per image at which the host's sensitivity is the one that both must reach.
HOST_RATE = 1.0
# The average's column: of the same rates in every table.
AVERAGE = f"average {FP_RATES[0]:g}-{FP_RATES[-1]:g}"
# By row label, then by seed.
Results = dict[str, dict[int, Result]]
Timings = dict[str, list[float]]


def write_tables(path: Path, experiments: Sequence[Experiment], place: Place) -> None:
    """Write the tables of the experiments into a Markdown file.

    Raises
    ------
    DataError
        If no row of any is finished.
    """
    parts = [part for each in experiments for part in _parts(each, place)]
    if not parts:
        raise _nothing(experiments, place)
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")


def _parts(experiment: Experiment, place: Place) -> list[str]:
    """An experiment's tables, with what stands in them; none where nothing is finished."""
    scans = collect_scans(experiment, place)
    if experiment.judging.counts == "volumes":
        if not any(scans.values()):
            return []
        tables = [markdown(rows(experiment, scans)) for rows in (scan_rows, size_rows)]
        return [volume_section(experiment, scans), *tables]
    results, timings = collect(experiment, place)
    if not any(results.values()):
        return []
    section = experiment_section(experiment, results, timings)
    traced = [traced_about(scans), markdown(scan_rows(experiment, scans))] if any(scans.values()) else []
    apart = [DISTANCE_ABOUT, markdown(distance_rows(results, experiment, place))] if experiment.by_distance else []
    return [section, *traced, *apart]


def _nothing(experiments: Sequence[Experiment], place: Place) -> DataError:
    return DataError(f"{place.root} holds no finished run of {', '.join(e.name for e in experiments)}")


def collect_all(experiments: Sequence[Experiment], place: Place) -> list[tuple[Experiment, Results, Timings]]:
    """What is finished of those experiments on key slices of which anything is (see `collect`).

    Raises
    ------
    DataError
        If no row of any is finished.
    """
    of_slices = [each for each in experiments if each.judging.counts == "images"]
    collected = [(experiment, *collect(experiment, place)) for experiment in of_slices]
    finished = [each for each in collected if any(each[1].values())]
    if not finished:
        raise _nothing(experiments, place)
    return finished


def collect(experiment: Experiment, place: Place) -> tuple[Results, Timings]:
    """What is finished: each row's results by seed, and how many times as long inference with maps takes, by seed."""
    results: Results = {row.label: {} for row in experiment.rows}
    timings: Timings = {row.label: [] for row in experiment.rows}
    for row in experiment.rows:
        for seed in experiment.seeds_of(row):
            try:
                run = plan(experiment, row, seed, place)
            except UldError:
                continue
            if run.state is not State.FINISHED:
                continue
            results[row.label][seed] = run.result()
            branch = getattr(run.spec.recipe.supervision, "roi_branch", "none")
            if branch != "none" and (run.folder / TIMING).is_file():
                seconds = json.loads((run.folder / TIMING).read_bytes())
                timings[row.label].append(seconds["with maps"] / seconds["without maps"])
    return results, timings


def experiment_section(experiment: Experiment, results: Results, timings: Timings) -> str:
    """Title, tables and what they were made from."""
    rows = [row for row in experiment.rows if results[row.label]]
    reached = [_reached(row, results, experiment.rates) for row in rows]
    detail = [_detail(row, results, timings) for row in rows]
    parts = [f"## {experiment.title}", _about(experiment, results), markdown(reached), markdown(detail)]
    if missing := [row.label for row in experiment.rows if not results[row.label]]:
        parts.append(f"Not trained yet: {', '.join(missing)}.")
    return "\n\n".join(parts)


def _about(experiment: Experiment, results: Results) -> str:
    """What stands in the tables, and how to make them again."""
    facts = next(result.facts for by_seed in results.values() for result in by_seed.values())
    train, test = facts["data"]["train"], facts["data"]["test"]
    seeds = sorted({seed for by_seed in results.values() for seed in by_seed})
    command = f"napari-uld experiments {experiment.name}"
    versions = "Small versions," if experiment.version == "small" else "Small versions trained out,"
    return (
        f"{versions} trained on {train['patients']} phantom patients (seed {train['seed']}) and scored on "
        f"{facts['images']} key slices of {test['patients']} others (seed {test['seed']}) against all "
        f"{facts['lesions']:,} lesions that they cut; phantom generator {train['generator_version']}. Sensitivity at "
        f"a mean number of false positives per image: mean over the training seeds {', '.join(map(str, seeds))} "
        "(lowest-highest). Differences are of averages, to the host's row with the same seeds, with the 95% interval "
        "of a paired bootstrap over the test patients. The second table has the average by long diameter (number of "
        "lesions), the sensitivity of all detections together, false positives at the sensitivity that the host has "
        f"at {HOST_RATE:g} per image, and how much longer inference takes when the branch's maps are predicted."
        f"\n\n```\n{command}\n{command} --timing --tables tables.md\n```"
    )


def _reached(row: Row, results: Results, rates: tuple[float, ...]) -> dict[str, str]:
    """A row of the first table: sensitivity, and the difference to the host."""
    by_seed = results[row.label]
    values = np.asarray([[*froc(r.matches, rates).values, r.curve.average] for r in by_seed.values()])
    names = [*(f"{rate:g} FP" for rate in rates), AVERAGE]
    return {
        "system": row.label,
        **{name: spread(values[:, column]) for column, name in enumerate(names)},
        "host": row.host or "",
        "difference": _difference(by_seed, results.get(row.host or "", {})),
        "seeds": ", ".join(map(str, sorted(by_seed))),
    }


def _difference(ours: dict[int, Result], hosts: dict[int, Result]) -> str:
    """Our average less the host's, over the seeds that both have."""
    seeds = sorted(ours.keys() & hosts.keys())
    if not seeds:
        return ""
    if not all(ours[seed].same_images(hosts[seed]) for seed in seeds):
        raise DataError("The runs of a row and of its host were scored on different slices: train them anew")
    mean = float(np.mean([ours[seed].curve.average - hosts[seed].curve.average for seed in seeds]))
    low, high = paired_difference([ours[s].bootstrapped for s in seeds], [hosts[s].bootstrapped for s in seeds])
    return f"{signed(mean)} [{signed(low)}, {signed(high)}]"


def _detail(row: Row, results: Results, timings: Timings) -> dict[str, str]:
    """A row of the second table: sizes, ceiling, false positives at equal sensitivity, what maps cost."""
    by_seed = results[row.label]
    of_row = list(by_seed.values())
    by_size = np.asarray([[curve.average for curve in result.by_size.values()] for result in of_row])
    counts = [sum(int(each.sum()) for each in chosen) for chosen in size_bins(of_row[0].diameters).values()]
    ratios = timings[row.label]
    return {
        "system": row.label,
        **{f"{bin_} ({n:,})": spread(by_size[:, i]) for i, (bin_, n) in enumerate(zip(BINS, counts, strict=True))},
        "ceiling": spread(np.asarray([result.curve.sensitivity[-1] for result in of_row])),
        "FP per image : host's": _equal(by_seed, results.get(row.host or "", {})),
        "with maps": f"{np.mean(ratios):.2f}x" if ratios else "",
    }


def _equal(ours: dict[int, Result], hosts: dict[int, Result]) -> str:
    """False positives per image, ours and the host's, at the sensitivity that the host reaches at `HOST_RATE`."""
    seeds = sorted(ours.keys() & hosts.keys())
    if not seeds:
        return ""
    targets = {seed: float(froc(hosts[seed].matches, [HOST_RATE]).values[0]) for seed in seeds}
    our_fp, host_fp = (np.mean([fp_at(each[s].curve, targets[s]) for s in seeds]) for each in (ours, hosts))
    return f"{our_fp:.2f} : {host_fp:.2f}" if np.isfinite(our_fp) else f"not reached : {host_fp:.2f}"
