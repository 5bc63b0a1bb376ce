"""Experiments in miniature: the real training loop on a few phantoms."""

import json
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest

from napari_uld.errors import DataError, RecipeError
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.reports import experiments
from napari_uld.training.reports.experiment_list import EXPERIMENTS, select
from napari_uld.training.reports.experiments import (
    Budget,
    Experiment,
    Place,
    Row,
    State,
    in_order,
    plan,
    row_recipe,
    run,
    run_all,
    survey,
    time_all,
)
from napari_uld.training.reports.tables import write_tables

from ..conftest import PATIENTS, SEED

TINY = {
    "input": {"long_side": 64, "spacing_mm": 6.4},
    "detector": {"width": 0.125, "rpn_min_size": 1, "anchor_sizes": (2, 4, 8), "proposals_after_nms": (50, 50)},
}
BUDGET = Budget(train=(PATIENTS, SEED), test=(PATIENTS, SEED), epochs=1, milestones=(1,), batch=1)
BASE = Row("base", "faster_rcnn", TINY)
BMC = Row("bmc", "faster_rcnn_bmc", TINY, host="base")


@pytest.fixture
def place(phantoms: Path, tmp_path: Path) -> Place:
    sets = tmp_path / "phantoms"
    sets.mkdir()
    for name in ("train", "test"):
        (sets / name).symlink_to(phantoms)
    return Place(tmp_path / "runs", sets, "cpu")


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr(experiments, "train", fail)


def experiment(*rows: Row, seeds: tuple[int, ...] = (0,)) -> Experiment:
    return Experiment("tiny", "Tiny", rows, seeds, BUDGET)


def test_a_run_leaves_every_lesions_score_and_what_it_reached(place: Place, phantoms: Path) -> None:
    it = plan(BASE, 0, BUDGET, place)
    assert finish(run(it)) is State.FINISHED
    result, slices = it.result(), true_slices(phantoms, "all")
    assert result.series.tolist() == [key.series for key in slices]
    assert result.patients.tolist() == [key.patient for key in slices]
    np.testing.assert_array_equal(np.concatenate(result.diameters), np.concatenate([key.diameters for key in slices]))
    matches = result.matches
    assert [len(own) for own in matches.lesion_scores] == matches.lesions_per_image.tolist()
    assert sum(np.isfinite(own).sum() for own in matches.lesion_scores) == matches.hits.sum()
    facts = json.loads((it.folder / "result.json").read_text())
    assert facts["average"] == pytest.approx(result.curve.average, abs=1e-4)
    assert facts["seed"] == 0
    assert facts["data"]["train"]["seed"] == SEED
    assert facts["seconds_trained"] > 0
    assert facts["seconds_a_slice"] > 0
    assert facts["recipe"]["training"]["epochs"] == 1


