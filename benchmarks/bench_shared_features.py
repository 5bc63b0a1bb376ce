"""How much faster 3DCE is over a whole scan when slabs share their images' features than slab by slab.

python benchmarks/bench_shared_features.py [RECIPE] [--every N]

The recipe's detector at its published and at its small scale, with random weights in float32, over 40 slices of
synthetic tissue 1, 2 and 5 mm apart. The scan is run once with shared images; every Nth slab is run alone, in between,
and its detections are compared: every slab costs the same, so their median stands for all.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import Version, load_recipe
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.slabs import extract_slab

SLICES = 40
PIXEL_MM = 0.8
TOLERANCE = 1e-4
# Of what no sharing costs, with slices 2 mm apart; each end of so short a scan has images that no other slab holds.
LIMIT = 2.2


def main() -> None:
    """Print the time of a scan both ways, the ratio and the largest difference; fail beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="3dce")
    parser.add_argument("--every", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{SLICES} slices, {torch.get_num_threads()} threads of torch")
    missed = False
    for version in ("small", "published"):
        detector = random_detector(arguments.recipe, version)
        for thickness in (1.0, 2.0, 5.0):
            shared, alone, gap, what = both_ways(tissue(), thickness, detector, arguments.every)
            missed |= gap > TOLERANCE or (version == "published" and thickness == 2.0 and alone / shared < LIMIT)
            print(
                f"{arguments.recipe} {version}, {detector.inputs.slices} slices, {thickness:g} mm apart: "
                f"shared {shared:.1f} s, slab by slab {alone:.1f} s, ratio {alone / shared:.2f}; "
                f"largest difference {gap:.1e} (limit {TOLERANCE:.0e}) between {what}"
            )
    if missed:
        raise SystemExit(1)


def both_ways(
    scan: np.ndarray, thickness: float, detector: LoadedDetector, every: int
) -> tuple[float, float, float, str]:
    """Seconds of the scan with shared images and slab by slab, the largest difference, and what was compared."""
    spacing = thickness, PIXEL_MM, PIXEL_MM
    seconds, compared, gap, shared = [], 0, 0.0, 0.0
    slabs = (extract_slab(scan, spacing, z, detector.inputs) for z in range(SLICES))
    outputs = candidates(slabs, detector)
    # The first pass pays for memory and thread pools.
    list(candidates([extract_slab(scan, spacing, 0, detector.inputs)], detector))
    for key in range(SLICES):
        started = time.perf_counter()
        found = next(outputs)
        shared += time.perf_counter() - started
        if key % every == 0:
            started = time.perf_counter()
            slab = extract_slab(scan, spacing, key, detector.inputs)
            (expected,) = candidates([slab], detector)
            seconds.append(time.perf_counter() - started)
            if len(found.scores) != len(expected.scores):
                raise SystemExit(f"Slice {key}: {len(found.scores)} detections, alone {len(expected.scores)}")
            compared += len(found.scores)
            for one, other in ((found.scores, expected.scores), (found.boxes, expected.boxes)):
                gap = max(gap, float(np.abs(one - other).max(initial=0)))
    height, width = slab.hu.shape[1:]
    what = f"{compared} detections on {len(seconds)} slices of {width} x {height} px"
    return shared, statistics.median(seconds) * SLICES, gap, what


def random_detector(name: str, version: Version) -> LoadedDetector:
    """A recipe's detector with random weights, whose scores differ from region to region."""
    recipe = load_recipe(name, version)
    torch.manual_seed(0)
    model = build_detector(recipe)
    with torch.no_grad():
        model.regions.box_predictor.logits.weight.mul_(10)
    model.predicts_maps = False
    model.to(memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    info = CheckpointInfo(Path(name), "", recipe.model_dump(mode="json"), {})
    return LoadedDetector(model, recipe.input, info, torch.device("cpu"), mixed=False)


def tissue() -> np.ndarray:
    """Noise around 40 HU, smooth over a few millimetres, in an oval of 370 x 270 mm in air."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(40, 60, (SLICES // 4, 128, 128)).astype(np.int16)
    hu = coarse.repeat(4, axis=0).repeat(4, axis=1).repeat(4, axis=2)
    y, x = (np.mgrid[:512, :512] - 255.5) * PIXEL_MM
    hu[:, (x / 185) ** 2 + (y / 135) ** 2 > 1] = -1000
    return hu


if __name__ == "__main__":
    main()
