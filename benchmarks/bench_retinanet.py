"""A slice through RetinaNet at the published scale: ours against torchvision's, and dense + gates against the baseline.

python benchmarks/bench_retinanet.py [PHANTOMS]

All have random weights, the class scores spread so that as many anchors are decoded and suppressed as in use.
torchvision's RetinaNet is composed of the same backbone, pyramid and towers, with its own anchors, decoding and
suppression; contiguous float32, as its users run it. Slices are a phantom's at 512 x 512. All variants run by turns
on the same slices; times are medians, ratios medians of each round's. The paper: 28 ms for the baseline, 31 with
searched anchors, 39 dense, 41 with gates, on a GTX 1080.
"""

import argparse
import copy
import statistics
import tempfile
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet as TorchvisionRetinaNet

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.detectors.anchors import CentredAnchorGenerator
from napari_uld.detectors.build import build_detector
from napari_uld.detectors.one_stage import OneStageDetector
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.slabs import Slab, extract_slab, normalize
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.data.phantom import generate_phantoms

ROUNDS = 7
# Ours in torchvision's time, and dense + gates in the baseline's.
PEER_LIMIT, DENSE_LIMIT = 1.0, 2.0
# Standard deviation of the logits of random weights: with it some hundred anchors are above the threshold.
SPREAD = 0.7


class Features(nn.Module):
    """Backbone and pyramid as torchvision wants them: levels by name."""

    def __init__(self, model: OneStageDetector) -> None:
        super().__init__()
        self.encoder = model.encoder
        self.out_channels = model.encoder.channels

    def forward(self, images: Tensor) -> OrderedDict[str, Tensor]:
        """(N, C, H, W) -> five levels."""
        fused = self.encoder.join([self.encoder.per_image(images)], torch.ones(len(images)))
        return OrderedDict(fused.key)


def main() -> None:
    """Print times and ratios; fail beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, nargs="?")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as made:
        root = arguments.data or Path(made) / "phantoms"
        if arguments.data is None:
            finish(generate_phantoms(root, 1, 0))
        baseline = detector("retinanet")
        key = true_slices(root, "all")[0]
        volume = read_slices(root, key.series, slices_on_disk(root, key.series))
        slab = extract_slab(volume.hu, volume.spacing, volume.z_of(key.number), baseline.inputs)
    spread_scores(baseline, slab)
    peer = torchvision_peer(baseline)
    variants: dict[str, Callable[[], object]] = {"torchvision": lambda: torchvision_slice(peer, slab, baseline)}
    variants["retinanet, float32"] = lambda: list(candidates([slab], replace(baseline, mixed=False)))
    for name in ("retinanet", "retinanet_anchors", "retinanet_dense", "retinanet_dense_ag"):
        variants[name] = ready(baseline if name == "retinanet" else detector(name), slab)
    ratios = measure(variants)
    print(f"a slice of {slab.hu.shape[1:]} px, {ROUNDS} rounds, {torch.get_num_threads()} threads of torch")
    against_peer, dense = ratios("retinanet, float32", "torchvision"), ratios("retinanet_dense_ag", "retinanet")
    print(f"retinanet, float32 : torchvision {against_peer:.2f} (limit {PEER_LIMIT})")
    print(f"retinanet : torchvision {ratios('retinanet', 'torchvision'):.2f}")
    print(f"retinanet_dense_ag : retinanet {dense:.2f} (limit {DENSE_LIMIT})")
    if against_peer > PEER_LIMIT or dense > DENSE_LIMIT:
        raise SystemExit(1)


def measure(variants: dict[str, Callable[[], object]]) -> Callable[[str, str], float]:
    """Print the median of each variant; give the median ratio of two of them over the rounds."""
    taken: dict[str, list[float]] = {name: [] for name in variants}
    for turn in range(ROUNDS + 1):
        for name, run in variants.items():
            started = time.perf_counter()
            run()
            # The first round warms up.
            taken[name] += [time.perf_counter() - started] if turn else []
    for name, times in taken.items():
        print(f"  {name}: {1000 * statistics.median(times):.0f} ms a slice")
    return lambda a, b: statistics.median(x / y for x, y in zip(taken[a], taken[b], strict=True))


def ready(chosen: LoadedDetector, slab: Slab) -> Callable[[], object]:
    """A run of a detector on the slab, boxes alone."""
    spread_scores(chosen, slab)
    return lambda: list(candidates([slab], chosen))


def detector(name: str) -> LoadedDetector:
    """A recipe's network at its published scale with random weights, as a checkpoint would be loaded on a CPU."""
    recipe = load_recipe(name)
    torch.manual_seed(0)
    model = build_detector(recipe)
    model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    model.predicts_maps = False
    info = CheckpointInfo(Path("random"), "", recipe.model_dump(mode="json"), {})
    return LoadedDetector(model, recipe.input, info, torch.device("cpu"))


@torch.no_grad()
def spread_scores(chosen: LoadedDetector, slab: Slab) -> None:
    """Scale the last layer so that scores differ from anchor to anchor as a trained network's do."""
    classify = chosen.model.head.classification[-1]
    logits: list[Tensor] = []
    hook = classify.register_forward_hook(lambda module, inputs, output: logits.append(output.flatten().float()))
    list(candidates([slab], replace(chosen, mixed=False)))
    hook.remove()
    classify.weight.mul_(SPREAD / torch.cat(logits).std())


def torchvision_peer(chosen: LoadedDetector) -> TorchvisionRetinaNet:
    """Compose torchvision's detector of the same layers, in its own memory format."""
    ours = copy.deepcopy(chosen.model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    spec = load_recipe("retinanet").detector
    sizes = tuple(tuple(size * scale for scale in spec.anchor_scales) for size in spec.anchor_sizes)
    peer = TorchvisionRetinaNet(
        Features(ours),
        num_classes=1,
        anchor_generator=CentredAnchorGenerator(sizes, (spec.anchor_ratios,) * len(sizes), rounded=False),
        min_size=512,
        max_size=512,
        image_mean=[0.0],
        image_std=[1.0],
        score_thresh=ours.head.score_threshold,
        nms_thresh=ours.head.nms,
        detections_per_img=ours.head.detections,
        topk_candidates=ours.head.candidates,
    )
    for name, tower in (("classification", ours.head.classification), ("regression", ours.head.regression)):
        head = getattr(peer.head, f"{name}_head")
        head.conv = tower[:-1]
        setattr(head, "cls_logits" if name == "classification" else "bbox_reg", tower[-1])
    peer.transform.size_divisible = ours.size_divisible
    return peer.eval()


@torch.no_grad()
def torchvision_slice(peer: TorchvisionRetinaNet, slab: Slab, chosen: LoadedDetector) -> object:
    """Run on the same slab."""
    return peer([torch.from_numpy(normalize(slab.hu, chosen.inputs))])


if __name__ == "__main__":
    main()
