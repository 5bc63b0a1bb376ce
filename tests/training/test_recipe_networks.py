"""Every recipe's small network learns with all that it is made of."""

import numpy as np
import pytest
import torch
from torch import Tensor

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.parts import POSITION
from napari_uld.detectors.specs.recipe import Recipe, load_recipe, recipe_names
from napari_uld.detectors.targets import make_target
from napari_uld.lesions.findings import HARD_NEGATIVE_LABEL, LESION_LABEL
from napari_uld.training.schedule import make_optimizer

SIZE = 96
# A small lesion and one that reaches every level of a pyramid. Both centres lie before the middle of a cell, so that
# what their offsets teach does not cancel out.
BOXES = np.array([[8.0, 11, 18, 23], [22.0, 20, 90, 84]])
# Of volumes: that many slices, and which of them the lesions are on.
DEPTH = 6
ALONG_Z = np.array([[1.0, 3], [0, 6]])


def example(recipe: Recipe, lesions: int = 2) -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """An image with two lesions or fewer, the second one a hard negative where those are taught, and its target."""
    if recipe.input.volume:
        target = {"boxes": bodies(BOXES, ALONG_Z)[:lesions], "labels": torch.ones(lesions, dtype=torch.int64)}
        return [torch.randn(recipe.input.channels, DEPTH, SIZE, SIZE)], [target]
    masks = np.zeros((2, SIZE, SIZE), np.uint8)
    masks[0, 14:22, 12:18] = 1
    masks[1, 30:74, 32:80] = 1
    second = HARD_NEGATIVE_LABEL if mines_hard_negatives(recipe) else LESION_LABEL
    target = make_target(
        BOXES[:lesions],
        np.array([LESION_LABEL, second])[:lesions],
        masks[:lesions] if recipe.supervision.mask_kind else None,
        (SIZE, SIZE),
        maps=recipe.supervision.maps,
        pixel_area=1.0,
    )
    target[POSITION] = torch.tensor(0.6)
    return [torch.randn(recipe.input.slices * len(recipe.input.windows), SIZE, SIZE)], [target]


def bodies(boxes: np.ndarray, along_z: np.ndarray) -> Tensor:
    columns = [boxes[:, :2], along_z[:, :1], boxes[:, 2:], along_z[:, 1:]]
    return torch.from_numpy(np.hstack(columns).astype(np.float32))


def mines_hard_negatives(recipe: Recipe) -> bool:
    return recipe.mining.miner == "hard_negatives"


def predicts_maps(recipe: Recipe) -> bool:
    """Whether it learns to draw its lesions, on regions or on the whole slice."""
    supervision = recipe.supervision
    return supervision.mask_kind is not None or getattr(supervision, "roi_branch", "none") != "none"


@pytest.mark.parametrize("name", recipe_names())
def test_gradients_reach_every_trainable_part(name: str) -> None:
    recipe = load_recipe(name, "small")
    torch.manual_seed(0)
    model = build_detector(recipe).train()
    losses = model(*example(recipe))
    assert bool(losses.keys() & {"branch", "segmentation"}) == predicts_maps(recipe)
    sum(losses.values()).backward()
    gradients = {parameter: value.grad for parameter, value in model.named_parameters() if value.requires_grad}
    untouched = [p for p, grad in gradients.items() if grad is None or not grad.isfinite().all() or not grad.any()]
    assert untouched == []
    if mines_hard_negatives(recipe):
        # Each class has a map, a score and boxes of its own.
        for part, classes in (("branch.layers.1.mask_fcn_logits", 2), ("box_predictor.logits", 3)):
            assert gradients[f"regions.{part}.weight"].flatten(1).any(dim=1).tolist() == [True] * classes
        boxes = gradients["regions.box_predictor.deltas.weight"].unflatten(0, (3, 4)).flatten(1)
        assert boxes.any(dim=1).tolist() == [False, True, True], "the background has no box"


