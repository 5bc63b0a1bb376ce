"""The table of what is reached in whole scans, of constructed results."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.errors import DataError
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import p3d_iou
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.training.data.sub_volumes import SubVolume
from napari_uld.training.reports.planning import Experiment, Row
from napari_uld.training.reports.results import Result, load_result, scan_result
from napari_uld.training.reports.scan_tables import scan_rows, traced_about

LESION, ELSEWHERE = (0.0, 0.0, 10.0, 10.0), (50.0, 50.0, 60.0, 60.0)
EXPERIMENT = Experiment(
    "x",
    "An experiment",
    (Row("host", "a", traced=True), Row("ours", "b", host="host", traced=True), Row("plain", "c")),
)
SCANS = 4


def result(found: int, false: int = 0, scans: int = SCANS) -> Result:
    """A scan a patient with one lesion: hit in the first `found` of them, after `false` FPs in each."""
    volumes = [SubVolume(Path(), f"{p:06d}_01_01", np.array([LESION]), np.array([7])) for p in range(scans)]
    traced = [[{6: ELSEWHERE, 7: ELSEWHERE}] * false + [{7: LESION, 8: LESION}] * (p < found) for p in range(scans)]
    scores = [np.array([0.9] * false + [0.5] * (p < found)) for p in range(scans)]
    overlaps = [p3d_iou(boxes, v.boxes, v.slices) for boxes, v in zip(traced, volumes, strict=True)]
    names = [volume.series for volume in volumes]
    return scan_result(match(overlaps, scores, threshold=0.5), volumes, names, {}, PROTOCOLS["p3d"])


def test_sensitivity_is_read_per_scan() -> None:
    (row,) = scan_rows(EXPERIMENT, {"host": {0: result(3, false=1)}, "ours": {}})
    # Below one false positive a scan the lesions come with a share of them, beyond it all three are found.
    assert (row["1 FP"], row["8 FP"]) == (".750", ".750")
    assert row["0.5 FP"] == ".000"
    assert (row["system"], row["host"], row["difference"], row["seeds"]) == ("host", "", "", "0")
    assert row["AP"] == f"{3 / 4 * 3 / 7:.3f}"[1:]


def test_the_difference_is_that_of_the_same_seeds_paired_patient_by_patient() -> None:
    results = {"host": {0: result(2), 1: result(2)}, "ours": {0: result(3), 1: result(3)}}
    rows = scan_rows(EXPERIMENT, results)
    assert rows[1]["average"] == ".750 (.750-.750)"
    assert rows[1]["difference"].startswith("+.250 [+.000, +")
    same = scan_rows(EXPERIMENT, {"host": {0: result(2)}, "ours": {0: result(2)}})
    assert same[1]["difference"] == "+.000 [+.000, +.000]"


def test_results_of_different_scans_are_not_compared() -> None:
    with pytest.raises(DataError, match="different scans"):
        scan_rows(EXPERIMENT, {"host": {0: result(2)}, "ours": {0: result(2, scans=5)}})


def test_what_it_is_of_is_said() -> None:
    assert "all 4 test scans: sensitivity over their 4 lesions" in traced_about({"host": {0: result(1)}})


def test_a_stored_result_is_the_same_again(tmp_path: Path) -> None:
    files = tmp_path / "traced.npz", tmp_path / "traced.json"
    stored = result(3, false=2)
    stored.save(*files)
    again = load_result(*files)
    assert again.facts == stored.facts
    assert again.scan_curve.values.tolist() == stored.scan_curve.values.tolist()
    assert again.facts["fp_per_scan"] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
