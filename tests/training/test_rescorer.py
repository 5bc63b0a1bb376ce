"""A rescorer is trained by a recipe of its own and kept in the same checkpoint as its detector."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.heads.rescorer import CropRescorer
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.detectors.specs.rescorer import RescorerSpec
from napari_uld.detectors.specs.system import System
from napari_uld.errors import TrainingError
from napari_uld.inference.checkpoint import initialise, load_checkpoint, save_checkpoint
from napari_uld.progress import finish
from napari_uld.training.loop import TrainingOptions, train

SPEC = RescorerSpec(crop=8, channels=4, convolutions=2)


def test_it_alone_is_trained_from_a_detectors_checkpoint(
    phantoms: Path, tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    host = tiny_recipe("faster_rcnn")
    torch.manual_seed(0)
    before = build_detector(host)
    save_checkpoint(tmp_path / "host.safetensors", before, host.model_dump(mode="json"), {})
    recipe = host.model_copy(update={"rescorer": SPEC})
    options = TrainingOptions(phantoms, tmp_path / "run", init=tmp_path / "host.safetensors", device="cpu")
    trained = load_checkpoint(finish(train(recipe, options)), "cpu").model
    kept = load_checkpoint(tmp_path / "host.safetensors", "cpu").model.state_dict()
    weights = trained.state_dict()
    assert all(torch.equal(weights[name], value) for name, value in kept.items())
    assert {name.split(".")[0] for name in weights.keys() - kept.keys()} == {"rescorer"}
    torch.manual_seed(options.seed)
    begun = build_detector(recipe).state_dict()
    assert not torch.allclose(weights["rescorer.logit.weight"], begun["rescorer.logit.weight"], atol=1e-4)


def test_without_a_detectors_checkpoint_there_is_nothing_to_look_at(
    phantoms: Path, tiny_recipe: Callable[..., Recipe], tmp_path: Path
) -> None:
    recipe = tiny_recipe("faster_rcnn").model_copy(update={"rescorer": SPEC})
    with pytest.raises(TrainingError, match="--init"):
        finish(train(recipe, TrainingOptions(phantoms, tmp_path / "run", device="cpu")))


def test_detections_keep_their_boxes_and_get_the_mean_of_both_scores_best_first() -> None:
    torch.manual_seed(0)
    rescorer = CropRescorer(3, channels=4, convolutions=2, crop=8, context=2, iou=0.5, samples=8).eval()
    images = torch.randn(1, 9, 64, 64)
    boxes = torch.tensor([[4.0, 4, 20, 20], [30, 30, 60, 60], [10, 40, 20, 50]])
    found = {"boxes": boxes, "scores": torch.tensor([0.9, 0.5, 0.1]), "labels": torch.tensor([1, 1, 1])}
    (result,) = rescorer.rescore(images, [found])
    expected = (rescorer(rescorer.crops(images, [boxes])).sigmoid() + found["scores"]) / 2
    order = expected.argsort(descending=True)
    assert torch.equal(result["boxes"], boxes[order])
    assert torch.equal(result["scores"], expected[order])


def test_a_crop_is_a_square_of_the_key_images_slices_about_the_detection() -> None:
    images = torch.zeros(1, 9, 64, 64)
    images[0, 4] = torch.arange(64.0)
    images[0, :3] = images[0, 6:] = -1
    rescorer = CropRescorer(3, channels=4, convolutions=1, crop=4, context=2, iou=0.5, samples=8)
    (crop,) = rescorer.crops(images, [torch.tensor([[24.0, 30, 32, 34]])])
    # 8 px wide and 4 high: a square of 16 about (28, 32), its cells 4 px wide; pixel i lies at i + .5.
    assert crop[1, 0].tolist() == pytest.approx([21.5, 25.5, 29.5, 33.5])
    assert crop[0].abs().max() == 0


def test_a_detection_is_a_lesion_from_the_iou_on() -> None:
    rescorer = CropRescorer(1, channels=4, convolutions=1, crop=4, context=1, iou=0.5, samples=8)
    seen: list[torch.Tensor] = []
    rescorer.crops = lambda images, boxes: torch.zeros(len(boxes[0]), 1, 4, 4)  # type: ignore[method-assign]
    rescorer.forward = lambda crops: seen.append(crops) or torch.full((len(crops),), 50.0)  # type: ignore[method-assign]
    lesion = torch.tensor([[0.0, 0, 10, 10]])
    found = {"boxes": torch.tensor([[0.0, 0, 10, 20], [0, 0, 10, 21]])}
    loss = rescorer.loss(torch.zeros(1, 1, 64, 64), [found], [{"boxes": lesion, "labels": torch.tensor([1])}])
    # Of three boxes (IoU .5, .476 and the lesion's own) the second alone is none: 50 / 3.
    assert loss.item() == pytest.approx(50 / 3)


def test_without_a_detection_or_a_lesion_every_weight_has_a_gradient() -> None:
    rescorer = CropRescorer(3, channels=4, convolutions=1, crop=4, context=1, iou=0.5, samples=8)
    nothing = {"boxes": torch.zeros(0, 4), "scores": torch.zeros(0)}
    target = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    rescorer.loss(torch.zeros(1, 3, 64, 64), [nothing], [target]).backward()
    assert all(weights.grad is not None for weights in rescorer.parameters())
    assert rescorer.rescore(torch.zeros(1, 3, 64, 64), [nothing]) == [nothing]


@pytest.mark.parametrize(
    "inputs", [{"volume": True, "slices_per_image": 1}, {"more_windows": [(-100, 200)]}], ids=["volume", "windows"]
)
def test_a_rescorer_of_a_volume_or_of_several_windows_is_refused(inputs: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="looks at slabs in one window"):
        System(input=inputs, rescorer={})


def test_lesion_harvester_is_three_steps_each_of_which_starts_from_the_one_before(tmp_path: Path) -> None:
    first, second, third = (
        load_recipe(name, "small") for name in ("centernet_25d", "lesion_harvester_proposals", "lesion_harvester")
    )
    assert [recipe.method.init for recipe in (first, second, third)] == [
        "none",
        "centernet_25d",
        "lesion_harvester_proposals",
    ]
    assert [recipe.mining.miner for recipe in (first, second, third)] == ["none", "known_negatives", "none"]
    torch.manual_seed(0)
    save_checkpoint(tmp_path / "a.safetensors", build_detector(second), second.model_dump(mode="json"), {})
    rescored = build_detector(third)
    missing = initialise(rescored, tmp_path / "a.safetensors")
    assert {name.split(".")[0] for name in missing} == {"rescorer"}
    assert {name.split(".")[0] for name, each in rescored.named_parameters() if each.requires_grad} == {"rescorer"}
    # Mistakes are made where there is nothing to find.
    assert third.training.lesion_free == 0.5
