"""Every recipe's small network learns with all that it is made of."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import Recipe, load_recipe, recipe_names
from napari_uld.training.data.slab_dataset import HARD_NEGATIVE, LESION
from napari_uld.training.data.targets import make_target

SIZE = 96
# A small lesion and one that reaches every level of a pyramid.
BOXES = np.array([[10.0, 12, 20, 24], [22.0, 20, 90, 84]])


def lesson(recipe: Recipe) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """An image with two lesions, the second one a hard negative where those are taught, and its target."""
    masks = np.zeros((2, SIZE, SIZE), np.uint8)
    masks[0, 14:22, 12:18] = 1
    masks[1, 30:74, 32:80] = 1
    second = HARD_NEGATIVE if recipe.mining.hard_negatives else LESION
    target = make_target(
        BOXES,
        np.array([LESION, second]),
        masks if recipe.supervision.mask_kind else None,
        (SIZE, SIZE),
        recipe.input,
        recipe.supervision,
    )
    return [torch.randn(recipe.input.slices, SIZE, SIZE)], [target]


def predicts_maps(recipe: Recipe) -> bool:
    """Whether it learns to draw its lesions, on regions or on the whole slice."""
    supervision = recipe.supervision
    return supervision.mask_kind is not None or getattr(supervision, "roi_branch", "none") != "none"


@pytest.mark.parametrize("name", recipe_names())
def test_gradients_reach_every_trainable_part(name: str) -> None:
    recipe = load_recipe(name, small=True)
    torch.manual_seed(0)
    model = build_detector(recipe).train()
    losses = model(*lesson(recipe))
    assert bool(losses.keys() & {"branch", "segmentation"}) == predicts_maps(recipe)
    sum(losses.values()).backward()
    gradients = {parameter: value.grad for parameter, value in model.named_parameters()}
    untouched = [p for p, grad in gradients.items() if grad is None or not grad.isfinite().all() or not grad.any()]
    assert untouched == []
    if recipe.mining.hard_negatives:
        # Each class has a map, a score and boxes of its own.
        for part, classes in (("branch.layers.1.mask_fcn_logits", 2), ("box_predictor.logits", 3)):
            assert gradients[f"regions.{part}.weight"].flatten(1).any(dim=1).tolist() == [True] * classes
        boxes = gradients["regions.box_predictor.deltas.weight"].unflatten(0, (3, 4)).flatten(1)
        assert boxes.any(dim=1).tolist() == [False, True, True], "the background has no box"


@pytest.mark.parametrize("name", recipe_names())
def test_a_small_network_detects_on_an_image(name: str) -> None:
    recipe = load_recipe(name, small=True)
    torch.manual_seed(0)
    model = build_detector(recipe).eval()
    with torch.inference_mode():
        (found,) = model([torch.randn(recipe.input.slices, 64, 96)])
    assert bool(found.keys() & {"masks", "segmentation"}) == predicts_maps(recipe)
    assert set(found["labels"].tolist()) <= set(range(1, len(recipe.detector.classes) + 1))
