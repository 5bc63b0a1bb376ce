"""Tables by the distance between a scan's slices, of constructed results and truth."""

import json
from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import DataError
from napari_uld.evaluation.matching import match
from napari_uld.training.data.phantom.truth import FOLDER
from napari_uld.training.reports.distance_tables import distance_rows
from napari_uld.training.reports.planning import Experiment, Place, Row
from napari_uld.training.reports.results import Result

SERIES = ("000001_01_01", "000002_01_01", "000003_01_01")
EXPERIMENT = Experiment("x", "An experiment", (Row("ours", "a"), Row("later", "b")))


def phantoms(root: Path, distances: tuple[float, ...]) -> Place:
    """The truth's spacing alone, as far as a table reads it."""
    folder = root / "phantoms" / "test" / FOLDER
    folder.mkdir(parents=True)
    for name, distance in zip(SERIES, distances, strict=True):
        (folder / f"{name}.json").write_text(json.dumps({"spacing": [0.8, 0.8, distance]}))
    return Place(root / "runs", root / "phantoms")


def result(*, found: tuple[bool, bool, bool]) -> Result:
    """A slice of each series with two lesions, of which the second is found or not, the first never."""
    overlaps = [np.array([[0.0, float(hit)]]) for hit in found]
    matches = match(overlaps, [np.array([0.5])] * len(SERIES), threshold=0.5)
    numbers, diameters = np.zeros(len(SERIES), int), tuple(np.array([9.0, 20.0]) for _ in SERIES)
    return Result(matches, np.asarray(SERIES), numbers, np.asarray(SERIES), diameters, {})


def test_lesions_are_told_apart_by_the_distance_of_their_scans_slices(tmp_path: Path) -> None:
    place = phantoms(tmp_path, (1.0, 5.0, 5.0))
    results = {"ours": {0: result(found=(True, True, False))}, "later": {}}
    (row,) = distance_rows(results, EXPERIMENT, place)
    # One image in three has a false positive: at every rate all that was found counts.
    assert row == {"system": "ours", "1 mm (2)": ".500", "5 mm (4)": ".250"}


def test_two_seeds_give_their_mean_with_the_lowest_and_the_highest(tmp_path: Path) -> None:
    place = phantoms(tmp_path, (1.0, 1.0, 1.0))
    results = {"ours": {0: result(found=(True, True, True)), 1: result(found=(True, False, True))}, "later": {}}
    assert distance_rows(results, EXPERIMENT, place)[0]["1 mm (6)"] == ".417 (.333-.500)"


def test_a_scored_scan_without_its_truth_is_named(tmp_path: Path) -> None:
    place = phantoms(tmp_path, (1.0, 1.0, 1.0))
    (tmp_path / "phantoms" / "test" / FOLDER / f"{SERIES[1]}.json").unlink()
    with pytest.raises(DataError, match=SERIES[1]):
        distance_rows({"ours": {0: result(found=(True, True, True))}, "later": {}}, EXPERIMENT, place)
