"""Run a detector over a whole scan."""

import time
from collections.abc import Iterator

import numpy as np
import torch

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.slabs import Slab, extract_slab, normalize
from napari_uld.inference.tracing import trace
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Progress, Work

# Detections below it are of no use to anyone who reviews a scan.
SCORE_FLOOR = 0.05
# Slices run together on a GPU; on a CPU one by one is faster.
GPU_BATCH = 8


def detect(volume: CTVolume, detector: LoadedDetector, *, score_floor: float = SCORE_FLOOR) -> Work[Findings]:
    """Detect lesions on every slice and join what belongs to one lesion along z.

    Yields progress after every slice (or batch); closing the generator cancels.

    Returns
    -------
    Findings
        One row per lesion with a score of at least `score_floor`, best first.
    """
    depth = volume.shape[0]
    yield Progress(0, depth, f"Detecting lesions on {volume.name}")
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    started = time.monotonic()
    for first, slabs in _batches(volume, detector):
        for z, (boxes, scores, _) in enumerate(run_slabs(slabs, detector), start=first):
            kept = scores >= score_floor
            rows.append((boxes[kept], scores[kept], np.full(int(kept.sum()), volume.native_slice(z))))
        done = first + len(slabs)
        left = (time.monotonic() - started) / done * (depth - done)
        yield Progress(done, depth, f"Slice {done} of {depth}, {left:.0f} s left")
    per_slice = Findings.from_rows(
        scan_id=volume.scan_id,
        scan_name=volume.name,
        method=detector.info.name,
        checkpoint=detector.info.digest,
        boxes=np.concatenate([r[0] for r in rows]),
        scores=np.concatenate([r[1] for r in rows]),
        key_slices=np.concatenate([r[2] for r in rows]),
    )
    return trace(per_slice, volume.slice_numbers).above(score_floor)


def run_slabs(slabs: list[Slab], detector: LoadedDetector) -> list[tuple[np.ndarray, np.ndarray, np.ndarray]]:
    """Native pixel-centre boxes (n, 4), scores (n,) and labels (n,) on the key slice of each slab."""
    images = [torch.from_numpy(normalize(slab.hu, detector.inputs)).to(detector.device) for slab in slabs]
    half = detector.device.type == "cuda"
    with torch.inference_mode(), torch.autocast(detector.device.type, enabled=half):
        outputs = detector.model(images)
    results = []
    for slab, output in zip(slabs, outputs, strict=True):
        boxes = slab.to_native(output["boxes"].float().cpu().numpy().astype(np.float64))
        results.append((boxes, output["scores"].float().cpu().numpy(), output["labels"].cpu().numpy()))
    return results


def _batches(volume: CTVolume, detector: LoadedDetector) -> Iterator[tuple[int, list[Slab]]]:
    size = 1 if detector.device.type == "cpu" else GPU_BATCH
    for first in range(0, volume.shape[0], size):
        zs = range(first, min(first + size, volume.shape[0]))
        yield first, [extract_slab(volume.hu, volume.spacing, z, detector.inputs) for z in zs]
