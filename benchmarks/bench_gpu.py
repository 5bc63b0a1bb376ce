"""What the GPU path costs and gives: bundled detectors against the CPU, and every recipe at its published scale.

python benchmarks/bench_gpu.py FOLDER [--device cuda]

Bundled detectors: seconds a slice of `detect` over the first series of a phantom set on both devices, and the largest
difference of scores and of boxes (px) between them in float32, of the surest detections that both find.
Published recipes, random weights: seconds a step of training (loading and all, after the first steps), the most memory
that PyTorch held in it, and seconds a slice of `detect`.
"""

import argparse
import statistics
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.specs.recipe import load_recipe, recipe_names
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import bundled_checkpoints
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.device import pick_device
from napari_uld.inference.slabs import extract_slab
from napari_uld.progress import finish
from napari_uld.training.data.key_slices import true_slices
from napari_uld.training.loop import TrainingOptions, train
from napari_uld.training.reports.system_costs import random_detector

ROUNDS = 3
# Steps that pay for compilation and loaders, and steps that are timed.
WARM, TIMED = 6, 12
# Detections a slice that are compared, on so many slices.
KEPT, SLICES = 10, 8


def main() -> None:
    """Print a line for each detector and recipe."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--device", default="cuda")
    arguments = parser.parse_args()
    series = true_slices(arguments.data, "all")[0].series
    volume = read_slices(arguments.data, series, slices_on_disk(arguments.data, series))
    device = pick_device(arguments.device)
    named = torch.cuda.get_device_name() if device.type == "cuda" else str(device)
    print(f"{named}, torch {torch.__version__}, {torch.get_num_threads()} threads; {volume.hu.shape} of {series}")
    for name, path in bundled_checkpoints().items():
        here, there = load_checkpoint(path, "cpu"), load_checkpoint(path, arguments.device)
        # `bench_sliding.py` is about those of volumes.
        if here.inputs.volume:
            continue
        slow, fast = (seconds_a_slice(volume, detector) for detector in (here, there))
        scores, boxes = differences(volume, here, there)
        print(
            f"{name}: {1000 * slow:.1f} ms a slice on the CPU, {1000 * fast:.1f} on {device} ({slow / fast:.1f}x); "
            f"differences {scores:.1e} of scores, {boxes:.1e} px",
            flush=True,
        )
    for name in (name for name in recipe_names() if not load_recipe(name).input.volume):
        step, memory = step_of(name, arguments.data, arguments.device)
        detector = random_detector(name, "published", device)
        detector.model.predicts_maps = True
        a_slice = seconds_a_slice(volume, detector)
        print(
            f"{name}, published: {1000 * step:.0f} ms a step, {memory / 2**30:.1f} GiB, "
            f"{1000 * a_slice:.1f} ms a slice",
            flush=True,
        )


def seconds_a_slice(volume: CTVolume, detector: LoadedDetector) -> float:
    """Median over rounds, after one that is not counted."""
    taken = []
    for _ in range(ROUNDS + 1):
        started = time.perf_counter()
        finish(detect(volume, detector))
        taken.append((time.perf_counter() - started) / len(volume.hu))
    return statistics.median(taken[1:])


def differences(volume: CTVolume, here: LoadedDetector, there: LoadedDetector) -> tuple[float, float]:
    """Largest difference of scores and of box sides in float32; each of ours is held to the nearest box of theirs."""
    scores = boxes = 0.0
    for z in range(0, len(volume.hu), max(1, len(volume.hu) // SLICES)):
        slab = extract_slab(volume.hu, volume.spacing, z, here.inputs)
        ours, theirs = (next(candidates([slab], replace(one, mixed=False))) for one in (here, there))
        for box, score in zip(ours.boxes[:KEPT], ours.scores[:KEPT], strict=True):
            gaps = np.abs(theirs.boxes - box).max(axis=1)
            boxes = max(boxes, float(gaps.min()))
            scores = max(scores, float(abs(theirs.scores[gaps.argmin()] - score)))
    return scores, boxes


def step_of(name: str, data: Path, device: str) -> tuple[float, int]:
    """Seconds of a training step at the published scale, and the most memory in bytes."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with tempfile.TemporaryDirectory() as folder:
        work = train(load_recipe(name), TrainingOptions(data, Path(folder), from_scratch=True, device=device))
        next(work)
        for _ in range(WARM):
            next(work)
        started = time.perf_counter()
        for _ in range(TIMED):
            next(work)
        seconds = (time.perf_counter() - started) / TIMED
        work.close()
    return seconds, torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0


if __name__ == "__main__":
    main()
