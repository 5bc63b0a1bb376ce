"""How many lesions the bundled two-stage detectors' best proposals hold, on every fourth key slice of a phantom set.

python benchmarks/bench_proposals.py FOLDER
"""

import argparse
from pathlib import Path

import numpy as np
import torch

from napari_uld.detectors.batch import pad_images
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.catalogue import bundled_checkpoints
from napari_uld.inference.checkpoint import load_checkpoint
from napari_uld.inference.slabs import normalize
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.slab_dataset import SlabDataset

COUNTS = (10, 50, 300)
EVERY = 4
OVERLAP = 0.5


def main() -> None:
    """Print, for each detector, the share of lesions that its 10, 50 and 300 best proposals hold."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    root = parser.parse_args().data
    keys = true_slices(root, "all")[::EVERY]
    lesions = sum(len(key.boxes) for key in keys)
    print(f"{len(keys)} key slices, {lesions} lesions; share of them that the best N proposals hold at IoU {OVERLAP}")
    for name, path in bundled_checkpoints().items():
        detector = load_checkpoint(path, "cpu")
        if not isinstance(detector.model, TwoStageDetector):
            continue
        dataset = SlabDataset(root, keys, detector.inputs)
        held = dict.fromkeys(COUNTS, 0)
        survived = 0
        for index, key in enumerate(keys):
            slab = dataset.slab(index)
            batch = pad_images([torch.from_numpy(normalize(slab.hu, detector.inputs))], detector.model.size_divisible)
            # Proposals come from the key image alone, the middle one of the slab.
            first = detector.inputs.images // 2 * detector.inputs.slices_per_image
            image = batch.tensors[:, first : first + detector.inputs.slices_per_image]
            with torch.inference_mode():
                (proposals,), _ = detector.model.proposals(batch, detector.model.backbone(image))
            survived += len(proposals)
            overlap = iou(slab.axes.to_native(proposals.numpy().astype(np.float64)), key.boxes)
            for count in COUNTS:
                held[count] += int((overlap[:count].max(axis=0) >= OVERLAP).sum())
        shares = "  ".join(f"N = {count}: {hits / lesions:.3f}" for count, hits in held.items())
        print(f"{name}: {shares}; proposals an image after non-maximum suppression: {survived / len(keys):.0f}")


if __name__ == "__main__":
    main()
