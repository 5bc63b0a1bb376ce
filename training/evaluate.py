"""Run a detector over a data set's key slices and score it."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_uld.errors import BoxError, DataError
from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.froc import FP_RATES, Froc, bootstrap_froc, froc, interval
from napari_uld.evaluation.matching import Matches, match
from napari_uld.evaluation.overlaps import iou, p3d_iou
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import find_checkpoint
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.volumes import run_volume
from napari_uld.lesions.boxes import in_image
from napari_uld.lesions.findings import LESION_LABEL, Findings
from napari_uld.lesions.findings_file import read_findings
from napari_uld.progress import Progress, Work

from .data.key_slices import KeySlice, Split, read_split, true_slices
from .data.phantom.truth import FOLDER as TRUTH_FOLDER
from .data.slab_dataset import SlabDataset
from .data.sub_volumes import SubVolume
from .data.volume_dataset import TrueVolume, VolumeDataset, true_volumes

# A detection hits the lesions that it overlaps by at least this IoU; in volumes by this one, as VLD's paper has it.
HIT_IOU, VOLUME_IOU = 0.5, 0.3
# False positives per scan at which the "end-to-end mining" paper reads sensitivity by P3D IoU.
SCAN_RATES = (0.125, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0)


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What a detector reached on a data set.

    Parameters
    ----------
    curve
        The FROC.
    low, high
        Bounds of the 95% bootstrap interval (patients resampled) at each rate, and of the average last.
    ap
        Average precision.
    images, lesions, patients
        Size of the data set.
    left_out
        A line about what of the data was left out, "" for nothing.
    """

    curve: Froc
    low: np.ndarray
    high: np.ndarray
    ap: float
    images: int
    lesions: int
    patients: int
    left_out: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Plain numbers, for JSON and for a checkpoint's metadata."""
        return {
            "fp_per_image": list(self.curve.rates),
            "sensitivity": [round(float(v), 4) for v in self.curve.values],
            "scores": [round(float(v), 4) if np.isfinite(v) else None for v in self.curve.scores],
            "average": round(self.curve.average, 4),
            "low": [round(float(v), 4) for v in self.low],
            "high": [round(float(v), 4) for v in self.high],
            "ap": round(self.ap, 4),
            "images": self.images,
            "lesions": self.lesions,
            "patients": self.patients,
        } | ({"left_out": self.left_out} if self.left_out else {})


