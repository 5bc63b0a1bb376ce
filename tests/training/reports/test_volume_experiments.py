"""Experiments of volumes in miniature: rows scored in whole scans, by bodies or by what is traced."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from napari_uld.errors import DataError, RecipeError
from napari_uld.progress import finish
from napari_uld.training.data.phantom.truth import read_truth, truth_series
from napari_uld.training.reports.experiments import run_all
from napari_uld.training.reports.planning import Budget, Experiment, Place, Row, State, plan
from napari_uld.training.reports.tables import write_tables

from ..conftest import PATIENTS, SEED

BUDGET = Budget(train=(PATIENTS, SEED), test=(PATIENTS, SEED), steps=1, milestones=(1,), batch=1)
BODIES = Row("bodies", "vld_acs", {"input": {"spacing_mm": 5.0, "interval_mm": 10.0, "slices": 4, "long_side": 32}})
ON_SLICES = Row("slices", "centernet_2d", {"input": {"spacing_mm": 6.4, "long_side": 64}}, host="bodies")


@pytest.fixture
def place(phantoms: Path, tmp_path: Path) -> Place:
    sets = tmp_path / "phantoms"
    sets.mkdir()
    for name in ("train", "test"):
        (sets / name).symlink_to(phantoms)
    return Place(tmp_path / "runs", sets, "cpu")


def test_rows_of_volumes_are_scored_in_whole_scans_those_of_slices_traced_and_all_are_tight(
    place: Place, phantoms: Path, tmp_path: Path
) -> None:
    in_scans = Experiment("tiny", "Tiny", (BODIES, ON_SLICES), (0,), BUDGET, plots=(), protocol="3d")
    outcomes = finish(run_all([in_scans], place))
    assert [outcome.state for outcome in outcomes] == [State.FINISHED, State.FINISHED], outcomes
    for row in (BODIES, ON_SLICES):
        it = plan(in_scans, row, 0, place)
        facts = json.loads((it.folder / "volumes.json").read_text())
        assert facts["fp_per_scan"] == [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0]
        assert (facts["protocol"], facts["boxes"], facts["scans"]) == ("3d", "tight boxes", PATIENTS)
        assert facts["lesions"] == sum(len(read_truth(phantoms, series)) for series in truth_series(phantoms))
        assert it.average == pytest.approx(facts["average"], abs=1e-4)
        sizes = it.result().scan_by_size
        assert list(sizes) == ["< 2 cm", "2-5 cm", "> 5 cm"]
        assert sum(count for count, _ in sizes.values()) == facts["lesions"]
    write_tables(tmp_path / "tables.md", [in_scans], place)
    text = (tmp_path / "tables.md").read_text()
    assert "by 3D IoU of at least 0.3; tight boxes" in text
    assert "| bodies |" in text
    assert "| 1.75 FP |" in text


def test_a_row_of_volumes_has_no_place_in_a_table_of_key_slices(place: Place) -> None:
    with pytest.raises(RecipeError, match="the table is of key slices, the recipe vld_acs is of volumes"):
        plan(Experiment("tiny", "Tiny", (BODIES,), (0,), BUDGET), BODIES, 0, place)


def test_phantoms_of_one_phase_are_not_taken_for_a_study_of_three(place: Place) -> None:
    for name in ("train", "test"):
        (place.phantoms / f"{name}_3_phases").symlink_to((place.phantoms / name).resolve())
    with pytest.raises(DataError, match="1 phases, instead of .*, 3 phases: .*--phases 3"):
        plan(Experiment("tiny", "Tiny", (BODIES,), (0,), replace(BUDGET, phases=3), protocol="3d"), BODIES, 0, place)
