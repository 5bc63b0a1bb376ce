"""How much faster 3DCE is over a whole scan when slabs share their images' features than window by window.

python benchmarks/bench_shared_features.py [RECIPE] [--every N]

The recipe's detector at its published and at its small scale, with random weights in float32, over 120 slices of
synthetic tissue 2 mm apart. The scan is run once with shared features; window by window every Nth key slice is,
in between, and its detections are compared: every window costs the same, so their median stands for all.
"""

import argparse
import statistics
import time
from pathlib import Path

import numpy as np
import torch

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import Version, load_recipe
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import run_slabs, slab_detections
from napari_uld.inference.shared_features import run_grid
from napari_uld.inference.slabs import ScanGrid

SLICES = 120
SPACING = (2.0, 0.8, 0.8)
TOLERANCE = 1e-4
LIMIT = 2.3


def main() -> None:
    """Print the time of a scan both ways, the ratio and the largest difference; fail beyond the limits."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe", nargs="?", default="3dce")
    parser.add_argument("--every", type=int, default=8)
    arguments = parser.parse_args()
    scan = tissue()
    print(f"{SLICES} slices, {torch.get_num_threads()} threads of torch")
    missed = False
    for version in ("small", "published"):
        detector = random_detector(arguments.recipe, version)
        shared, alone, gap, what = both_ways(scan, detector, arguments.every)
        ratio = alone / shared
        missed |= gap > TOLERANCE or (version == "published" and ratio < LIMIT)
        print(
            f"{arguments.recipe} {version}, {detector.inputs.slices} slices: "
            f"shared {shared:.1f} s, window by window {alone:.1f} s, ratio {ratio:.2f} (limit {LIMIT} at the "
            f"published scale); largest difference {gap:.1e} (limit {TOLERANCE:.0e}) between {what}"
        )
    if missed:
        raise SystemExit(1)


def both_ways(scan: np.ndarray, detector: LoadedDetector, every: int) -> tuple[float, float, float, str]:
    """Seconds of the scan with shared features and window by window, the largest difference, and what was compared."""
    windows, compared, gap = [], 0, 0.0
    started = time.perf_counter()
    grid = ScanGrid(scan, SPACING, detector.inputs)
    outputs = run_grid(grid, grid.nearest, detector, batch=1)
    shared = time.perf_counter() - started
    # The first pass pays for memory and thread pools.
    run_slabs([grid.window(0, detector.inputs.slices)], detector)
    for key in range(SLICES):
        started = time.perf_counter()
        found = slab_detections(*next(outputs))
        shared += time.perf_counter() - started
        if key % every == 0:
            started = time.perf_counter()
            slab = grid.window(key, detector.inputs.slices)
            (expected,) = run_slabs([slab], detector)
            windows.append(time.perf_counter() - started)
            if len(found.scores) != len(expected.scores):
                raise SystemExit(f"Slice {key}: {len(found.scores)} detections, alone {len(expected.scores)}")
            compared += len(found.scores)
            for one, other in ((found.scores, expected.scores), (found.boxes, expected.boxes)):
                gap = max(gap, float(np.abs(one - other).max(initial=0)))
    height, width = slab.hu.shape[1:]
    what = f"{compared} detections on {len(windows)} slices of {width} x {height} px"
    return shared, statistics.median(windows) * SLICES, gap, what


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
    y, x = (np.mgrid[:512, :512] - 255.5) * SPACING[1]
    hu[:, (x / 185) ** 2 + (y / 135) ** 2 > 1] = -1000
    return hu


if __name__ == "__main__":
    main()
