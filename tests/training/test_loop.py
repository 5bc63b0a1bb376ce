"""Training end to end, in miniature."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor

from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.recipe import Recipe, TrainingSpec
from napari_uld.errors import DataError, TrainingError
from napari_uld.inference.catalogue import read_info
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.lesions.annotations import Source
from napari_uld.lesions.findings_file import read_findings
from napari_uld.progress import finish
from napari_uld.training.data.augment import Augmentation
from napari_uld.training.data.key_slices import annotated_slices
from napari_uld.training.data.sets import training_set
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import evaluate_subject
from napari_uld.training.loop import Run, TrainingOptions, train
from napari_uld.training.run_files import CHECKPOINT, LOG, STATE, STATE_VERSION, trained_lesions
from napari_uld.training.schedule import Schedule, make_optimizer

Make = Callable[..., Recipe]


def rows_of(out: Path, event: str) -> list[dict]:
    return [row for row in map(json.loads, (out / LOG).read_text().splitlines()) if row["event"] == event]


def same_weights(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, bit for bit."""
    first, second = (torch.load(out / "state.pt", weights_only=True)["model"] for out in (one, other))
    return all(torch.equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def trained(phantoms: Path, tiny_recipe: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run")
    finish(train(tiny_recipe(), TrainingOptions(data=phantoms, out=out, device="cpu")))
    return out


def test_training_leaves_a_checkpoint_that_says_what_it_reached(trained: Path, phantoms: Path) -> None:
    info = read_info(trained / "checkpoint.safetensors")
    assert info.name == "faster_rcnn_bmc"
    assert info.evaluation["data"] == "validation split"
    assert len(rows_of(trained, "validation")) == 2
    load_checkpoint(info.path, "cpu")
    evaluation = finish(evaluate_subject(str(info.path), phantoms, "all", device="cpu"))
    assert evaluation.images > 20
    assert (evaluation.low <= evaluation.high).all()


def test_a_stopped_and_resumed_run_ends_where_an_uninterrupted_one_does(
    trained: Path, phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu")
    run = train(tiny_recipe(), options)
    while not (tmp_path / LOG).exists() or not rows_of(tmp_path, "validation"):
        next(run)
    for _ in range(3):
        next(run)
    run.close()
    finish(train(tiny_recipe(), TrainingOptions(data=phantoms, out=tmp_path, device="cpu", resume=True)))
    assert same_weights(trained, tmp_path)


def test_a_run_begun_on_a_cpu_goes_on_where_gradients_are_scaled(
    trained: Path, phantoms: Path, tiny_recipe: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    scaler = partial(torch.amp.GradScaler, "cpu")
    monkeypatch.setattr(torch.amp, "GradScaler", lambda enabled: scaler(enabled=True))
    run = Run(tiny_recipe(), TrainingOptions(data=phantoms, out=trained, device="cpu", resume=True))
    assert run.scaler.is_enabled()
    assert run.epoch == tiny_recipe().training.epochs


@pytest.fixture(scope="module")
def uldor(tiny_recipe: Make) -> Recipe:
    """It mines whatever it finds: after an epoch in miniature nothing is sure."""
    recipe = tiny_recipe("uldor")
    mining = recipe.mining.model_copy(update={"score": 0.0})
    detector = recipe.detector.model_copy(update={"score_threshold": 0.0})
    return recipe.model_copy(update={"mining": mining, "detector": detector})


@pytest.fixture(scope="module")
def mining_run(phantoms: Path, uldor: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("mining")
    finish(train(uldor, TrainingOptions(data=phantoms, out=out, device="cpu")))
    return out


def test_hard_negatives_are_mined_after_every_epoch_but_the_last_and_kept(mining_run: Path) -> None:
    (row,) = rows_of(mining_run, "mining")
    assert row["epoch"] == 1
    assert 0 < row["images"] <= row["mined"] <= 3 * row["images"]
    assert [path.name for path in (mining_run / "mined").iterdir()] == ["epoch_1"]
    kept = [read_findings(path) for path in (mining_run / "mined" / "epoch_1").glob("*.json")]
    assert sum(len(findings) for findings in kept) == row["mined"]
    assert all(findings.negative.all() for findings in kept)


def test_the_second_epoch_is_taught_what_was_mined_also_after_a_resume(
    mining_run: Path, phantoms: Path, uldor: Recipe, tmp_path: Path
) -> None:
    run = train(uldor, TrainingOptions(data=phantoms, out=tmp_path, device="cpu"))
    while not (tmp_path / LOG).exists() or not rows_of(tmp_path, "mining"):
        next(run)
    for _ in range(3):
        next(run)
    run.close()
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu", resume=True)
    taken_up = Run(uldor, options)
    (row,) = rows_of(tmp_path, "mining")
    assert sum(len(mined.boxes) for mined in taken_up.train_set.negatives.values()) == row["mined"]
    index, mined = next(iter(taken_up.train_set.negatives.items()))
    assert (taken_up.train_set[index][1]["labels"] == 2).sum() == len(mined.boxes)
    finish(train(uldor, options))
    assert same_weights(mining_run, tmp_path)


def test_what_is_mined_changes_what_the_next_epoch_learns(
    mining_run: Path, phantoms: Path, uldor: Recipe, tmp_path: Path
) -> None:
    mining = uldor.mining.model_copy(update={"score": 1.0, "overlap": 1.0})
    recipe = uldor.model_copy(update={"mining": mining})
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
    (row,) = rows_of(tmp_path, "mining")
    assert row["mined"] == 0
    assert not same_weights(mining_run, tmp_path)


def test_positives_are_logged_by_level(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("mask_rcnn", epochs=1, batch=1)
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
    rows = rows_of(tmp_path, "step")
    assert len(rows) > 0
    for row in rows:
        assert {name: len(levels) for name, levels in row["positives"].items()} == {"objectness": 5, "regression": 5}
        assert sum(row["positives"]["objectness"]) > 0


def test_a_run_stopped_in_its_first_epoch_can_go_on(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=1)
    run = train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu"))
    next(run)
    next(run)
    run.close()
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu", resume=True)))
    assert len(rows_of(tmp_path, "validation")) == 1


def test_a_run_remembers_where_its_lesions_come_from_and_logs_how_many_of_each(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    asked = (Source.EXPERT, Source.EDITED)
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu", sources=asked)
    run = train(tiny_recipe(), options)
    next(run)
    run.close()
    listed = sum(len(key.boxes) for key in annotated_slices(phantoms, "train"))
    (start,) = rows_of(tmp_path, "start")
    assert start["lesions"] == {"expert": listed}
    assert trained_lesions(tmp_path) == f"lesions by source: {listed} expert"
    assert Run(tiny_recipe(), replace(options, sources=None, resume=True)).sources == asked
    with pytest.raises(TrainingError, match="other sources"):
        Run(tiny_recipe(), replace(options, sources=(Source.MINED,), resume=True))


def test_a_run_that_was_begun_before_sources_were_asked_for_goes_on_without(
    trained: Path, phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    state = torch.load(trained / STATE, weights_only=True)
    del state["sources"]
    torch.save(state, tmp_path / STATE)
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu", resume=True)
    assert Run(tiny_recipe(), options).sources is None
    with pytest.raises(TrainingError, match="all that the table lists"):
        Run(tiny_recipe(), replace(options, sources=(Source.EXPERT,)))


def test_volumes_whose_truth_is_known_come_from_nowhere_else(phantoms: Path, tiny_recipe: Make) -> None:
    recipe = tiny_recipe()
    volumes = recipe.model_copy(update={"input": recipe.input.model_copy(update={"volume": True})})
    with pytest.raises(DataError, match="leave --sources out"):
        training_set(phantoms, volumes, 0, (Source.MINED,))


def test_a_damaged_state_is_a_sentence(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "state.pt").write_bytes(b"not a state")
    with pytest.raises(TrainingError, match="damaged"):
        finish(train(tiny_recipe(), TrainingOptions(data=phantoms, out=tmp_path, device="cpu", resume=True)))


def test_resuming_another_recipe_and_overwriting_a_run_are_refused(
    trained: Path, phantoms: Path, tiny_recipe: Make
) -> None:
    with pytest.raises(TrainingError, match="another recipe"):
        finish(train(tiny_recipe(lr=0.5), TrainingOptions(data=phantoms, out=trained, device="cpu", resume=True)))
    with pytest.raises(TrainingError, match="--resume"):
        finish(train(tiny_recipe(), TrainingOptions(data=phantoms, out=trained, device="cpu")))


def test_init_starts_from_a_checkpoints_weights(
    trained: Path, phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    init = trained / "checkpoint.safetensors"
    options = TrainingOptions(data=phantoms, out=tmp_path, init=init, device="cpu")
    run = train(tiny_recipe("faster_rcnn", epochs=1), options)
    next(run)
    (start,) = rows_of(tmp_path, "start")
    assert start["notes"] == ["no weights in checkpoint.safetensors for: nothing"]
    run.close()
    assert "regions.branch.layers.0.0.0.weight" in load_file(init)


@pytest.fixture
def no_gain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every epoch is as good as the first."""
    monkeypatch.setattr("napari_uld.training.loop.monitored", lambda *_: ("average precision", 0.25))


@pytest.mark.usefixtures("no_gain")
def test_training_stops_early_without_gain(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=5, patience=1, lr=1e-9)
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
    assert len(rows_of(tmp_path, "early stop")) == 1
    assert len(rows_of(tmp_path, "validation")) == 2


@pytest.mark.usefixtures("no_gain")
def test_a_run_resumed_on_a_plateau_goes_on_at_the_fallen_rate(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=3, batch=1, milestones=(), plateau=1, lr=1e-3, monitor="ap")
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    finish(train(recipe, TrainingOptions(data=phantoms, out=whole, device="cpu")))
    run = train(recipe, TrainingOptions(data=phantoms, out=parts, device="cpu"))
    while not (parts / LOG).exists() or len(rows_of(parts, "validation")) < 2:
        next(run)
    for _ in range(3):
        next(run)
    run.close()
    finish(train(recipe, TrainingOptions(data=phantoms, out=parts, device="cpu", resume=True)))
    assert same_weights(whole, parts)
    for out in (whole, parts):
        assert [row["drops"] for row in rows_of(out, "validation")] == [0, 1, 2]
        assert {row["monitored"] for row in rows_of(out, "validation")} == {"average precision"}
        rates = {row["epoch"]: row["lr"] for row in rows_of(out, "step")}
        assert [rates[epoch] for epoch in range(3)] == pytest.approx([1e-3, 1e-3, 1e-4])


@pytest.mark.usefixtures("no_gain")
def test_what_was_monitored_and_a_fallen_rate_are_said_after_an_epoch(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    recipe = tiny_recipe("faster_rcnn", plateau=1)
    messages = [step.message for step in train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu"))]
    assert "Epoch 1: average precision 0.250" in messages
    assert "Epoch 2: average precision 0.250, no gain: the learning rate falls to a tenth" in messages


@pytest.fixture
def no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is ever found."""
    monkeypatch.setattr("napari_uld.training.loop.monitored", lambda *_: ("average precision", 0.0))


@pytest.mark.usefixtures("no_hit")
def test_while_nothing_was_ever_found_training_goes_on_at_its_rate_and_the_latest_epoch_is_kept(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=3, batch=1, milestones=(), patience=1, plateau=1)
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
    assert [row["drops"] for row in rows_of(tmp_path, "validation")] == [0, 0, 0]
    assert rows_of(tmp_path, "early stop") == []
    assert {row["lr"] for row in rows_of(tmp_path, "step")} == {recipe.training.lr}
    assert read_info(tmp_path / CHECKPOINT).evaluation["epoch"] == 3


def test_a_resumed_run_knows_its_best_epoch_and_its_drops(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu")
    run = Run(tiny_recipe(), options)
    run.schedule = Schedule(0.5, 1, 2)
    run.save_state()
    assert Run(tiny_recipe(), replace(options, resume=True)).schedule == Schedule(0.5, 1, 2)


@pytest.mark.parametrize("version", [None, STATE_VERSION - 1, STATE_VERSION + 1])
def test_a_run_begun_by_another_version_is_refused_with_one_sentence(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path, version: int | None
) -> None:
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu")
    Run(tiny_recipe(), options).save_state()
    state = torch.load(tmp_path / STATE, weights_only=True)
    # The first version said none, and had no miner.
    del state["version"], state["miner"]
    torch.save(state | ({} if version is None else {"version": version}), tmp_path / STATE)
    with pytest.raises(TrainingError, match=r"begun by another version.*begin again in another folder") as refused:
        Run(tiny_recipe(), replace(options, resume=True))
    assert "\n" not in str(refused.value)


def test_a_run_goes_on_after_the_schema_has_gained_a_key_and_not_where_a_value_differs(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path
) -> None:
    options = TrainingOptions(data=phantoms, out=tmp_path, device="cpu")
    Run(tiny_recipe(), options).save_state()
    state = torch.load(tmp_path / STATE, weights_only=True)
    assert set(state["recipe"]["training"]) == set(TrainingSpec.model_fields), "written or not"
    assert state["recipe"]["training"].pop("clip_norm") == TrainingSpec().clip_norm
    torch.save(state, tmp_path / STATE)
    Run(tiny_recipe(), replace(options, resume=True))
    state["recipe"]["training"]["clip_norm"] = 4.0
    torch.save(state, tmp_path / STATE)
    with pytest.raises(TrainingError, match="of another recipe"):
        Run(tiny_recipe(), replace(options, resume=True))


def test_gradients_are_clipped_before_a_step_is_taken(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip, rate = 1e-3, 0.5
    moved: list[float] = []

    def watched(model: Detector, spec: TrainingSpec) -> torch.optim.Optimizer:
        optimizer = make_optimizer(model, spec)
        before: list[Tensor] = []

        def remember(*_: object) -> None:
            before[:] = [weights.detach().clone() for weights in model.parameters()]

        def measure(*_: object) -> None:
            steps = [
                (weights.detach() - old).flatten() for weights, old in zip(model.parameters(), before, strict=True)
            ]
            moved.append(float(torch.cat(steps).double().norm()))

        optimizer.register_step_pre_hook(remember)
        optimizer.register_step_post_hook(measure)
        return optimizer

    monkeypatch.setattr("napari_uld.training.loop.make_optimizer", watched)
    plain = {"optimizer": "sgd", "momentum": 0.0, "weight_decay": 0.0, "milestones": ()}
    recipe = tiny_recipe("faster_rcnn", **plain, lr=rate, clip_norm=clip)
    run = train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu"))
    while len(moved) < 3:
        next(run)
    run.close()
    # Without momentum a step is the rate times the gradient; fresh weights' gradients are longer than the limit.
    assert moved == pytest.approx([rate * clip] * 3, rel=1e-2)


def test_every_epoch_draws_augmentations_of_its_own(
    phantoms: Path, tiny_recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[dict[int, Augmentation]] = []
    draw = SlabDataset.drawn

    def watched(self: SlabDataset, epoch: int, index: int) -> Augmentation:
        augmentation = draw(self, epoch, index)
        if not drawn or index in drawn[-1]:
            drawn.append({})
        drawn[-1][index] = augmentation
        return augmentation

    monkeypatch.setattr(SlabDataset, "drawn", watched)
    recipe = tiny_recipe("faster_rcnn", rotation=0.1)
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
    first, second = drawn
    assert len(first) > 5
    assert first.keys() == second.keys()
    assert all(first[index] != second[index] for index in first)
    assert len({first[index].affine for index in first}) == len(first), "and every image one of its own"


def test_a_loss_that_is_not_finite_stops_with_a_sentence(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", lr=1e30)
    with pytest.raises(TrainingError, match="lower learning rate"):
        finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