def test_what_is_finished_is_kept(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    (first,) = finish(run_all([experiment(BASE)], place))
    monkeypatch.setattr(experiments, "train", None)
    assert finish(run_all([experiment(BASE)], place)) == [first]
    assert first.state is State.FINISHED
    assert survey([experiment(BASE)], place)[0].state is State.FINISHED


def test_a_stopped_training_is_resumed_even_by_a_row_of_another_name(place: Place) -> None:
    it = plan(BMC, 0, BUDGET, place)
    work = run(it)
    for _ in range(4):
        next(work)
    work.close()
    assert survey([experiment(BMC)], place)[0].state is State.STOPPED
    supervision = {"objectness": "bmc", "regression": "bmc", "roi_branch": "abm"}
    same = Row("the same", "faster_rcnn", TINY | {"supervision": supervision})
    assert plan(same, 0, BUDGET, place).folder == it.folder
    assert finish(run(plan(same, 0, BUDGET, place))) is State.FINISHED
    starts = [json.loads(line) for line in (it.folder / "log.jsonl").read_text().splitlines()]
    assert [row["recipe"] for row in starts if row["event"] == "start"] == ["faster_rcnn_bmc"] * 2


@pytest.mark.usefixtures("no_training")
def test_what_another_process_holds_is_left_to_it(place: Place) -> None:
    it = plan(BASE, 0, BUDGET, place)
    it.folder.mkdir(parents=True)
    with filelock.FileLock(it.folder / "lock"):
        assert finish(run(it)) is State.LOCKED
    with pytest.raises(AssertionError, match="it trained"):
        finish(run(it))


def test_a_stopped_run_gives_its_lock_back(place: Place) -> None:
    work = run(plan(BASE, 0, BUDGET, place))
    next(work)
    with pytest.raises(filelock.Timeout):
        filelock.FileLock(plan(BASE, 0, BUDGET, place).folder / "lock", timeout=0).acquire()
    work.close()
    filelock.FileLock(plan(BASE, 0, BUDGET, place).folder / "lock", timeout=0).acquire().lock.release()


def test_negatives_are_counted_from_the_same_training(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    finish(run(plan(BASE, 0, BUDGET, place)))
    monkeypatch.setattr(experiments, "train", None)
    it = plan(replace(BASE, label="+FP", count_negatives=True), 0, BUDGET, place)
    assert it.state is not State.FINISHED
    assert finish(run(it)) is State.FINISHED
    assert {path.name for path in it.folder.glob("result*")} == {"result.json", "result_with_negatives.json"}


def test_the_key_tells_apart_recipes_seeds_budgets_and_data(place: Place, phantoms: Path) -> None:
    folders = {
        plan(BASE, 0, BUDGET, place).folder,
        plan(BASE, 1, BUDGET, place).folder,
        plan(BMC, 0, BUDGET, place).folder,
        plan(BASE, 0, replace(BUDGET, batch=4), place).folder,
    }
    assert len(folders) == 4
    (place.phantoms / "test").unlink()
    other = place.phantoms / "test"
    other.mkdir()
    for name in ("phantom.json", "DL_info.csv"):
        (other / name).write_bytes((phantoms / name).read_bytes())
    assert plan(BASE, 0, BUDGET, place).folder in folders
    (other / "DL_info.csv").write_text((phantoms / "DL_info.csv").read_text() + "\n")
    assert plan(BASE, 0, BUDGET, place).folder not in folders


def test_results_of_another_version_are_not_found(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    before = plan(BASE, 0, BUDGET, place).folder
    monkeypatch.setattr(experiments, "RESULTS_VERSION", 0)
    assert plan(BASE, 0, BUDGET, place).folder != before


def test_a_row_that_fails_does_not_stop_the_others(place: Place) -> None:
    rows = (Row("gone", "no_such_recipe"), Row("odd", "faster_rcnn", {"detector": {"no_such_key": 1}}), BASE)
    outcomes = finish(run_all([experiment(*rows)], place))
    assert [outcome.state for outcome in outcomes] == [State.FAILED, State.FAILED, State.FINISHED]
    assert "no_such_recipe" in outcomes[0].note
    assert "no_such_key" in outcomes[1].note


def test_phantoms_of_another_seed_are_refused(place: Place) -> None:
    with pytest.raises(DataError, match="--seed 99"):
        plan(BASE, 0, replace(BUDGET, train=(PATIENTS, 99)), place)


def test_timing_measures_what_is_finished_with_and_without_maps(place: Place) -> None:
    finish(run(plan(BMC, 0, BUDGET, place)))
    finish(time_all([experiment(BASE, BMC)], place))
    timing = json.loads((plan(BMC, 0, BUDGET, place).folder / "timing.json").read_text())
    assert timing["with maps"] > 0
    assert timing["without maps"] > 0
    assert not plan(BASE, 0, BUDGET, place).folder.exists()


def test_the_tables_hold_what_is_finished(place: Place, tmp_path: Path) -> None:
    chosen = experiment(BASE, BMC, Row("gone", "no_such_recipe", host="base"))
    finish(run_all([chosen], place))
    finish(time_all([chosen], place))
    write_tables(tmp_path / "tables.md", [chosen], place)
    text = (tmp_path / "tables.md").read_text()
    average = plan(BMC, 0, BUDGET, place).result().curve.average
    reached, detail = (line.split(" | ") for line in text.splitlines() if line.startswith("| bmc"))
    assert reached[5] == f"{average:.3f}".replace("0.", ".", 1)
    assert detail[-1].endswith("x |")
    assert "Not trained yet: gone." in text


def test_all_rows_come_with_the_first_seed_before_any_with_the_second() -> None:
    one, two = experiment(BASE, BMC, seeds=(0, 1)), replace(experiment(BASE), name="two", seeds=(1, 2))
    order = [(chosen.name, row.label, seed) for chosen, row, seed in in_order([one, two])]
    assert order == [
        ("tiny", "base", 0),
        ("tiny", "bmc", 0),
        ("tiny", "base", 1),
        ("tiny", "bmc", 1),
        ("two", "base", 1),
        ("two", "base", 2),
    ]


def test_changes_lie_over_the_small_recipe_and_the_budget_over_both() -> None:
    recipe = row_recipe(Row("x", "faster_rcnn", {"training": {"epochs": 9, "lr": 0.5}}), Budget(epochs=2, batch=7))
    assert (recipe.training.epochs, recipe.training.lr, recipe.training.batch) == (2, 0.5, 7)
    assert recipe.training.milestones == (2,)
    assert recipe.input.long_side == 256


@pytest.mark.parametrize("chosen", EXPERIMENTS.values(), ids=lambda chosen: chosen.name)
def test_every_row_can_be_trained_and_its_host_stands_in_the_table(chosen: Experiment) -> None:
    for row in chosen.rows:
        row_recipe(row, chosen.budget)
        assert row.host is None or chosen.row(row.host).host != row.label
    assert len({row.label for row in chosen.rows}) == len(chosen.rows)


def test_rows_and_seeds_are_selected() -> None:
    (chosen,) = select("ablation", ["ABM branch"], "3,1")
    assert [row.label for row in chosen.rows] == ["ABM branch"]
    assert chosen.seeds == (3, 1)
    assert len(select()) == len(EXPERIMENTS)
    for wrong in (("nothing",), (None, ["nothing"]), (None, None, "one")):
        with pytest.raises(RecipeError):
            select(*wrong)


def test_a_row_that_starts_from_another_waits_for_it_and_takes_its_weights(place: Place) -> None:
    longer = Row("longer", "faster_rcnn", TINY, init=BASE)
    from_host, from_nothing = plan(longer, 0, BUDGET, place), plan(BASE, 0, BUDGET, place)
    assert from_host.folder != from_nothing.folder
    with pytest.raises(DataError, match="starts from base"):
        finish(run(from_host))
    finish(run(from_nothing))
    assert finish(run(from_host)) is State.FINISHED
    start = json.loads((from_host.folder / "log.jsonl").read_text().splitlines()[0])
    assert start["notes"] == ["no weights in checkpoint.safetensors for: nothing"]
