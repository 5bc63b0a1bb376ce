"""How much faster a scan is detected on than by torchvision's loop, and whether mixed precision costs recall; CPU.

python benchmarks/bench_detection.py FOLDER [--checkpoint NAME_OR_PATH]

Speed: `faster_rcnn` at its published scale with random weights on the first scan of a phantom set, against
torchvision's FasterRCNN composed of the same layers and weights: contiguous, float32, slice by slice, everything
else as torchvision has it by default (up to 1,000 proposals). All variants run by turns; times are medians.
Recall: a small checkpoint's sensitivity on the whole set, in mixed precision and in float32.
"""

import argparse
import copy
import statistics
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torchvision.models.detection import FasterRCNN

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.inference.catalogue import CheckpointInfo, find_checkpoint
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.slabs import extract_slab, normalize
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.slab_dataset import SlabDataset
from napari_uld.training.evaluate import match_detector, score

ROUNDS = 3
# What our detectors keep after non-maximum suppression.
PROPOSALS = 300
RATIO_LIMIT = 2.0
RECALL_LIMIT = 0.005


def main() -> None:
    """Print times, ratios and sensitivities; fail beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--checkpoint", default="faster_rcnn")
    arguments = parser.parse_args()
    ratio = compare_speed(arguments.data)
    change = compare_recall(arguments.data, arguments.checkpoint)
    if ratio < RATIO_LIMIT or change > RECALL_LIMIT:
        raise SystemExit(1)


def compare_speed(root: Path) -> float:
    """Print seconds a slice of each variant; give torchvision's time in ours."""
    series = true_slices(root, "all")[0].series
    volume = read_slices(root, series, slices_on_disk(root, series))
    detector = random_detector()
    usual, fewer = torchvision_peer(detector, 1000), torchvision_peer(detector, PROPOSALS)
    counts: list[int] = []
    usual.rpn.register_forward_hook(lambda module, inputs, outputs: counts.append(len(outputs[0][0])))
    variants: dict[str, Callable[[], object]] = {
        "torchvision": lambda: torchvision_loop(volume, usual, detector),
        f"torchvision, {PROPOSALS} proposals": lambda: torchvision_loop(volume, fewer, detector),
        "ours, float32": lambda: finish(detect(volume, replace(detector, mixed=False))),
        "ours": lambda: finish(detect(volume, detector)),
    }
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for _ in range(ROUNDS):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            taken[name].append((time.perf_counter() - started) / len(volume.hu))
    seconds = {name: statistics.median(times) for name, times in taken.items()}
    print(f"{len(volume.hu)} slices of {series}, {ROUNDS} rounds, {torch.get_num_threads()} threads of torch")
    print(f"  torchvision's default leaves {statistics.mean(counts):.0f} proposals a slice of these weights")
    for name, value in seconds.items():
        print(f"  {name}: {value:.2f} s a slice ({seconds['torchvision'] / value:.2f}x)")
    ratio = seconds["torchvision"] / seconds["ours"]
    print(f"ratio to torchvision {ratio:.2f} (limit {RATIO_LIMIT})")
    return ratio


def random_detector() -> LoadedDetector:
    """The published Faster R-CNN with random weights, as a checkpoint would be loaded on a CPU."""
    recipe = load_recipe("faster_rcnn")
    torch.manual_seed(0)
    model = build_detector(recipe)
    model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    info = CheckpointInfo(Path("random"), "", recipe.model_dump(mode="json"), {})
    return LoadedDetector(model, recipe.input, info, torch.device("cpu"))


class Levels(torch.nn.Module):
    """The key image's features as torchvision wants them: levels by name."""

    def __init__(self, model: TwoStageDetector) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.out_channels = model.encoder.channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(N, C, H, W) -> levels."""
        fused = self.encoder.join([self.encoder.per_image(images)], torch.ones(len(images)))
        return OrderedDict(fused.key)


class Pool(torch.nn.Module):
    """Our pooling as torchvision calls it: it guesses strides from the images' sizes, ours knows them."""

    def __init__(self, pool: torch.nn.Module) -> None:
        super().__init__()
        self.pool = pool

    def forward(self, features: dict[str, Tensor], boxes: list[Tensor], _sizes: list[tuple[int, int]]) -> Tensor:
        """Pool all boxes of all images."""
        return self.pool(features, boxes)


def torchvision_peer(detector: LoadedDetector, proposals: int) -> FasterRCNN:
    """Compose torchvision's detector of the same layers, in its own memory format."""
    ours = copy.deepcopy(detector.model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    peer = FasterRCNN(
        Levels(ours),
        image_mean=[0.0],
        image_std=[1.0],
        rpn_anchor_generator=ours.proposals.anchor_generator,
        rpn_head=ours.proposals.head,
        rpn_post_nms_top_n_test=proposals,
        box_head=torch.nn.Identity(),
        box_predictor=ours.regions.box_predictor,
    )
    # Its constructor takes RoIAlign alone.
    peer.roi_heads.box_roi_pool = Pool(ours.regions.box_roi_pool)
    return peer.eval()


@torch.no_grad()
def torchvision_loop(volume: CTVolume, peer: FasterRCNN, detector: LoadedDetector) -> None:
    """Run slice by slice on the same slabs."""
    for z in range(len(volume.hu)):
        slab = extract_slab(volume.hu, volume.spacing, z, detector.inputs)
        # They have their size already.
        peer.transform.min_size, peer.transform.max_size = (min(slab.hu.shape[1:]),), max(slab.hu.shape[1:])
        peer([torch.from_numpy(normalize(slab.hu, detector.inputs))])


def compare_recall(root: Path, checkpoint: str) -> float:
    """Print sensitivities in both precisions; give the largest difference."""
    mixed = load_checkpoint(find_checkpoint(checkpoint), "cpu")
    dataset = SlabDataset(root, true_slices(root, "all"), mixed.inputs)
    values = []
    for name, detector in (("float32", replace(mixed, mixed=False)), ("mixed", mixed)):
        curve = score(finish(match_detector(detector, dataset)), dataset.slices).curve
        at = "  ".join(f"{v:.4f} at {rate:g}" for rate, v in zip(curve.rates, curve.values, strict=True))
        print(f"{mixed.info.name}, {name}, {len(dataset)} images: sensitivity {at} FP an image")
        values.append(curve.values)
    change = float(np.abs(values[0] - values[1]).max())
    print(f"largest difference {change:.4f} (limit {RECALL_LIMIT})")
    return change


if __name__ == "__main__":
    main()
