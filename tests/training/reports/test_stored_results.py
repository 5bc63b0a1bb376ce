"""The results that come with the repository keep their meaning."""

import json
from pathlib import Path

import pytest

from napari_uld.training.reports import planning
from napari_uld.training.reports.experiment_list import EXPERIMENTS
from napari_uld.training.reports.planning import Experiment, Place, State, plan

RESULTS = Path(__file__).parents[3] / "benchmarks" / "results"
# Runs, as folders there, that the tables still lack by today's recipes; what lies there of them is of earlier ones.
PENDING = frozenset((RESULTS / "pending.txt").read_text(encoding="utf-8").split())


@pytest.fixture
def stored(monkeypatch: pytest.MonkeyPatch) -> Place:
    """The stored results, as if their phantoms were at hand."""
    facts = json.loads((RESULTS / "two_stage" / "faster_rcnn-seed0" / "result.json").read_text())
    of_phases = next(RESULTS.glob("phases/*/run.json"), None)
    sets = {"train_3_phases": {}, "test_3_phases": {}} | facts["data"]
    if of_phases is not None:
        sets |= {f"{name}_3_phases": about for name, about in json.loads(of_phases.read_text())["data"].items()}
    monkeypatch.setattr(planning, "_phantoms", lambda root, *_: sets[root.name])
    return Place(RESULTS, Path("phantoms"), "cpu")


@pytest.mark.parametrize("experiment", EXPERIMENTS.values(), ids=lambda experiment: experiment.name)
def test_every_row_has_its_result_by_todays_recipes(experiment: Experiment, stored: Place) -> None:
    for row in experiment.rows:
        for seed in experiment.seeds_of(row):
            run = plan(experiment, row, seed, stored)
            if run.folder.relative_to(RESULTS).as_posix() in PENDING:
                assert run.state is not State.FINISHED, f"{run.folder} is there: take it out of pending.txt"
                continue
            assert run.differs == "", f"{run.folder}: {run.differs}"
            assert run.average == pytest.approx(run.result().facts["average"], abs=1e-4)


def test_no_result_is_of_no_row(stored: Place) -> None:
    planned = {
        plan(experiment, row, seed, stored).folder
        for experiment in EXPERIMENTS.values()
        for row in experiment.rows
        for seed in experiment.seeds_of(row)
    }
    there = set(RESULTS.glob("*/*"))
    assert there <= planned
    assert {folder.relative_to(RESULTS).as_posix() for folder in planned - there} <= PENDING