@dataclass(frozen=True, eq=False)
class Found:
    """What was found on key slices, and what of it is right.

    Parameters
    ----------
    slices
        The key slices.
    boxes
        One (n, 4) array per slice: native pixel-centre boxes, best first.
    matches
        The same detections, matched with the slices' lesions.
    """

    slices: Sequence[KeySlice]
    boxes: tuple[np.ndarray, ...]
    matches: Matches

    def on_slice(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One slice's boxes (n, 4), best first, their scores (n,), and whether each is false (n,)."""
        rows = self.matches.images == index
        return self.boxes[index], self.matches.scores[rows], self.matches.false_positive[rows]


def evaluate_subject(
    subject: str,
    data: Path,
    split: Split,
    *,
    annotated: bool = False,
    count_negatives: bool = False,
    rates: Sequence[float] = FP_RATES,
    device: str = "auto",
    show: Callable[[Found], Work[None]] | None = None,
) -> Work[Evaluation]:
    """Score a checkpoint (path or bundled name) or a saved findings file on a data set.

    Phantoms are scored against their whole truth, unless `annotated` asks for the lesions that
    DL_info.csv lists. `count_negatives` counts detections of the false-positive class as lesions
    too ("+FP" in the ULDor paper). Sensitivity is read, and averaged, at `rates` false positives per image.
    `show` is given what was found on key slices, to draw it.

    Raises
    ------
    UldError
        If the subject or the data cannot be read, hold nothing to score, or nothing that `show` takes.
    """
    whole_truth = not annotated and (data / TRUTH_FOLDER).is_dir()
    # Data first: what is wrong with them is said before a network is loaded.
    slices, note = (true_slices(data, split), "") if whole_truth else read_split(data, split)
    if subject.endswith(".json"):
        if count_negatives:
            raise DataError("A findings file holds no detections of the false-positive class: give the checkpoint")
        findings = read_findings(Path(subject))
        found = place_findings(findings, slices)
        _check_boxes(Path(subject), findings, found.slices)
    else:
        detector = load_checkpoint(find_checkpoint(subject), device)
        if detector.inputs.volume:
            if annotated or count_negatives:
                raise DataError(f"{subject} finds bodies in volumes: they are scored against the whole truth alone")
            if show is not None:
                raise DataError(f"{subject} finds bodies in volumes: only what is found on key slices can be drawn")
            volumes = true_volumes(data, split)
            return score((yield from match_volumes(detector, volumes)), volumes, rates)
        dataset = SlabDataset(data, slices, detector.inputs)
        found = yield from detect_on_slices(detector, dataset, count_negatives=count_negatives)
    if show is not None:
        yield from show(found)
    return replace(score(found.matches, found.slices, rates), left_out=note)


def evaluate_detector(
    detector: LoadedDetector, dataset: SlabDataset | VolumeDataset | list[SubVolume]
) -> Work[Evaluation]:
    """Detect and score: on every image at IoU >= .5, in volumes at 3D IoU >= .3, traced through scans at P3D >= .5."""
    if isinstance(dataset, list):
        return score((yield from match_traced(detector, dataset)), dataset, SCAN_RATES)
    if isinstance(dataset, VolumeDataset):
        return score((yield from match_volumes(detector, dataset.volumes)), dataset.volumes)
    matches = yield from match_detector(detector, dataset)
    return score(matches, dataset.slices)


def match_detector(detector: LoadedDetector, dataset: SlabDataset, *, count_negatives: bool = False) -> Work[Matches]:
    """Detect on every image of a data set and match the boxes with its lesions (see `detect_on_slices`)."""
    return (yield from detect_on_slices(detector, dataset, count_negatives=count_negatives)).matches


def detect_on_slices(detector: LoadedDetector, dataset: SlabDataset, *, count_negatives: bool = False) -> Work[Found]:
    """Detect on every image of a data set and match the boxes with its lesions at IoU >= .5 (see `candidates`)."""
    boxes, scores = [], []
    started = time.monotonic()
    for index in range(len(dataset)):
        left = (time.monotonic() - started) / max(index, 1) * (len(dataset) - index)
        yield Progress(index, len(dataset), f"Evaluating, {left:.0f} s left" if index else "Evaluating")
        (detections,) = candidates([dataset.slab(index)], detector, count_negatives=count_negatives)
        boxes.append(detections.boxes)
        # "More and more" of the false-positive class are added: each comes after every lesion.
        scores.append(detections.scores - (detections.labels != LESION_LABEL))
    yield Progress(len(dataset), len(dataset), "Evaluated")
    return _matched(dataset.slices, boxes, scores)


def match_volumes(detector: LoadedDetector, volumes: Sequence[TrueVolume]) -> Work[Matches]:
    """Detect in every scan and match the boxes with its lesions at 3D IoU >= .3."""
    overlaps, scores = [], []
    for number, each in enumerate(volumes):
        yield Progress(number, len(volumes), f"Evaluating {each.series}")
        detections = yield from run_volume(each.read(), detector)
        overlaps.append(iou(detections.boxes, each.boxes))
        scores.append(detections.scores)
    return match(overlaps, scores, threshold=VOLUME_IOU)


def match_traced(detector: LoadedDetector, volumes: Sequence[SubVolume]) -> Work[Matches]:
    """Detect in every scan slice by slice, trace as the papers do, and match by P3D IoU >= .5 with all its lesions."""
    overlaps, scores = [], []
    for number, each in enumerate(volumes):
        yield Progress(number, len(volumes), f"Evaluating {each.series}")
        findings = yield from detect(each.read(), detector, score_floor=0.0, tracing="sort")
        overlaps.append(p3d_iou(findings.slice_boxes, each.boxes, each.slices))
        scores.append(findings.scores)
    return match(overlaps, scores, threshold=HIT_IOU)


def place_findings(findings: Findings, slices: list[KeySlice]) -> Found:
    """Match a scan's saved findings with the lesions of its key slices: of those that belong to the scan.

    Raises
    ------
    DataError
        If the data hold no key slice of that scan.
    """
    slices_of_scan = [key for key in slices if _is_of(key, findings.scan_name)]
    if not slices_of_scan:
        raise DataError(f"The data hold no key slice of the scan {findings.scan_name} that these findings are of")
    lesions = findings.take(~findings.negative)
    boxes, scores = [], []
    for key in slices_of_scan:
        rows = [row for row in range(len(lesions)) if key.number in lesions.slice_boxes[row]]
        boxes.append(np.asarray([lesions.slice_boxes[row][key.number] for row in rows]).reshape(-1, 4))
        scores.append(lesions.scores[rows])
    return _matched(slices_of_scan, boxes, scores)


def _matched(slices: Sequence[KeySlice], boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> Found:
    """Match each slice's boxes, in any order, with its lesions."""
    overlaps = [iou(found, key.boxes) for found, key in zip(boxes, slices, strict=True)]
    # As matches are ordered: of equal scores the first one first.
    orders = [np.argsort(-each, kind="stable") for each in scores]
    sorted_boxes = tuple(found[order] for found, order in zip(boxes, orders, strict=True))
    return Found(slices, sorted_boxes, match(overlaps, scores, threshold=HIT_IOU))


def _check_boxes(path: Path, findings: Findings, slices: Sequence[KeySlice]) -> None:
    """Refuse findings that do not lie in the images they are scored on."""
    for key in slices:
        for row, boxes in enumerate(findings.slice_boxes, 1):
            if key.number not in boxes or key.size is None:
                continue
            try:
                in_image(boxes[key.number], key.size, smallest=0)
            except BoxError as error:
                raise DataError(
                    f"{path}, finding {row}, slice {key.number}: {error}; give the findings of this very scan"
                ) from error


def _is_of(key: KeySlice, scan_name: str) -> bool:
    """Whether a key slice lies in a scan: a whole series, or the part of one that was on disk."""
    part = re.fullmatch(rf"{re.escape(key.series)}(?:_(\d+)-(\d+))?", scan_name)
    return part is not None and (part[1] is None or int(part[1]) <= key.number <= int(part[2]))


def score(
    matches: Matches, slices: Sequence[KeySlice | TrueVolume | SubVolume], rates: Sequence[float] = FP_RATES
) -> Evaluation:
    """FROC at `rates` with a bootstrap over patients, and average precision."""
    patients = [key.patient for key in slices]
    low, high = interval(bootstrap_froc(matches, patients, rates))
    return Evaluation(
        curve=froc(matches, rates),
        low=low,
        high=high,
        ap=average_precision(matches),
        images=len(slices),
        lesions=int(matches.lesions_per_image.sum()),
        patients=len(set(patients)),
    )
