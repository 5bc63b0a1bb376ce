"""Run a detector over a whole scan."""

import time
from typing import Literal

import numpy as np
import torch
from torchvision.ops import nms

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.candidates import SlabDetections, candidates
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.one_body import trace_bodies
from napari_uld.inference.slabs import extract_slab
from napari_uld.inference.tracing import MIN_IOU, trace
from napari_uld.inference.volumes import VolumeDetections, run_volume
from napari_uld.lesions.findings import Findings, as_box
from napari_uld.progress import Progress, Work

# How detections are joined along z: into bodies (`one_body`), or by SORT alone, as the papers' tables are made.
Tracing = Literal["body", "sort"]
# Detections below it, or below half of the detector's operating point, are of no use to anyone who reviews a scan.
SCORE_FLOOR = 0.05


def detect(
    volume: CTVolume, detector: LoadedDetector, *, score_floor: float | None = None, tracing: Tracing = "body"
) -> Work[Findings]:
    """Detect lesions on every slice and join what belongs to one lesion along z.

    Yields progress after every slice; closing the generator cancels.

    Parameters
    ----------
    score_floor
        Detections below it are left out; None for `lowest_score`.
    tracing
        How detections on slices are joined; a volumetric detector's need not be.

    Returns
    -------
    Findings
        One row per lesion with a score of at least `score_floor`, best first.
    """
    if score_floor is None:
        score_floor = lowest_score(detector.info.operating_point)
    if detector.inputs.volume:
        return bodies((yield from run_volume(volume, detector)), volume, detector).above(score_floor)
    per_slice = yield from detect_on_every_slice(volume, detector, score_floor)
    if tracing == "sort":
        return trace(per_slice, volume.slice_numbers).above(score_floor)
    return trace_bodies(per_slice, volume.slice_numbers, volume.spacing).above(score_floor)


def detect_on_every_slice(volume: CTVolume, detector: LoadedDetector, score_floor: float) -> Work[Findings]:
    """Detect lesions on every slice and leave each detection by itself: a row per detection, from the first slice on.

    Yields progress after every slice. Of what overlaps on a slice as one lesion's boxes do, the surest is kept.
    """
    depth = volume.shape[0]
    yield Progress(0, depth, f"Detecting lesions on {volume.name}")
    rows: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    started = time.monotonic()
    slabs = (extract_slab(volume.hu, volume.spacing, z, detector.inputs) for z in range(depth))
    for z, detections in enumerate(candidates(slabs, detector)):
        kept = _one_each(detections, score_floor)
        rows.append((detections.boxes[kept], detections.scores[kept], np.full(len(kept), volume.native_slice(z))))
        done = len(rows)
        left = (time.monotonic() - started) / done * (depth - done)
        yield Progress(done, depth, f"Slice {done} of {depth}, {left:.0f} s left")
    return Findings.from_rows(
        scan_id=volume.scan_id,
        scan_name=volume.name,
        method=detector.info.name,
        checkpoint=detector.info.digest,
        boxes=np.concatenate([r[0] for r in rows]),
        scores=np.concatenate([r[1] for r in rows]),
        key_slices=np.concatenate([r[2] for r in rows]),
        tight=detector.tight,
        operating_point=detector.info.operating_point,
    )


def bodies(detections: VolumeDetections, volume: CTVolume, detector: LoadedDetector) -> Findings:
    """Findings of what a volumetric detector found: each with its depth, and its box on every slice it reaches."""
    native = volume.slice_numbers
    last = volume.shape[0] - 1

    def numbered(z: np.ndarray) -> np.ndarray:
        # Half a slice lies beyond the outermost centres.
        first, final = (native[1] - native[0], native[-1] - native[-2]) if last else (1, 1)
        ends = native[0] - first / 2, native[-1] + final / 2
        return np.interp(z, [-0.5, *range(last + 1), last + 0.5], [ends[0], *native, ends[1]])

    def placed(clouds: np.ndarray | None) -> list[np.ndarray] | None:
        return None if clouds is None else [np.c_[p[:, :2], numbered(p[:, 2])] for p in clouds]

    rows, depths, keys, on_slices = [], [], [], []
    for box in detections.boxes:
        low, high = np.clip(box[[2, 5]], -0.5, last + 0.5)
        depths.append(sorted(numbered(np.array([low, high]))))
        keys.append(native[min(max(round((low + high) / 2), 0), last)])
        rows.append(box[[0, 1, 3, 4]])
        reached = native[max(int(np.ceil(low)), 0) : int(np.floor(high)) + 1]
        on_slices.append({int(number): as_box(rows[-1]) for number in {*reached.tolist(), int(keys[-1])}})
    return Findings.from_rows(
        scan_id=volume.scan_id,
        scan_name=volume.name,
        method=detector.info.name,
        checkpoint=detector.info.digest,
        boxes=rows,
        scores=detections.scores,
        key_slices=keys,
        slice_boxes=tuple(on_slices),
        depths=depths,
        points=placed(detections.points),
        first_points=placed(detections.first_points),
        operating_point=detector.info.operating_point,
    )


def lowest_score(operating_point: float | None) -> float:
    """Score from which on detections are kept: enough to look further down than where a review begins."""
    return SCORE_FLOOR if operating_point is None else min(SCORE_FLOOR, operating_point / 2)


def _one_each(detections: SlabDetections, score_floor: float) -> np.ndarray:
    """Rows of a slice's detections to review: of those that overlap as one lesion's do along z, the surest alone.

    Detectors keep several boxes about one lesion, as evaluation wants them; each would become a row to decide on.
    """
    sure = np.flatnonzero(detections.scores >= score_floor)
    boxes, scores = (
        torch.from_numpy(detections.boxes[sure]),
        torch.from_numpy(detections.scores[sure].astype(np.float64)),
    )
    return sure[nms(boxes, scores, MIN_IOU).numpy()]
