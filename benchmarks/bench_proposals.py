"""Where two-stage detectors lose lesions, by size: in their proposals, in the boxes made of them, or in the scores.

python benchmarks/bench_proposals.py FOLDER [CHECKPOINT ...] [--split val] [--every 1]
"""

import argparse
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch

from napari_uld.detectors.batch import pad_images
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.evaluation.by_size import IMAGE_BINS
from napari_uld.evaluation.froc import froc
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.catalogue import bundled_checkpoints, find_checkpoint
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.slabs import normalize
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import Split, true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import HIT_IOU, detect_on_slices

COUNTS = (10, 50, 300)
# False positives an image.
RATE = 1.0


def overlaps_of_proposals(detector: LoadedDetector, dataset: SlabDataset, index: int) -> np.ndarray:
    """(n, m) IoU of what the first stage proposes on a key slice, best first, with the lesions there."""
    model: Any = detector.model
    slab = dataset.slab(index)
    batch = pad_images([torch.from_numpy(normalize(slab.hu, detector.inputs))], model.size_divisible)
    images = batch.tensors.split(detector.inputs.slices_per_image, dim=1)
    with torch.inference_mode():
        features = [model.per_image(image) for image in images]
        fused = model.encoder.join(features, torch.tensor([slab.thickness]))
        (proposals,), _ = model.proposals(batch, fused.key)
    return iou(slab.axes.to_native(proposals.numpy().astype(np.float64)), dataset.slices[index].boxes)


def report(detector: LoadedDetector, dataset: SlabDataset) -> None:
    """Print, by size, the share of lesions that are left after each step."""
    found = finish(detect_on_slices(detector, dataset))
    sure = froc(found.matches, (RATE,)).scores[0]
    proposed = [overlaps_of_proposals(detector, dataset, index) for index in range(len(dataset.slices))]
    boxes = [iou(boxes, key.boxes) for boxes, key in zip(found.boxes, dataset.slices, strict=True)]
    best = np.concatenate([overlaps.max(axis=0, initial=0.0) for overlaps in boxes])
    scores = np.concatenate(found.matches.lesion_scores)
    held = {n: np.concatenate([each[:n].max(axis=0, initial=0.0) for each in proposed]) >= HIT_IOU for n in COUNTS}
    bins = IMAGE_BINS.of([key.diameters for key in dataset.slices])
    for name, which in {"all": [np.ones(len(key.boxes), bool) for key in dataset.slices], **bins}.items():
        rows = np.concatenate(which)
        shares = "  ".join(f"N = {n}: {hits[rows].mean():.3f}" for n, hits in held.items())
        print(
            f"  {name:>8}, {rows.sum()} lesions: {shares}; any box {(best[rows] >= HIT_IOU).mean():.3f}"
            f" (median IoU {np.median(best[rows]):.2f}); at {RATE:g} FP an image {(scores[rows] >= sure).mean():.3f}"
            f" (median score {np.median(scores[rows][np.isfinite(scores[rows])]):.3f}, needed {sure:.3f})"
        )
    print(f"  proposals an image after non-maximum suppression: {np.mean([len(each) for each in proposed]):.0f}")


def main() -> None:
    """Print it of each detector, of the bundled ones where none is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("checkpoints", nargs="*", help="default: the bundled ones")
    parser.add_argument("--split", choices=get_args(Split), default="all")
    parser.add_argument("--every", type=int, default=1, help="take every so many key slices")
    chosen = parser.parse_args()
    keys = true_slices(chosen.data, chosen.split)[:: chosen.every]
    print(f"{len(keys)} key slices; share of lesions that the best N proposals hold at IoU {HIT_IOU}, and what follows")
    for name in chosen.checkpoints or bundled_checkpoints():
        detector = load_checkpoint(find_checkpoint(name), "cpu")
        if isinstance(detector.model, TwoStageDetector):
            print(name)
            report(detector, SlabDataset(chosen.data, keys, detector.inputs))


if __name__ == "__main__":
    main()