@pytest.mark.parametrize(
    "name",
    ["faster_rcnn_bmc", "mask_rcnn", "uldor", "retinanet_dense_ag", "fcos", "centernet", "deformable_detr", "mvp_3"],
)
def test_a_batch_without_lesions_leaves_no_parameter_without_a_gradient(name: str) -> None:
    # Processes that train together wait for each other's gradients: one that is not there stops them all.
    recipe = load_recipe(name, "small")
    torch.manual_seed(0)
    model = build_detector(recipe).train()
    images, (target,) = example(recipe, lesions=0)
    # Nor is it known where along the body it lies.
    losses = model(images, [{name: value for name, value in target.items() if name != POSITION}])
    assert set(losses) == set(model(*example(recipe)))
    sum(losses.values()).backward()
    assert [parameter for parameter, value in model.named_parameters() if value.grad is None] == []


def test_a_branch_that_learns_the_matched_lesions_map_alone_learns_with_all_that_it_is_made_of() -> None:
    recipe = load_recipe("faster_rcnn_bmc", "small")
    matched = recipe.model_copy(update={"supervision": recipe.supervision.model_copy(update={"branch_map": "matched"})})
    assert {"abm", "lesion_abms"} <= set(example(matched)[1][0])
    torch.manual_seed(0)
    model = build_detector(matched).train()
    losses = model(*example(matched))
    losses["branch"].backward()
    assert all(weights.grad is not None and weights.grad.any() for weights in model.regions.branch.parameters())


@pytest.mark.parametrize("name", recipe_names())
def test_a_network_of_the_published_scale_takes_a_step(name: str) -> None:
    recipe = load_recipe(name)
    torch.manual_seed(0)
    model = build_detector(recipe).train()
    optimizer = make_optimizer(model, recipe.training)
    images, targets = example(recipe)
    sum(model(images, targets).values()).backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.clip_norm)
    optimizer.step()
    losses = model(images, targets)
    assert all(bool(loss.isfinite()) for loss in losses.values())


@pytest.mark.slow
def test_the_published_mask_rcnn_learns_from_random_weights() -> None:
    recipe = load_recipe("mask_rcnn")
    torch.manual_seed(0)
    model = build_detector(recipe).train()
    optimizer = make_optimizer(model, recipe.training)
    images, targets = example(recipe)
    history = []
    for _ in range(24):
        losses = model(images, targets)
        history.append(float(losses["classification"].detach()))
        optimizer.zero_grad()
        sum(losses.values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), recipe.training.clip_norm)
        optimizer.step()
    assert sum(history[-4:]) / 4 < sum(history[:4]) / 4 * 2 / 3


@pytest.mark.parametrize("name", recipe_names())
def test_a_small_network_detects_on_an_image(name: str) -> None:
    recipe = load_recipe(name, "small")
    torch.manual_seed(0)
    model = build_detector(recipe).eval()
    with torch.inference_mode():
        deep = (
            (recipe.input.channels, DEPTH)
            if recipe.input.volume
            else (recipe.input.slices * len(recipe.input.windows),)
        )
        (found,) = model([torch.randn(*deep, 64, 96)])
    assert bool(found.keys() & {"masks", "segmentation"}) == predicts_maps(recipe)
    assert set(found["labels"].tolist()) <= set(range(1, len(recipe.detector.classes) + 1))


@pytest.mark.parametrize("name", recipe_names())
def test_every_network_understands_ignored_boxes_and_negatives(name: str) -> None:
    recipe = load_recipe(name, "small")
    torch.manual_seed(0)
    model = build_detector(recipe).train()
    images, (target,) = example(recipe, lesions=1)
    # The second lesion is ignored; in a corner lies a negative.
    known = target | {"ignored": torch.tensor(BOXES[1:], dtype=torch.float32)}
    known["negatives"] = torch.tensor([[70.0, 2, 90, 18]])
    if recipe.input.volume:
        known["ignored"] = bodies(BOXES[1:], ALONG_Z[1:])
        known["negatives"] = bodies(known["negatives"].numpy(), ALONG_Z[:1])
    losses = model(images, [known])
    assert set(losses) == set(model(images, [target]))
    sum(losses.values()).backward()
    assert all(bool(p.grad.isfinite().all()) for p in model.parameters() if p.grad is not None)
