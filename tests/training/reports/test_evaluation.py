"""An evaluation's tables and its report."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from napari_uld.evaluation.coco import CocoAp
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.protocols import PROTOCOLS
from napari_uld.lesions.annotations import LesionType
from napari_uld.lesions.box_table import ScanBoxes
from napari_uld.training.data.truths import TrueScan
from napari_uld.training.reports.evaluation import headline, part_rows, rate_rows, write_report
from napari_uld.training.scoring import Evaluation, difference, score

SIDES = [[0, 0, 1, 9, 9, 1]]


def evaluation(*found: bool, protocol: str = "p3d", coco: CocoAp | None = None) -> Evaluation:
    """Two patients with a lesion each of 5 and of 40 mm, found or not, and a false positive after both."""
    types = (LesionType.LUNG, LesionType.LIVER)
    lesions = [ScanBoxes.bodies(SIDES, None, [mm], (kind,)) for mm, kind in zip((5.0, 40.0), types, strict=True)]
    scans = [TrueScan(f"{name}_01_01", each) for name, each in zip(("000001", "000002"), lesions, strict=True)]
    overlaps = [np.array([[float(hit)], [0.0]]) for hit in found]
    matches = match(overlaps, [np.array([0.9, 0.3])] * 2, threshold=0.5)
    return score(matches, scans, judging=PROTOCOLS[protocol], coco=coco)


def test_each_rate_has_its_interval_its_score_and_what_stands_behind_it() -> None:
    rows = rate_rows(evaluation(True, True))
    assert [row[""] for row in rows] == [f"{r:g} FP" for r in PROTOCOLS["p3d"].rates] + ["average", "AP"]
    assert rows[0] == {
        "": "0.125 FP",
        "sensitivity": "1.000 [1.000, 1.000]",
        "from a score of": "0.900",
        "TP": "2",
        "FP": "0",
        "FN": "0",
    }
    assert rows[3]["FP"] == "2"
    assert rows[-1]["sensitivity"] == "1.000 [1.000, 1.000]"


def test_cocos_three_precisions_stand_below_the_rates() -> None:
    rows = rate_rows(evaluation(True, True, protocol="coco", coco=CocoAp(0.5, 0.75, 0.25)))
    assert [(row[""], row["sensitivity"]) for row in rows[-3:]] == [
        ("AP", "0.500"),
        ("AP50", "0.750"),
        ("AP75", "0.250"),
    ]


def test_sizes_and_types_are_told_with_their_lesions_and_at_the_papers_own_rate() -> None:
    reached = evaluation(True, False)
    small, large = part_rows(reached, reached.by_size)
    assert (small[""], small["1"], large[""], large["1"]) == ("< 10 mm (1)", "1.000", "> 30 mm (1)", "0.000")
    assert [row[""] for row in part_rows(reached, reached.by_type)] == ["liver (1)", "lung (1)"]
    volumes = evaluation(True, False, protocol="3d")
    assert [*volumes.by_size] == ["< 2 cm", "2-5 cm"]
    assert volumes.by_size["2-5 cm"].at_bins_rate == 0


def test_the_headline_says_how_much_was_scored_and_by_what() -> None:
    assert headline("x", evaluation(True, True)) == "x: 2 lesions on 2 volumes of 2 patients; P3D IoU from 0.5 on"


def test_a_report_holds_the_tables_the_numbers_and_the_curve(tmp_path: Path) -> None:
    ours, theirs = evaluation(True, True), evaluation(True, False)
    write_report(tmp_path / "r", {"ours": ours, "theirs": theirs}, difference(ours, theirs))
    assert {path.name for path in (tmp_path / "r").iterdir()} == {"report.md", "report.csv", "report.json", "froc.png"}
    text = (tmp_path / "r" / "report.md").read_text()
    assert "## ours: 2 lesions" in text
    assert "## ours less theirs" in text
    # Theirs climbs to a half at .5 FP: .125, .25 and five times .5 on average.
    assert "| average | +0.589 [+0.000, +1.000] |" in text
    numbers = json.loads((tmp_path / "r" / "report.json").read_text())
    assert (numbers["volumes"], numbers["average"], numbers["against"]["average"]) == (2, 1, 0.4107)
    assert numbers["difference"]["values"][-2:] == [0.5893, pytest.approx(1 - theirs.ap)]
    rows = list(csv.DictReader((tmp_path / "r" / "report.csv").open()))
    assert {row["subject"] for row in rows} == {"ours", "theirs"}
    assert next(row["sensitivity"] for row in rows if row["lesions"] == "> 30 mm") == "1.0000"
    before = (tmp_path / "r" / "froc.png").read_bytes()
    write_report(tmp_path / "r", {"ours": ours, "theirs": theirs}, difference(ours, theirs))
    assert (tmp_path / "r" / "froc.png").read_bytes() == before
