"""What small systems cost at inference: time and memory of a slice, with random weights."""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.profiler import ProfilerActivity, profile

from napari_uld.ct.phases import with_phases
from napari_uld.ct.volume import CTVolume
from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.recipe import Version, load_recipe
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.device import place
from napari_uld.inference.slabs import extract_slab
from napari_uld.inference.volumes import run_volume
from napari_uld.progress import Progress, Work, finish

# Each system looks at so many slices, spread over a scan, in turn with all others.
SLICES = 12


@dataclass(frozen=True)
class Cost:
    """What a slice takes.

    Parameters
    ----------
    seconds
        The median; of a system of volumes a whole scan's, divided by its slices.
    peak
        Bytes of tensors that are held at a time at most, beside the weights; of a whole scan where it is seen whole.
    """

    seconds: float
    peak: int


def random_detector(name: str, version: Version, device: torch.device) -> LoadedDetector:
    """A recipe's network with random weights, as a checkpoint of it would be loaded."""
    recipe = load_recipe(name, version)
    torch.manual_seed(0)
    model = build_detector(recipe)
    model.predicts_maps = False
    place(model, device)
    info = CheckpointInfo(Path("random"), "", recipe.model_dump(mode="json"), {})
    return LoadedDetector(model.eval(), recipe.input, info, device)


def costs_of(names: list[str], scan: CTVolume) -> Work[dict[str, Cost]]:
    """Measure the small versions of recipes on one scan, by turns: what else the machine does meets all alike.

    One thread computes.

    Parameters
    ----------
    names
        Of recipes.
    """
    detectors = {name: random_detector(name, "small", torch.device("cpu")) for name in names}
    count = len(scan.hu)
    slices = sorted({round((i + 0.5) * count / SLICES - 0.5) for i in range(SLICES)})
    taken: dict[str, list[float]] = {name: [] for name in names}
    peaks: dict[str, int] = {}
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for turn, z in enumerate(slices):
            for done, name in enumerate(names):
                yield Progress(turn * len(names) + done, len(slices) * len(names), f"Measuring {name}")
                seconds, look = _look(detectors[name], scan, z)
                if turn == 0:
                    # Also warms what is measured from the second turn on.
                    peaks[name] = _peak(look)
                else:
                    taken[name].append(seconds())
    finally:
        torch.set_num_threads(threads)
    return {name: Cost(statistics.median(taken[name]), peaks[name]) for name in names}


def _look(detector: LoadedDetector, scan: CTVolume, z: int) -> tuple[Callable[[], float], Callable[[], object]]:
    """What measures the seconds of a slice, and what looks at it once; slabs are read beforehand."""
    if detector.inputs.volume:
        if detector.inputs.phases:
            scan = with_phases(scan, [scan] * len(detector.inputs.phases))

        def along() -> object:
            return finish(run_volume(scan, detector))

        return lambda: _timed(along) / len(scan.hu), along
    slab = extract_slab(scan.hu, scan.spacing, z, detector.inputs)

    def at_once() -> object:
        return list(candidates([slab], detector))

    return lambda: _timed(at_once), at_once


def _timed(look: Callable[[], object]) -> float:
    started = time.perf_counter()
    look()
    return time.perf_counter() - started


def _peak(look: Callable[[], object]) -> int:
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        look()
    held = peak = 0
    events = profiled.profiler.kineto_results.events()
    for event in sorted((each for each in events if each.name() == "[memory]"), key=lambda each: each.start_ns()):
        held += event.nbytes()
        peak = max(peak, held)
    return peak
