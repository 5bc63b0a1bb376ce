"""Experiments in miniature: the real training loop on a few phantoms."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import filelock
import numpy as np
import pytest

from napari_uld.errors import DataError, RecipeError
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.phantom.truth import read_truth, truth_series
from napari_uld.training.reports import experiments
from napari_uld.training.reports.experiment_list import EXPERIMENTS, select
from napari_uld.training.reports.experiments import in_order, run, run_all, survey, time_all
from napari_uld.training.reports.planning import Budget, Experiment, Place, Row, Run, State, plan, row_recipe
from napari_uld.training.reports.run_spec import slug
from napari_uld.training.reports.tables import write_tables

from ..conftest import PATIENTS, SEED

TINY = {
    "input": {"long_side": 64, "spacing_mm": 6.4},
    "detector": {"width": 0.125, "rpn_min_size": 1, "anchor_sizes": (2, 4, 8), "proposals_after_nms": (50, 50)},
}
BUDGET = Budget(train=(PATIENTS, SEED), test=(PATIENTS, SEED), epochs=1, milestones=(1,), batch=1)
BASE = Row("base", "faster_rcnn", TINY)
BMC = Row("bmc", "faster_rcnn_bmc", TINY, host="base")


def place_in(folder: Path, phantoms: Path) -> Place:
    sets = folder / "phantoms"
    sets.mkdir()
    for name in ("train", "test"):
        (sets / name).symlink_to(phantoms)
    return Place(folder / "runs", sets, "cpu")


@pytest.fixture
def place(phantoms: Path, tmp_path: Path) -> Place:
    return place_in(tmp_path, phantoms)


@pytest.fixture(scope="module")
def trained(phantoms: Path, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """Where both rows are trained and scored, to be copied."""
    place = place_in(tmp_path_factory.mktemp("trained"), phantoms)
    outcomes = finish(run_all([experiment(BASE, BMC)], place))
    assert [outcome.state for outcome in outcomes] == [State.FINISHED, State.FINISHED]
    return place


def take_over(row: Row, trained: Place, place: Place) -> Run:
    """A row's finished run, of which a copy may be changed."""
    shutil.copytree(planned(row, trained).folder, planned(row, place).folder)
    it = planned(row, place)
    assert it.state is State.FINISHED
    return it


