"""Tables of what rows reach in scans whose slices lie so many millimetres apart."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from napari_uld.evaluation.by_size import froc_of_each

from ..data.phantom.truth import read_spacing
from .formats import spread
from .planning import Experiment, Place
from .results import Result

DISTANCE_ABOUT = (
    "By the distance between a scan's slices (number of lesions): the average of the same sensitivities to the lesions "
    "of these scans, with the false positives of all."
)


def distance_rows(
    results: Mapping[str, Mapping[int, Result]], experiment: Experiment, place: Place
) -> list[dict[str, str]]:
    """A table's rows: average sensitivity by the slices' distance, mean over the seeds (lowest-highest).

    Parameters
    ----------
    results
        By row label, then by seed.

    Raises
    ------
    DataError
        If the truth of a phantom that was scored cannot be read.
    """
    test = place.phantoms / experiment.budget.folder("test")
    rows = []
    for row in experiment.rows:
        if by_seed := results[row.label]:
            reached = [_averages(result, test) for result in by_seed.values()]
            columns = {name: spread(np.asarray([each[name] for each in reached])) for name in reached[0]}
            rows.append({"system": row.label, **columns})
    return rows


def _averages(result: Result, test: Path) -> dict[str, float]:
    distances = _distances(result.series, test)
    parts = {}
    for distance in np.unique(distances):
        chosen = [np.full(len(long), here == distance) for long, here in zip(result.diameters, distances, strict=True)]
        parts[f"{distance:g} mm ({sum(int(each.sum()) for each in chosen):,})"] = chosen
    return {name: curve.average for name, curve in froc_of_each(result.matches, parts).items()}


def _distances(series: np.ndarray, test: Path) -> np.ndarray:
    """(images,) millimetres between the slices of the scan that each is of."""
    known = {name: read_spacing(test, name)[0] for name in set(series.tolist())}
    return np.asarray([known[name] for name in series.tolist()])
