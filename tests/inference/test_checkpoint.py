"""Checkpoints describe themselves and are refused when damaged."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_uld.errors import CheckpointError
from napari_uld.inference.catalogue import VERSION, find_checkpoint, read_info
from napari_uld.inference.checkpoint import initialise, load_checkpoint, save_checkpoint


def test_a_checkpoint_gives_back_its_recipe_its_evaluation_and_its_weights(checkpoint: Path) -> None:
    info = read_info(checkpoint)
    assert info.name == "faster_rcnn_bmc"
    assert info.evaluation == {"average": 0.5}
    loaded = load_checkpoint(checkpoint, "cpu")
    stored = load_file(checkpoint)
    assert not loaded.model.training
    for name, value in loaded.model.state_dict().items():
        assert torch.equal(value, stored[name].to(value.dtype)), name
    assert {t.dtype for t in stored.values() if t.is_floating_point()} == {torch.float16}


@pytest.mark.parametrize(
    ("evaluation", "point"),
    [
        ({}, None),
        ({"fp_per_image": [1.0, 2.0, 4.0], "scores": [0.61, 0.4577, 0.2]}, 0.457),
        ({"fp_per_image": [1.0, 2.0], "scores": [0.02, 0.0004]}, 0.001),
        # Even its surest detections give more false positives.
        ({"fp_per_image": [1.0, 2.0], "scores": [None, None]}, None),
        # Evaluated at other rates, or before scores were kept.
        ({"fp_per_image": [0.5, 1.0], "scores": [0.6, 0.2]}, None),
        ({"fp_per_image": [1.0, 2.0]}, None),
    ],
)
def test_the_operating_point_is_the_score_of_two_false_positives_a_key_slice(
    checkpoint: Path, tmp_path: Path, evaluation: dict[str, object], point: float | None
) -> None:
    loaded = load_checkpoint(checkpoint, "cpu")
    path = tmp_path / "evaluated.safetensors"
    save_checkpoint(path, loaded.model, loaded.info.recipe, evaluation)
    assert read_info(path).operating_point == point


@pytest.mark.parametrize(
    "evaluation",
    [
        {"fp_per_image": [2.0], "scores": ["high"]},
        {"fp_per_image": [2.0], "scores": [float("inf")]},
        {"fp_per_image": [2.0], "scores": [1.5]},
        {"fp_per_image": 1, "scores": 2},
    ],
)
def test_an_evaluation_that_makes_no_sense_is_damage(
    checkpoint: Path, tmp_path: Path, evaluation: dict[str, object]
) -> None:
    loaded = load_checkpoint(checkpoint, "cpu")
    path = tmp_path / "damaged.safetensors"
    save_checkpoint(path, loaded.model, loaded.info.recipe, evaluation)
    with pytest.raises(CheckpointError, match="damaged"):
        read_info(path)


@pytest.mark.parametrize("keep", [0, 7, 4000, -100])
def test_a_truncated_checkpoint_is_refused(checkpoint: Path, tmp_path: Path, keep: int) -> None:
    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(checkpoint.read_bytes()[:keep])
    with pytest.raises(CheckpointError, match="broken"):
        load_checkpoint(broken, "cpu")


def test_weights_that_are_no_numbers_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint, "cpu")
    with torch.no_grad():
        next(loaded.model.parameters())[0] = torch.nan
    path = tmp_path / "diverged.safetensors"
    save_checkpoint(path, loaded.model, loaded.info.recipe, {})
    with pytest.raises(CheckpointError, match="no numbers"):
        load_checkpoint(path, "cpu")


def test_a_recipe_with_a_key_nobody_knows_is_named(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint, "cpu")
    recipe = loaded.info.recipe | {"input": loaded.info.recipe["input"] | {"slicesx": 3}}
    path = tmp_path / "odd.safetensors"
    save_checkpoint(path, loaded.model, recipe, {})
    with pytest.raises(CheckpointError, match=r"its recipe is damaged \(input.slicesx is no key of \[input\]"):
        load_checkpoint(path, "cpu")


def test_a_file_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError, match="no checkpoint written by"):
        read_info(path)


def test_a_pickle_is_refused_without_being_opened(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    torch.save({"a": torch.zeros(1)}, path)
    with pytest.raises(CheckpointError):
        load_checkpoint(path, "cpu")


@pytest.mark.parametrize(("version", "what_to_do"), [(9, "update"), (1, "train it again")])
def test_another_version_is_refused_and_says_what_to_do(
    checkpoint: Path, tmp_path: Path, version: int, what_to_do: str
) -> None:
    path = tmp_path / "other.safetensors"
    data = checkpoint.read_bytes()
    written = b'\\"version\\": %d' % VERSION
    assert data.count(written) == 1
    path.write_bytes(data.replace(written, b'\\"version\\": %d' % version))
    with pytest.raises(CheckpointError, match=f"version {version}.*{what_to_do}"):
        read_info(path)


def test_weights_that_do_not_fit_the_recipe_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    path = tmp_path / "misfit.safetensors"
    data = checkpoint.read_bytes()
    changed = data.replace(b'\\"rpn_channels\\": 64', b'\\"rpn_channels\\": 63')
    assert changed != data
    path.write_bytes(changed)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(path, "cpu")


def test_an_unknown_name_is_refused_with_the_names_there_are() -> None:
    with pytest.raises(CheckpointError, match="bundled"):
        find_checkpoint("no_such_checkpoint")


def test_init_takes_over_what_fits_and_lists_what_does_not(checkpoint: Path) -> None:
    from napari_uld.detectors.build import build_detector
    from napari_uld.detectors.specs.recipe import load_recipe
    from napari_uld.detectors.specs.system import System

    recipe = load_recipe("faster_rcnn", "small")
    spec = recipe.detector.model_copy(update={"width": 0.125, "rpn_channels": 32})
    model = build_detector(System(detector=spec, supervision=recipe.supervision, input=recipe.input))
    missing = initialise(model, checkpoint)
    assert {name.split(".")[0] for name in missing} == {"proposals"}
    offered = load_file(checkpoint)
    assert torch.equal(
        model.state_dict()["regions.box_predictor.logits.bias"], offered["regions.box_predictor.logits.bias"].float()
    )


def test_init_takes_over_all_of_a_checkpoint_that_was_written_before_modules_had_todays_names() -> None:
    from napari_uld.detectors.build import build_detector
    from napari_uld.detectors.specs.system import system_of

    path = Path(__file__).parents[1] / "detectors" / "version_2" / "3dce_bmc.safetensors"
    info = read_info(path)
    assert info.version == 2
    model = build_detector(system_of(info.recipe))
    assert initialise(model, path) == []
    stored = sorted(tuple(weights.shape) for weights in load_file(path).values())
    assert sorted(tuple(weights.shape) for weights in model.state_dict().values()) == stored


def test_the_same_weights_and_recipe_give_the_same_file(checkpoint: Path, tmp_path: Path) -> None:
    loaded = load_checkpoint(checkpoint, "cpu")
    files = [tmp_path / f"{k}.safetensors" for k in range(5)]
    for file in files:
        save_checkpoint(file, loaded.model, loaded.info.recipe, loaded.info.evaluation)
    assert {file.read_bytes() for file in files} == {checkpoint.read_bytes()}