@pytest.fixture
def no_training(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise AssertionError("it trained")

    monkeypatch.setattr(experiments, "train", fail)


def experiment(*rows: Row, seeds: tuple[int, ...] = (0,)) -> Experiment:
    return Experiment("tiny", "Tiny", rows, seeds, BUDGET)


def planned(row: Row, place: Place, *, seed: int = 0, budget: Budget = BUDGET) -> Run:
    return plan(replace(experiment(row), budget=budget), row, seed, place)


def rewrite(folder: Path, *path: str, value: object) -> None:
    """Store a run as one that was made with another value under a key path."""
    content = json.loads((folder / "run.json").read_text())
    table = content
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value
    (folder / "run.json").write_text(json.dumps(content))


@pytest.fixture
def finished(place: Place) -> Run:
    """A run of the base row, as if it were trained and scored."""
    it = planned(BASE, place)
    it.folder.mkdir(parents=True)
    it.spec.write(it.folder)
    it.files[1].write_text("{}")
    assert planned(BASE, place).state is State.FINISHED
    return it


def test_a_run_leaves_every_lesions_score_and_what_it_reached(place: Place, phantoms: Path) -> None:
    it = planned(BASE, place)
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
    assert facts["recipe"]["training"]["epochs"] == 1


@pytest.mark.usefixtures("no_training")
def test_what_is_finished_is_kept(trained: Place) -> None:
    place = trained
    (first,) = finish(run_all([experiment(BASE)], place))
    assert finish(run_all([experiment(BASE)], place)) == [first]
    assert first.state is State.FINISHED
    assert survey([experiment(BASE)], place)[0].state is State.FINISHED


def test_a_stopped_training_is_resumed_even_by_a_row_of_another_name(place: Place) -> None:
    it = planned(BMC, place)
    work = run(it)
    for _ in range(4):
        next(work)
    work.close()
    assert survey([experiment(BMC)], place)[0].state is State.STOPPED
    supervision = {"objectness": "bmc", "regression": "bmc", "roi_branch": "abm"}
    same = Row("the same", "faster_rcnn", TINY | {"supervision": supervision})
    assert planned(same, place).folder == it.folder
    assert finish(run(planned(same, place))) is State.FINISHED
    starts = [json.loads(line) for line in (it.folder / "log.jsonl").read_text().splitlines()]
    assert [row["recipe"] for row in starts if row["event"] == "start"] == ["faster_rcnn_bmc"] * 2


@pytest.mark.usefixtures("no_training")
def test_what_another_process_holds_is_left_to_it(place: Place) -> None:
    it = planned(BASE, place)
    it.folder.mkdir(parents=True)
    with filelock.FileLock(it.folder / "lock"):
        assert finish(run(it)) is State.LOCKED
    with pytest.raises(AssertionError, match="it trained"):
        finish(run(it))


def test_a_stopped_run_gives_its_lock_back(place: Place) -> None:
    work = run(planned(BASE, place))
    next(work)
    with pytest.raises(filelock.Timeout):
        filelock.FileLock(planned(BASE, place).folder / "lock", timeout=0).acquire()
    work.close()
    filelock.FileLock(planned(BASE, place).folder / "lock", timeout=0).acquire().lock.release()


@pytest.mark.usefixtures("no_training")
def test_negatives_are_counted_from_the_same_training(place: Place, trained: Place) -> None:
    take_over(BASE, trained, place)
    it = planned(replace(BASE, label="+FP", count_negatives=True), place)
    assert it.state is not State.FINISHED
    assert finish(run(it)) is State.FINISHED
    assert {path.name for path in it.folder.glob("result*")} == {"result.json", "result_with_negatives.json"}


def test_a_run_is_kept_under_a_name_that_can_be_read(place: Place) -> None:
    row = replace(BASE, label="BMC objectness, + FP")
    assert planned(row, place, seed=1).folder == place.root / "tiny" / "bmc_objectness_+_fp-seed1"


def test_the_key_tells_apart_recipes_seeds_budgets_data_and_what_is_started_from(place: Place, phantoms: Path) -> None:
    keys = {
        planned(BASE, place).spec.key,
        planned(BASE, place, seed=1).spec.key,
        planned(BMC, place).spec.key,
        planned(BASE, place, budget=replace(BUDGET, batch=4)).spec.key,
        planned(replace(BASE, init=BASE), place).spec.key,
        planned(replace(BASE, init=BMC), place).spec.key,
    }
    assert len(keys) == 6
    (place.phantoms / "test").unlink()
    other = place.phantoms / "test"
    other.mkdir()
    for name in ("phantom.json", "DL_info.csv"):
        (other / name).write_bytes((phantoms / name).read_bytes())
    assert planned(BASE, place).spec.key in keys
    (other / "DL_info.csv").write_text((phantoms / "DL_info.csv").read_text() + "\n")
    assert planned(BASE, place).spec.key not in keys


def test_a_key_holds_every_default_and_nothing_that_only_describes(place: Place) -> None:
    meaning = planned(BASE, place).spec.meaning()
    assert meaning["recipe"]["supervision"]["rpn_iou"] == [0.7, 0.3]
    assert meaning["recipe"]["training"]["clip_norm"] == 5
    assert meaning["recipe"]["method"].keys().isdisjoint({"name", "title", "paper", "host", "published"})


@pytest.mark.usefixtures("no_training")
def test_a_result_of_a_default_that_changed_since_is_neither_shown_nor_overwritten(
    place: Place, finished: Run, tmp_path: Path
) -> None:
    rewrite(finished.folder, "recipe", "training", "clip_norm", value=1.5)
    for (outcome,) in (survey([experiment(BASE)], place), finish(run_all([experiment(BASE)], place))):
        assert outcome.state is State.STALE
        assert outcome.note == "recipe.training.clip_norm is 5.0, was 1.5"
    assert finished.files[1].is_file()
    with pytest.raises(DataError, match="no finished run"):
        write_tables(tmp_path / "tables.md", [experiment(BASE)], place)


@pytest.mark.parametrize(
    ("path", "value", "told"),
    [
        (("results",), 0, "results is 1, was 0"),
        (("data", "test", "generator_version"), 0, "data.test.generator_version is 1, was 0"),
    ],
)
def test_results_of_another_version_or_of_other_data_are_told(
    place: Place, finished: Run, path: tuple[str, ...], value: object, told: str
) -> None:
    rewrite(finished.folder, *path, value=value)
    assert planned(BASE, place).state is State.STALE
    assert planned(BASE, place).differs == told


def test_a_result_without_a_readable_word_on_its_recipe_is_stale(place: Place, finished: Run) -> None:
    rewrite(finished.folder, "recipe", "training", "no_such_key", value=1)
    assert planned(BASE, place).state is State.STALE
    (finished.folder / "run.json").unlink()
    assert planned(BASE, place).state is State.STALE
    assert "run.json" in planned(BASE, place).differs


def test_a_stale_result_is_renewed_where_that_is_asked_for(place: Place, finished: Run) -> None:
    rewrite(finished.folder, "recipe", "training", "clip_norm", value=1.5)
    (finished.folder / "checkpoint.safetensors").write_text("of another recipe")
    assert finish(run(planned(BASE, place), renew=True)) is State.FINISHED
    assert planned(BASE, place).result().facts["average"] >= 0
    assert json.loads((finished.folder / "run.json").read_text())["recipe"]["training"]["clip_norm"] == 5
    aside = finished.folder.with_name(f"{finished.folder.name}-before1")
    assert json.loads((aside / "run.json").read_text())["recipe"]["training"]["clip_norm"] == 1.5
    assert (aside / "checkpoint.safetensors").read_text() == "of another recipe"


def test_a_key_that_the_schema_gained_since_means_what_its_default_says(place: Place, finished: Run) -> None:
    content = json.loads((finished.folder / "run.json").read_text())
    del content["recipe"]["training"]["monitor"]
    (finished.folder / "run.json").write_text(json.dumps(content))
    assert planned(BASE, place).state is State.FINISHED


@pytest.mark.usefixtures("finished", "no_training")
def test_rows_of_any_experiment_that_mean_the_same_share_a_run(place: Place) -> None:
    same = replace(BASE, label="host", recipe="faster_rcnn")
    other = replace(experiment(same), name="other")
    it = plan(other, same, 0, place)
    assert it.folder == planned(BASE, place).folder
    assert it.state is State.FINISHED
    assert plan(other, same, 1, place).folder == place.root / "other" / "host-seed1"


def test_what_waits_for_its_phantoms_has_not_begun_rather_than_failed(place: Place, tmp_path: Path) -> None:
    (outcome,) = survey([experiment(BASE)], replace(place, phantoms=tmp_path / "none"))
    assert outcome.state is State.NEW
    assert "napari-uld phantom" in outcome.note


def test_a_row_that_fails_does_not_stop_the_others(place: Place) -> None:
    rows = (Row("gone", "no_such_recipe"), Row("odd", "faster_rcnn", {"detector": {"no_such_key": 1}}), BASE)
    outcomes = finish(run_all([experiment(*rows)], place))
    assert [outcome.state for outcome in outcomes] == [State.FAILED, State.FAILED, State.FINISHED]
    assert "no_such_recipe" in outcomes[0].note
    assert "no_such_key" in outcomes[1].note


def test_phantoms_of_another_seed_are_refused(place: Place) -> None:
    with pytest.raises(DataError, match="--seed 99"):
        planned(BASE, place, budget=replace(BUDGET, train=(PATIENTS, 99)))


def test_timing_measures_what_is_finished_with_and_without_maps(place: Place, trained: Place) -> None:
    take_over(BMC, trained, place)
    finish(time_all([experiment(BASE, BMC)], place))
    timing = json.loads((planned(BMC, place).folder / "timing.json").read_text())
    assert timing["with maps"] > 0
    assert timing["without maps"] > 0
    assert not planned(BASE, place).folder.exists()


def test_the_tables_hold_what_is_finished(place: Place, trained: Place, tmp_path: Path) -> None:
    for row in (BASE, BMC):
        take_over(row, trained, place)
    chosen = experiment(BASE, BMC, Row("gone", "no_such_recipe", host="base"))
    finish(run_all([chosen], place))
    finish(time_all([chosen], place))
    write_tables(tmp_path / "tables.md", [chosen], place)
    text = (tmp_path / "tables.md").read_text()
    average = planned(BMC, place).result().curve.average
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
    assert len({slug(row.label) for row in chosen.rows}) == len(chosen.rows)


def test_rows_and_seeds_are_selected() -> None:
    (chosen,) = select("ablation", ["ABM branch"], "3,1")
    assert [row.label for row in chosen.rows] == ["ABM branch"]
    assert chosen.seeds == (3, 1)
    assert len(select()) == len(EXPERIMENTS)
    for wrong in (("nothing",), (None, ["nothing"]), (None, None, "one")):
        with pytest.raises(RecipeError):
            select(*wrong)


def test_a_row_that_starts_from_another_waits_for_it_and_takes_its_weights(place: Place, trained: Place) -> None:
    longer = Row("longer", "faster_rcnn", TINY, init=BASE)
    from_host, from_nothing = planned(longer, place), planned(BASE, place)
    assert from_host.folder != from_nothing.folder
    with pytest.raises(DataError, match="starts from base"):
        finish(run(from_host))
    take_over(BASE, trained, place)
    assert finish(run(from_host)) is State.FINISHED
    start = json.loads((from_host.folder / "log.jsonl").read_text().splitlines()[0])
    assert start["notes"] == ["no weights in checkpoint.safetensors for: nothing"]


def test_a_row_may_have_fewer_seeds_than_its_experiment() -> None:
    once = replace(BMC, seeds=(0, 7))
    two = experiment(BASE, once, seeds=(0, 1))
    assert [(row.label, seed) for _, row, seed in in_order([two])] == [("base", 0), ("bmc", 0), ("base", 1)]
    assert in_order([replace(two, seeds=(1,))])[0][1] is BASE


def test_a_budget_in_steps_reaches_every_row() -> None:
    recipe = row_recipe(Row("x", "mining_add"), Budget(steps=77))
    assert recipe.training.steps == 77
    mining = EXPERIMENTS["mining"]
    assert {row_recipe(row, mining.budget).training.steps for row in mining.rows} == {mining.budget.steps}


def test_a_traced_row_is_scored_in_whole_scans_too_and_only_that_is_missing_later(
    place: Place, trained: Place, phantoms: Path
) -> None:
    take_over(BASE, trained, place)
    traced = planned(replace(BASE, traced=True), place)
    assert traced.state is State.STOPPED, "the same training, scored on key slices alone"
    weights = (traced.folder / "checkpoint.safetensors").stat().st_mtime_ns
    assert finish(run(traced)) is State.FINISHED
    assert (traced.folder / "checkpoint.safetensors").stat().st_mtime_ns == weights
    facts = json.loads((traced.folder / "traced.json").read_text())
    assert facts["fp_per_scan"] == [0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0]
    assert facts["scans"] == PATIENTS
    assert facts["lesions"] == sum(len(read_truth(phantoms, series)) for series in truth_series(phantoms))
    assert {"average", "ap", "low", "high", "sensitivity", "recipe", "seed"} <= facts.keys()
    result = traced.traced_result()
    assert result.scan_curve.average == pytest.approx(facts["average"], abs=1e-4)
    assert len(result.patients) == PATIENTS
    assert result.scan_bootstrapped.shape == (1000, 8)


def test_what_was_mined_epoch_by_epoch_stays_with_the_result(place: Place, trained: Place) -> None:
    it = take_over(BASE, trained, place)
    assert "mining" not in json.loads(it.files[1].read_text())
    it.files[1].unlink()
    with (it.folder / "log.jsonl").open("a") as log:
        log.write('{"event": "mining", "epoch": 1, "mined": 3}\n')
    finish(run(planned(BASE, place)))
    assert [row["mined"] for row in json.loads(it.files[1].read_text())["mining"]] == [3]
