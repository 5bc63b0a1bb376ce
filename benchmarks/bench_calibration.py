"""What calibration by the segmentation map changes, and what the map finds by itself, on a phantom set's key slices.

python benchmarks/bench_calibration.py CHECKPOINT FOLDER

CHECKPOINT is a RetinaNet with dense supervision, a file or a bundled one's name. Its detections are scored with
p(1 + IoU) / 2 and with p alone; a component of the map counts as a detection where the box about it, wider by the
recipe's margin, has an IoU of .5 with a lesion's.
"""

import argparse
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from napari_uld.detectors.heads import segmentation
from napari_uld.detectors.one_stage import SEGMENTATION
from napari_uld.evaluation.froc import froc
from napari_uld.evaluation.matching import Matches, match
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import HIT_IOU, match_detector

RATES = (0.5, 1.0, 2.0, 4.0)


def main() -> None:
    """Print sensitivities of both scores, and of the map's components."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint")
    parser.add_argument("data", type=Path)
    arguments = parser.parse_args()
    detector = load_checkpoint(find_checkpoint(arguments.checkpoint), "cpu")
    data = SlabDataset(arguments.data, true_slices(arguments.data, "all"), detector.inputs)
    report("p(1 + IoU) / 2", finish(match_detector(detector, data)))
    with patch.object(segmentation, "best_overlap", lambda boxes, _components: boxes.new_zeros(len(boxes))):
        report("p", finish(match_detector(detector, data)))
    alone = components(detector, data)
    false, hits = alone.false_positive.sum() / len(data), alone.hits.sum() / alone.lesions_per_image.sum()
    print(f"components of the map: sensitivity {hits:.3f} at {false:.2f} false positives an image")


def report(name: str, matches: Matches) -> None:
    """Print one score's sensitivities."""
    curve = froc(matches, RATES)
    values = "  ".join(f"{rate:g} FP: {value:.3f}" for rate, value in zip(RATES, curve.values, strict=True))
    print(f"{name}: {values}  average: {curve.average:.4f}")


def components(detector: LoadedDetector, data: SlabDataset) -> Matches:
    """Match the boxes about the segmentation map's components with the lesions."""
    detector.model.predicts_maps = True
    overlaps = []
    for index in range(len(data)):
        slab = data.slab(index)
        (seen,) = candidates([slab], detector)
        pixels = torch.from_numpy(seen.slice_maps[SEGMENTATION])
        boxes = segmentation.component_boxes(pixels, detector.model.calibration.margin).numpy().astype(np.float64)
        overlaps.append(iou(slab.axes.to_native(boxes), data.slices[index].boxes))
    detector.model.predicts_maps = False
    return match(overlaps, [np.ones(len(overlap)) for overlap in overlaps], threshold=HIT_IOU)


if __name__ == "__main__":
    main()
