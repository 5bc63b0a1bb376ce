"""Tables of what rows reach in whole scans: traced, by P3D IoU, or as bodies, by 3D IoU."""

from typing import Any

import numpy as np

from napari_uld.errors import DataError, UldError
from napari_uld.evaluation.comparison import paired_difference

from .formats import signed, spread
from .planning import Experiment, Place, Row, State, plan
from .results import Result

# By row label, then by seed.
ScanResults = dict[str, dict[int, Result]]


def collect_scans(experiment: Experiment, place: Place) -> ScanResults:
    """What is finished of the rows that are scored in whole scans."""
    by_volume = experiment.judging.counts == "volumes"
    results: ScanResults = {row.label: {} for row in experiment.rows if row.traced or by_volume}
    for row in experiment.rows:
        for seed in experiment.seeds_of(row) if row.label in results else ():
            try:
                run = plan(experiment, row, seed, place)
            except UldError:
                continue
            if run.state is State.FINISHED:
                results[row.label][seed] = run.result() if by_volume else run.traced_result()
    return results


def scan_rows(experiment: Experiment, results: ScanResults) -> list[dict[str, str]]:
    """A table's rows: sensitivity per scan, average and AP over the seeds, and the difference to the host's average."""
    return [_row(row, results) for row in experiment.rows if results.get(row.label)]


def size_rows(experiment: Experiment, results: ScanResults) -> list[dict[str, str]]:
    """A table's rows: sensitivity by the lesions' size, in brackets how many there are."""
    rows = []
    for row in experiment.rows:
        if by_seed := results.get(row.label):
            sizes = [result.scan_by_size for result in by_seed.values()]
            reached = {
                f"{name} ({count:,})": spread(np.asarray([each[name][1] for each in sizes])) if count else ""
                for name, (count, _) in sizes[0].items()
            }
            rows.append({"system": row.label, **reached})
    return rows


def traced_about(results: ScanResults) -> str:
    """What stands in the table of traced findings."""
    facts = _facts(results)
    return (
        f"The same traced along z, on all {facts['scans']} test scans: sensitivity over their {facts['lesions']:,} "
        "lesions, each on its largest slice, by P3D IoU of at least .5, at a mean number of false positives per scan; "
        "the average of these and the average precision, means over the training seeds (lowest-highest). Differences "
        "are of averages, to the host's row with the same seeds, with the 95% interval of a paired bootstrap over the "
        "test patients. Boxes have DeepLesion's margin."
    )


def volume_section(experiment: Experiment, results: ScanResults) -> str:
    """Title, and what stands in the tables of bodies."""
    facts, judging = _facts(results), experiment.judging
    train, test = facts["data"]["train"], facts["data"]["test"]
    seeds = sorted({seed for by_seed in results.values() for seed in by_seed})
    phases = f", {experiment.budget.phases} contrast phases each" if experiment.budget.phases > 1 else ""
    command = f"napari-uld experiments {experiment.name}"
    lines = [
        f"## {experiment.title}",
        f"Small versions, trained on {train['patients']} phantom patients (seed {train['seed']}{phases}) and scored on "
        f"the {facts['scans']} whole scans of {test['patients']} others (seed {test['seed']}) against all "
        f"{facts['lesions']:,} lesions in them, by {judging.measure} of at least {judging.threshold:g}; "
        f"{facts['boxes']}, what finds lesions on slices traced by SORT. Sensitivity at a mean number of false "
        "positives per scan, the average of these and the average precision: means over the training seeds "
        f"{', '.join(map(str, seeds))} (lowest-highest). Differences are of averages, to the host's row with the same "
        "seeds, with the 95% interval of a paired bootstrap over the test patients. The second table has the "
        f"sensitivity at {judging.bins.rate:g} false positive per scan by long diameter (number of lesions).",
        f"```\n{command}\n{command} --tables tables.md\n```",
    ]
    if missing := [row.label for row in experiment.rows if not results[row.label]]:
        lines.append(f"Not trained yet: {', '.join(missing)}.")
    return "\n\n".join(lines)


def _facts(results: ScanResults) -> dict[str, Any]:
    return next(result.facts for by_seed in results.values() for result in by_seed.values())


def _row(row: Row, results: ScanResults) -> dict[str, str]:
    by_seed = results[row.label]
    values = np.asarray([[*r.scan_curve.values, r.scan_curve.average, r.scan_ap] for r in by_seed.values()])
    rates = next(iter(by_seed.values())).judging.rates
    names = [*(f"{rate:g} FP" for rate in rates), "average", "AP"]
    hosts = results.get(row.host or "", {})
    seeds = sorted(by_seed.keys() & hosts.keys())
    difference = ""
    if seeds:
        if not all(by_seed[seed].same_images(hosts[seed]) for seed in seeds):
            raise DataError("The runs of a row and of its host were scored in different scans: train them anew")
        mean = float(np.mean([by_seed[s].scan_curve.average - hosts[s].scan_curve.average for s in seeds]))
        ours, theirs = ([each[s].scan_bootstrapped[:, -1] for s in seeds] for each in (by_seed, hosts))
        low, high = paired_difference(ours, theirs)
        difference = f"{signed(mean)} [{signed(low)}, {signed(high)}]"
    return {
        "system": row.label,
        **{name: spread(values[:, column]) for column, name in enumerate(names)},
        "host": row.host or "",
        "difference": difference,
        "seeds": ", ".join(map(str, sorted(by_seed))),
    }
