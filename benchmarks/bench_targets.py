"""What the bounding maps cost in a training step: the small `faster_rcnn_bmc`, 1 to 3 lesions an image."""

import statistics
import time

import numpy as np
import torch

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.family import TargetMaps
from napari_uld.detectors.specs.recipe import Recipe, load_recipe
from napari_uld.detectors.targets import make_target
from napari_uld.training.schedule import make_optimizer

STEPS = 15
LIMIT = 0.02


def main() -> None:
    """Time targets with and without maps inside training steps, and print the share."""
    recipe = load_recipe("faster_rcnn_bmc", "small")
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    model = build_detector(recipe)
    model.to(memory_format=torch.channels_last).train()
    optimizer = make_optimizer(model, recipe.training)
    size = recipe.input.long_side
    with_maps, without, steps = [], [], []
    for _ in range(STEPS):
        images = [torch.randn(3, size, size) for _ in range(recipe.training.batch)]
        boxes = [random_boxes(rng, size) for _ in images]
        started = time.perf_counter()
        targets = [target_of(b, recipe, recipe.supervision.maps) for b in boxes]
        made = time.perf_counter()
        sum(model(images, targets).values()).backward()
        optimizer.step()
        optimizer.zero_grad()
        done = time.perf_counter()
        for b in boxes:
            target_of(b, recipe, TargetMaps())
        without.append(time.perf_counter() - done)
        with_maps.append(made - started)
        steps.append(done - started)
    # The first steps also pay for memory and thread pools.
    maps = statistics.median(with_maps[3:]) - statistics.median(without[3:])
    step = statistics.median(steps[3:])
    share = maps / step
    print(f"a step: {1e3 * step:.0f} ms; making BM and ABM: {1e3 * maps:.2f} ms, {share:.2%} of it (limit {LIMIT:.0%})")
    if share > LIMIT:
        raise SystemExit(1)


def target_of(boxes: np.ndarray, recipe: Recipe, maps: TargetMaps) -> dict[str, torch.Tensor]:
    """An image's target with these maps."""
    shape = (recipe.input.long_side, recipe.input.long_side)
    return make_target(boxes, np.ones(len(boxes)), None, shape, maps=maps, pixel_area=recipe.input.spacing_mm**2)


def random_boxes(rng: np.random.Generator, size: int) -> np.ndarray:
    """1 to 3 boxes of DeepLesion's usual size at this resolution, 8 to 32 px wide."""
    count = rng.integers(1, 4)
    extent = rng.uniform(8, 32, (count, 2))
    corner = rng.uniform(0, size - 40, (count, 2))
    return np.concatenate([corner, corner + extent], axis=1)


if __name__ == "__main__":
    main()
