"""Training end to end, in miniature."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from napari_uld.errors import TrainingError
from napari_uld.inference.catalogue import read_info
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.progress import finish
from napari_uld.training.evaluate import evaluate_subject
from napari_uld.training.loop import LOG, TrainingOptions, learning_rate, train
from napari_uld.training.recipe import Recipe, TrainingSpec

Make = Callable[..., Recipe]


def rows_of(out: Path, event: str) -> list[dict]:
    return [row for row in map(json.loads, (out / LOG).read_text().splitlines()) if row["event"] == event]


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
    whole, resumed = (torch.load(p / "state.pt", weights_only=True)["model"] for p in (trained, tmp_path))
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_a_run_stopped_in_its_first_epoch_can_go_on(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=1)
    run = train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu"))
    next(run)
    next(run)
    run.close()
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu", resume=True)))
    assert len(rows_of(tmp_path, "validation")) == 1


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


def test_training_stops_early_without_gain(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", epochs=5, patience=1, lr=1e-9)
    finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))
    assert len(rows_of(tmp_path, "early stop")) == 1
    assert len(rows_of(tmp_path, "validation")) < 5


def test_a_loss_that_is_not_finite_stops_with_a_sentence(phantoms: Path, tiny_recipe: Make, tmp_path: Path) -> None:
    recipe = tiny_recipe("faster_rcnn", lr=1e30)
    with pytest.raises(TrainingError, match="lower learning rate"):
        finish(train(recipe, TrainingOptions(data=phantoms, out=tmp_path, device="cpu")))


def test_the_rate_warms_up_and_falls_to_a_tenth_at_each_milestone() -> None:
    spec = TrainingSpec(lr=1.0, milestones=(2, 4), warmup_steps=10)
    assert learning_rate(spec, 0, 0) == pytest.approx(0.1)
    assert learning_rate(spec, 0, 9) == 1
    assert learning_rate(spec, 2, 50) == pytest.approx(0.1)
    assert learning_rate(spec, 4, 99) == pytest.approx(0.01)
