"""The table of what rows reach traced through whole scans, by P3D IoU."""

import numpy as np

from napari_uld.errors import DataError, UldError
from napari_uld.evaluation.comparison import paired_difference

from ..evaluate import SCAN_RATES
from .formats import signed, spread
from .planning import Experiment, Place, Row, State, plan
from .results import Result

# By row label, then by seed.
TracedResults = dict[str, dict[int, Result]]


def collect_traced(experiment: Experiment, place: Place) -> TracedResults:
    """What is finished of the rows that are traced."""
    results: TracedResults = {row.label: {} for row in experiment.rows if row.traced}
    for row in experiment.rows:
        for seed in experiment.seeds_of(row) if row.traced else ():
            try:
                run = plan(experiment, row, seed, place)
            except UldError:
                continue
            if run.state is State.FINISHED:
                results[row.label][seed] = run.traced_result()
    return results


def traced_rows(experiment: Experiment, results: TracedResults) -> list[dict[str, str]]:
    """A table's rows: sensitivity per scan, average and AP over the seeds, and the difference to the host's average."""
    return [_row(row, results) for row in experiment.rows if results.get(row.label)]


def traced_about(results: TracedResults) -> str:
    """What stands in that table."""
    facts = next(result.facts for by_seed in results.values() for result in by_seed.values())
    return (
        f"The same traced along z, on all {facts['scans']} test scans: sensitivity over their {facts['lesions']:,} "
        "lesions, each on its largest slice, by P3D IoU of at least .5, at a mean number of false positives per scan; "
        "the average of these and the average precision, means over the training seeds (lowest-highest). Differences "
        "are of averages, to the host's row with the same seeds, with the 95% interval of a paired bootstrap over the "
        "test patients. Boxes have DeepLesion's margin."
    )


def _row(row: Row, results: TracedResults) -> dict[str, str]:
    by_seed = results[row.label]
    values = np.asarray([[*r.traced_curve.values, r.traced_curve.average, r.traced_ap] for r in by_seed.values()])
    names = [*(f"{rate:g} FP" for rate in SCAN_RATES), "average", "AP"]
    hosts = results.get(row.host or "", {})
    seeds = sorted(by_seed.keys() & hosts.keys())
    difference = ""
    if seeds:
        if not all(by_seed[seed].same_images(hosts[seed]) for seed in seeds):
            raise DataError("The runs of a row and of its host were traced in different scans: train them anew")
        mean = float(np.mean([by_seed[s].traced_curve.average - hosts[s].traced_curve.average for s in seeds]))
        ours, theirs = ([each[s].traced_bootstrapped[:, -1] for s in seeds] for each in (by_seed, hosts))
        low, high = paired_difference(ours, theirs)
        difference = f"{signed(mean)} [{signed(low)}, {signed(high)}]"
    return {
        "system": row.label,
        **{name: spread(values[:, column]) for column, name in enumerate(names)},
        "host": row.host or "",
        "difference": difference,
        "seeds": ", ".join(map(str, sorted(by_seed))),
    }
