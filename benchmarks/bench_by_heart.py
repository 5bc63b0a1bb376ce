"""Whether systems learn a few key slices by heart: one that cannot is wrong, one that can lacks steps or images.

python benchmarks/bench_by_heart.py DATA RECIPE ... [--slices 24] [--steps 1500] [--every 250] [--lr RATE]

Trains small versions without augmentation and scores them on the slices they learn from.
"""

import argparse
import time
from itertools import chain, islice, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.utils.data import DataLoader

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.parts import Detector
from napari_uld.detectors.specs.recipe import Recipe, TrainingSpec, load_recipe
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import annotated_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import evaluate_detector
from napari_uld.training.schedule import learning_rate, make_optimizer, set_rate

# False positives an image.
RATES = (0.5, 1.0, 2.0, 4.0)


def learn(recipe: Recipe, dataset: SlabDataset, steps: int, every: int) -> None:
    """Train, and print every so often the mean losses since the last line and the sensitivity."""
    torch.manual_seed(0)
    model = build_detector(recipe)
    spec = recipe.training.model_copy(update={"milestones": ()})
    optimizer = make_optimizer(model, spec)
    loader: DataLoader[Any] = DataLoader(dataset, batch_size=spec.batch, shuffle=True, collate_fn=list)
    epochs = chain.from_iterable(repeat(loader))
    lost: list[dict[str, float]] = []
    started = time.monotonic()
    for step, batch in enumerate(islice(epochs, steps), start=1):
        shown, targets = zip(*batch, strict=True)
        thickness = torch.stack([target["thickness"] for target in targets])
        model.train()
        losses = model(list(shown), list(targets), thickness=thickness)
        set_rate(optimizer, learning_rate(spec, 0, step - 1))
        optimizer.zero_grad(set_to_none=True)
        sum(losses.values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), spec.clip_norm)
        optimizer.step()
        lost.append({name: float(loss.detach()) for name, loss in losses.items()})
        if step % every == 0:
            seconds = (time.monotonic() - started) / step
            means = ", ".join(f"{name} {np.mean([row[name] for row in lost]):.3f}" for name in lost[0])
            print(f"  {step} steps of {seconds:.2f} s: {means}; {scored(model, recipe, dataset)}", flush=True)
            lost.clear()


def scored(model: Detector, recipe: Recipe, dataset: SlabDataset) -> str:
    """Sensitivity on the slices that were learnt."""
    info = CheckpointInfo(Path("by heart"), "", recipe.model_dump(mode="json"), {})
    detector = LoadedDetector(model.eval(), recipe.input, info, torch.device("cpu"))
    evaluation = finish(evaluate_detector(detector, dataset, RATES))
    values = ", ".join(f"{value:.3f}" for value in evaluation.curve.values)
    return f"sensitivity at {', '.join(f'{rate:g}' for rate in RATES)} FP an image {values}"


def main() -> None:
    """Learn by heart with each recipe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("recipes", nargs="+")
    parser.add_argument("--slices", type=int, default=24)
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--every", type=int, default=250)
    parser.add_argument("--lr", type=float, help="default: the recipe's")
    chosen = parser.parse_args()
    keys = annotated_slices(chosen.data, "train")[: chosen.slices]
    print(f"{len(keys)} key slices with {sum(len(key.boxes) for key in keys)} lesions")
    for name in chosen.recipes:
        recipe = load_recipe(name, "small")
        training = recipe.training.model_copy(update={"lr": chosen.lr or recipe.training.lr})
        recipe = recipe.model_copy(update={"training": training})
        dataset = SlabDataset(chosen.data, keys, recipe.input, recipe.supervision, training=TrainingSpec())
        print(name)
        learn(recipe, dataset, chosen.steps, chosen.every)


if __name__ == "__main__":
    main()
