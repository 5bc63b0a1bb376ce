"""Tables of constructed results."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import DataError
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import iou
from napari_uld.lesions.recist import Recist
from napari_uld.training.data.key_slices import KeySlice
from napari_uld.training.reports.formats import markdown
from napari_uld.training.reports.planning import Experiment, Place, Row
from napari_uld.training.reports.results import Result, load_result
from napari_uld.training.reports.tables import experiment_section, write_tables

PATIENTS = 6
LESION = np.array([[0.0, 0.0, 10.0, 10.0]])
MEASURED = Recist.from_points([0, 0, 20, 0, 5, 0, 5, 9])
ELSEWHERE = np.array([[50.0, 50.0, 60.0, 60.0]])
FACTS = {
    "data": {"train": {"patients": 5, "seed": 1, "generator_version": 1}, "test": {"patients": 6, "seed": 2}},
}
EXPERIMENT = Experiment("x", "An experiment", (Row("host", "a"), Row("ours", "b", host="host"), Row("later", "c")))


def result(found: int, false: int = 0, patients: int = PATIENTS) -> Result:
    """A slice and a lesion of 20 mm a patient: hit in the first `found` of them, after `false` FPs on each slice."""
    keys = [KeySlice(f"{p:06d}_01_01", 3, (1, 1, 1), LESION, (MEASURED,), (-175, 275)) for p in range(patients)]
    boxes = [np.concatenate([ELSEWHERE] * false + [LESION] * (p < found) + [np.zeros((0, 4))]) for p in range(patients)]
    scores = [np.array([0.9] * false + [0.5] * (p < found)) for p in range(patients)]
    return Result.of(match([iou(b, LESION) for b in boxes], scores, threshold=0.5), keys, dict(FACTS))


def cells(section: str, label: str, table: int = 0) -> dict[str, str]:
    """A row of one of a section's tables, by column."""
    lines = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")]
    heads = [line for line in lines if line[0] == "system"]
    rows = [line for line in lines if line[0] == label]
    # The last column is stripped with its bar where it is empty.
    return dict(zip(heads[table], [cell.strip() for cell in rows[table]], strict=False))


def section(ours: dict[int, Result], host: dict[int, Result], ratios: list[float] | None = None) -> str:
    timings = {"host": [], "ours": ratios or [], "later": []}
    return experiment_section(EXPERIMENT, {"host": host, "ours": ours, "later": {}}, timings)


def test_sensitivities_are_means_over_the_seeds_with_the_lowest_and_the_highest() -> None:
    row = cells(section({}, {0: result(3), 1: result(6)}), "host")
    assert row["1 FP"] == row["average 0.5-4"] == ".750 (.500-1.000)"
    assert row["seeds"] == "0, 1"
    assert cells(section({}, {0: result(3)}), "host")["average 0.5-4"] == ".500"


def test_an_experiment_reads_its_curves_at_rates_of_its_own_and_averages_as_all_do() -> None:
    at_many = replace(EXPERIMENT, rates=(0.5, 16.0))
    # Every lesion is found after one false positive on each slice: not at .5 of them an image.
    results = {"host": {0: result(6, false=1)}, "ours": {}, "later": {}}
    row = cells(experiment_section(at_many, results, {"host": [], "ours": [], "later": []}), "host")
    assert (row["0.5 FP"], row["16 FP"], row["average 0.5-4"]) == (".000", "1.000", ".750")
    assert "4 FP" not in row


def test_the_difference_is_that_of_the_same_seeds() -> None:
    # The host's second seed has no counterpart: 1 - .5, not 1 - .75.
    text = section({0: result(6)}, {0: result(3), 1: result(6)})
    assert cells(text, "ours")["difference"].startswith("+.500 [+")
    assert "difference" not in cells(section({}, {0: result(3)}), "host")


def test_the_difference_is_paired_patient_by_patient() -> None:
    # One and the same result differs by nothing in every sample, however much its average varies.
    assert cells(section({0: result(3)}, {0: result(3)}), "ours")["difference"] == "+.000 [+.000, +.000]"
    # All of ours are hit in every draw; the host's average varies around a half: with 6 patients by .2 either way.
    text = cells(section({0: result(6)}, {0: result(3)}), "ours")["difference"]
    low, high = (float(value) for value in text.split("[")[1].strip("]").split(", "))
    assert low == pytest.approx(1 / 6, abs=0.01)
    assert high == pytest.approx(5 / 6, abs=0.01)


def test_false_positives_are_given_at_the_hosts_sensitivity_at_one() -> None:
    # The host has one FP a slice before its hits; ours two, and none is left out below them.
    text = section({0: result(6, false=2)}, {0: result(6, false=1)})
    assert cells(text, "ours", 1)["FP per image : host's"] == "2.00 : 1.00"
    text = section({0: result(2)}, {0: result(6, false=1)})
    assert cells(text, "ours", 1)["FP per image : host's"] == "not reached : 1.00"


def test_sizes_ceiling_and_what_maps_cost_stand_in_the_second_table() -> None:
    row = cells(section({0: result(3)}, {0: result(6)}, [1.1, 1.3]), "ours", 1)
    assert row["10-30 mm (6)"] == row["ceiling"] == ".500"
    assert row["with maps"] == "1.20x"


def test_rows_without_a_result_are_named_below() -> None:
    text = section({}, {0: result(3)})
    assert "Not trained yet: ours, later." in text
    assert "napari-uld experiments x" in text
    assert "all 6 lesions" in text


def test_results_of_different_slices_are_not_compared() -> None:
    with pytest.raises(DataError, match="different slices"):
        section({0: result(3)}, {0: result(3, patients=5)})


def test_a_stored_result_is_the_same_again(tmp_path: Path) -> None:
    one = result(4, false=1)
    one.save(tmp_path / "m.npz", tmp_path / "r.json")
    again = load_result(tmp_path / "m.npz", tmp_path / "r.json")
    assert again.curve.average == one.curve.average
    assert again.facts == one.facts
    assert again.same_images(one)
    np.testing.assert_array_equal(again.bootstrapped, one.bootstrapped)
    for name in ("lesion_scores", "diameters"):
        mine, theirs = (getattr(r.matches if name == "lesion_scores" else r, name) for r in (one, again))
        assert [a.tolist() for a in mine] == [a.tolist() for a in theirs]


def test_columns_that_are_empty_everywhere_are_left_out() -> None:
    rows = [{"a": "1", "b": "", "c": ""}, {"a": "2", "b": "", "c": "3"}]
    assert markdown(rows) == "| a | c |\n| --- | --- |\n| 1 |  |\n| 2 | 3 |"


def test_no_finished_run_is_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no finished run of x"):
        write_tables(tmp_path / "t.md", [EXPERIMENT], Place(tmp_path, tmp_path))
