"""Hard negatives of scans whose truth is known: what a trained detector is sure of where no lesion is.

"P-" in Cai et al., "Lesion-Harvester", and in the "end-to-end mining" paper after it.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import TrainingError
from napari_uld.evaluation.overlaps import iou
from napari_uld.inference.candidates import candidates
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import bodies
from napari_uld.inference.slabs import extract_slab
from napari_uld.inference.volumes import run_volume
from napari_uld.lesions.boxes import intersection
from napari_uld.lesions.findings import HARD_NEGATIVE_LABEL, Findings
from napari_uld.lesions.findings_file import SUFFIX, read_findings, write_findings
from napari_uld.progress import Progress, Work, within

from ..data.studies import of_scan
from ..data.true_boxes import TrueBoxes
from ..data.volume_dataset import true_bodies

# (n, 4) native boxes by (series, native number of the slice).
Misses = dict[tuple[str, int], np.ndarray]


def is_known(patient: str, share: float) -> bool:
    """Whether a patient is of the share whose scans count as fully annotated: the same ones in every run."""
    drawn = int.from_bytes(hashlib.sha256(patient.encode()).digest()[:8])
    return drawn < share * 2**64


def mine_misses(
    detector: LoadedDetector, root: Path, series: Sequence[str], *, score: float, per_slice: int
) -> Work[list[Findings]]:
    """Search whole scans whose truth is known for a detector's surest misses.

    Parameters
    ----------
    series
        Of the scans.
    score, per_slice
        The least score of a miss, and the most of them on a slice; of bodies there is no most.

    Returns
    -------
    list of Findings
        One for each scan that has any, all rows negative.

    Raises
    ------
    UldError
        If a scan cannot be read, or its truth is not known.
    """
    if detector.inputs.volume:
        return (yield from _missed_bodies(detector, root, series, score))
    truth = TrueBoxes(root)
    found: list[Findings] = []
    for number, name in enumerate(series):
        yield Progress(number, len(series), f"Mining hard negatives in {name}")
        volume, true = read_slices(root, name, slices_on_disk(root, name)), truth.of_series(name)
        slabs = (extract_slab(volume.hu, volume.spacing, z, detector.inputs) for z in range(volume.shape[0]))
        rows: list[tuple[int, np.ndarray, np.ndarray]] = []
        for z, detections in enumerate(candidates(slabs, detector)):
            native = volume.native_slice(z)
            kept = misses(detections.boxes, detections.scores, near(true, native), score=score)[:per_slice]
            rows.append((native, detections.boxes[kept], detections.scores[kept]))
            yield Progress(number, len(series), f"Mining hard negatives in {name}, slice {native}")
        if any(len(boxes) for _, boxes, _ in rows):
            found.append(_findings(volume, detector, rows))
    yield Progress(len(series), len(series), f"Mined {sum(map(len, found))} hard negatives")
    return found


def _missed_bodies(detector: LoadedDetector, root: Path, series: Sequence[str], score: float) -> Work[list[Findings]]:
    found: list[Findings] = []
    for number, name in enumerate(series):
        yield Progress(number, len(series), f"Mining hard negatives in {name}")
        volume = read_slices(root, name, slices_on_disk(root, name))
        volume = of_scan(volume, root, name, detector.inputs.phases)
        detections = yield from within(run_volume(volume, detector), number, len(series))
        touching = iou(detections.boxes, true_bodies(root, name)).max(axis=1, initial=0.0) > 0
        sure = detections.take(np.flatnonzero((detections.scores >= score) & ~touching))
        if len(sure.boxes):
            rows = bodies(sure, volume, detector)
            labels, negative = np.full(len(rows), HARD_NEGATIVE_LABEL), np.full(len(rows), True)
            found.append(replace(rows, labels=labels, negative=negative))
    yield Progress(len(series), len(series), f"Mined {sum(map(len, found))} hard negatives")
    return found


def _findings(
    volume: CTVolume, detector: LoadedDetector, rows: Sequence[tuple[int, np.ndarray, np.ndarray]]
) -> Findings:
    """Misses (native slice, boxes, scores) of a scan."""
    boxes = np.concatenate([boxes for _, boxes, _ in rows])
    return Findings.from_rows(
        scan_id=volume.scan_id,
        scan_name=volume.name,
        method=detector.info.name,
        checkpoint=detector.info.digest,
        boxes=boxes,
        scores=np.concatenate([scores for _, _, scores in rows]),
        key_slices=np.concatenate([np.full(len(on_slice), native) for native, on_slice, _ in rows]),
        labels=np.full(len(boxes), HARD_NEGATIVE_LABEL),
        negative=np.full(len(boxes), True),
        tight=detector.tight,
    )


def misses(boxes: np.ndarray, scores: np.ndarray, true: np.ndarray, *, score: float) -> np.ndarray:
    """Rows of the detections (n, 4), (n,) that are sure and touch no lesion of `true` (m, 4), the surest first."""
    touching = intersection(boxes, true).max(axis=1, initial=0.0) > 0
    sure = np.flatnonzero((scores >= score) & ~touching)
    return sure[np.argsort(-scores[sure], kind="stable")]


def near(true: Mapping[int, np.ndarray], native: int) -> np.ndarray:
    """All lesions' boxes (n, 4) on a slice and on both beside it, into which they may reach by less than half."""
    return np.concatenate([np.zeros((0, 4)), *(true[n] for n in range(native - 1, native + 2) if n in true)])


def write_misses(folder: Path, found: Sequence[Findings]) -> None:
    """Write findings, one file a scan."""
    folder.mkdir(parents=True, exist_ok=True)
    for findings in found:
        write_findings(folder / f"{findings.scan_name}{SUFFIX}", findings)


def read_misses(folder: Path) -> Misses:
    """Read the negative rows of all findings in a folder.

    Raises
    ------
    TrainingError
        If there are none.
    AnnotationFileError
        If a file cannot be read.
    """
    found: Misses = {}
    for path in sorted(folder.glob(f"*{SUFFIX}")):
        findings = read_findings(path)
        findings = findings.take(np.flatnonzero(findings.negative))
        for number in np.unique(findings.key_slices):
            found[findings.scan_name, int(number)] = findings.boxes[findings.key_slices == number]
    if not found:
        raise TrainingError(f"{folder} holds no negative rows: the network that it starts from is sure of no mistake")
    return found
