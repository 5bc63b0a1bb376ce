"""The results that come with the repository keep their meaning."""

import json
from pathlib import Path

import pytest

from napari_uld.training.reports import planning
from napari_uld.training.reports.experiment_list import EXPERIMENTS
from napari_uld.training.reports.planning import Experiment, Place, plan

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Place:
    """The stored results, as if their phantoms were at hand."""
    facts = json.loads((RESULTS / "two_stage" / "faster_rcnn-seed0" / "result.json").read_text())
    monkeypatch.setattr(planning, "_phantoms", lambda root, *_: facts["data"][root.name])
    return Place(RESULTS, Path("phantoms"), "cpu")


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.name)
def test_every_row_has_its_result_by_todays_recipes(experiment: Experiment, stored: Place) -> None:
    for row in experiment.rows:
        for seed in experiment.seeds:
            run = plan(experiment, row, seed, stored)
            assert run.differs == "", f"{run.folder}: {run.differs}"
            result = run.result()
            assert result.curve.average == pytest.approx(result.facts["average"], abs=1e-4)


def test_no_result_is_of_no_row(stored: Place) -> None:
    planned = {
        plan(experiment, row, seed, stored).folder
        for experiment in EXPERIMENTS.values()
        for row in experiment.rows
        for seed in experiment.seeds
    }
    assert planned == set(RESULTS.glob("*/*"))
