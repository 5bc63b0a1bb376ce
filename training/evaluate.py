"""Run a detector over a data set's key slices and score it."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from napari_uld.errors import DataError
from napari_uld.evaluation.coco import CocoAp, coco_ap
from napari_uld.evaluation.matching import Matches, match
from napari_uld.evaluation.overlaps import iou, p3d_iou
from napari_uld.evaluation.protocols import HARVESTER_RATES, PROTOCOLS, Protocol, ProtocolName
from napari_uld.inference.candidates import candidates
from napari_uld.inference.catalogue import CheckpointInfo, find_checkpoint, read_info
from napari_uld.inference.checkpoint import LoadedDetector, load_checkpoint
from napari_uld.inference.detect import detect
from napari_uld.inference.volumes import run_volume
from napari_uld.lesions.box_table import BoxTable, Extent, Margin
from napari_uld.lesions.findings import LESION_LABEL
from napari_uld.progress import Progress, Work

from .data.key_slices import KeySlice, Split
from .data.slab_dataset import SlabDataset
from .data.sub_volumes import SubVolume
from .data.truths import true_images, true_scans
from .data.volume_dataset import TrueVolume, VolumeDataset
from .scoring import Evaluation, score
from .subjects import check_in_images, check_margins, is_saved, read_subject
from .volume_protocols import covered, detected, match_scans

# A detection hits the lesions that it overlaps by at least this IoU; in volumes by this one, as VLD's paper has it.
HIT_IOU, VOLUME_IOU = PROTOCOLS["image"].threshold, PROTOCOLS["3d"].threshold
# False positives per scan at which the "end-to-end mining" paper reads sensitivity by P3D IoU.
SCAN_RATES = HARVESTER_RATES
# (n, m) how much each box of the one overlaps each of the other: `iou`, `iobb`.
Overlap = Callable[[np.ndarray, np.ndarray], np.ndarray]


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

    @cached_property
    def scores(self) -> tuple[np.ndarray, ...]:
        """One (n,) array per slice, as `boxes`."""
        order = np.argsort(self.matches.images, kind="stable")
        return tuple(np.split(self.matches.scores[order], np.cumsum([len(each) for each in self.boxes])[:-1]))

    def on_slice(self, index: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """One slice's boxes (n, 4), best first, their scores (n,), and whether each is false (n,)."""
        rows = self.matches.images == index
        return self.boxes[index], self.matches.scores[rows], self.matches.false_positive[rows]


@dataclass(frozen=True, eq=False)
class OnSlices:
    """What a subject finds on key slices.

    Parameters
    ----------
    found
        Its boxes, matched.
    left_out
        What was not matched, and why; "" for nothing.
    boxes
        How closely these lie about what they hold.
    """

    found: Found
    left_out: str
    boxes: str


def evaluate_subject(
    subject: str,
    data: Path,
    split: Split,
    *,
    protocol: ProtocolName | None = None,
    annotated: bool = False,
    count_negatives: bool = False,
    lesion_free: bool = False,
    measure: Overlap | None = None,
    margin: Margin | None = None,
    images: Path | None = None,
    rates: Sequence[float] | None = None,
    device: str = "auto",
    show: Callable[[Found], Work[None]] | None = None,
) -> Work[Evaluation]:
    """Score a checkpoint (path or bundled name) or saved boxes on a data set or an annotation file.

    Parameters
    ----------
    subject
        A checkpoint, or what `read_subject` reads.
    data
        What `true_images` and `true_scans` read. Phantoms are scored against their whole truth.
    protocol
        One of `PROTOCOLS`; default that of images, or of 3D IoU for a checkpoint that finds bodies.
    annotated
        Score phantoms by the lesions that DL_info.csv lists.
    count_negatives
        Count detections of the false-positive class as lesions too ("+FP" in the ULDor paper).
    lesion_free
        Score on slices without a lesion, too.
    measure
        How much two boxes overlap on an image; default their IoU.
    margin
        How closely a saved subject's boxes lie about lesions, if its file's kind does not say it.
    images
        Folder of the scans that an annotation file is about, for a checkpoint.
    rates
        False positives per image or volume at which sensitivity is read, and averaged; default the protocol's.
    show
        Is given what was found on key slices, to draw it.

    Raises
    ------
    UldError
        If the subject or the data cannot be read, hold nothing to score, or nothing that `show` takes.
    """
    info = None if is_saved(subject) else read_info(find_checkpoint(subject))
    judging = PROTOCOLS[protocol or ("3d" if info is not None and info.volume else "image")]
    if info is None and count_negatives:
        raise DataError("Saved boxes hold no detections of the false-positive class: give the checkpoint")
    if info is not None and data.is_file() and (images is None or judging.counts == "images"):
        raise DataError(
            f"{data} holds no scans to detect on: give a folder in DeepLesion's layout as --data, or, where whole "
            "volumes are judged, as --images"
        )
    if judging.counts == "volumes":
        if annotated or count_negatives or lesion_free or measure is not None or show is not None:
            raise DataError(
                f"{subject} is judged on whole volumes, by the protocol {judging.name}, with every lesion in them: "
                "leave out what is about key slices, --annotated, --count-negatives, --lesion-free, --overlap, "
                "--plus-one and --gallery"
            )
        return (
            yield from _evaluate_volumes(subject, info, data, split, judging, margin, images or data, rates, device)
        )
    seen = yield from find_on_slices(
        subject,
        data,
        split,
        annotated=annotated,
        count_negatives=count_negatives,
        lesion_free=lesion_free,
        measure=measure or iou,
        margin=margin,
        device=device,
    )
    if show is not None:
        yield from show(seen.found)
    yield Progress(0, 0, "Resampling patients")
    coco = _coco(seen.found) if protocol == "coco" else None
    evaluation = score(seen.found.matches, seen.found.slices, rates, judging=judging, coco=coco)
    return replace(evaluation, left_out=seen.left_out, boxes=seen.boxes)


def find_on_slices(
    subject: str,
    data: Path,
    split: Split,
    *,
    annotated: bool = False,
    count_negatives: bool = False,
    lesion_free: bool = False,
    measure: Overlap = iou,
    margin: Margin | None = None,
    device: str = "auto",
) -> Work[OnSlices]:
    """Detect on key slices, or take saved boxes on them, and match with their lesions; see `evaluate_subject`.

    Boxes that are tight are measured on tight ones where a whole truth is known.

    Raises
    ------
    UldError
        If the subject or the data cannot be read, hold nothing to match, or the subject finds bodies in volumes.
    """
    if is_saved(subject):
        table = read_subject(Path(subject), data, split, margin)
        # A body's box is about all of its slices, and tight about none.
        tight = table.margin is Margin.TIGHT and table.extent is not Extent.BODIES
        (slices, note), truth_margin = true_images(
            data, split, annotated=annotated, lesion_free=lesion_free, tight=tight
        )
        said = check_margins(table.source, table.margin, truth_margin, data)
        check_in_images(table, slices)
        found, left_out = place_boxes(table, slices, measure)
        return OnSlices(found, " ".join(filter(None, (note, left_out))), said)
    info = read_info(find_checkpoint(subject))
    if info.volume:
        raise DataError(f"{subject} finds bodies in volumes, not on key slices: evaluate it with --protocol 3d")
    # Data first: what is wrong with them is said before a network is loaded.
    (slices, note), truth_margin = true_images(
        data, split, annotated=annotated, lesion_free=lesion_free, tight=info.tight
    )
    said = check_margins(subject, Margin.TIGHT if info.tight else Margin.PADDED, truth_margin, data)
    detector = load_checkpoint(info.path, device)
    dataset = SlabDataset(data, slices, detector.inputs)
    found = yield from detect_on_slices(detector, dataset, count_negatives=count_negatives, measure=measure)
    return OnSlices(found, note, said)


def _evaluate_volumes(
    subject: str,
    info: CheckpointInfo | None,
    data: Path,
    split: Split,
    judging: Protocol,
    margin: Margin | None,
    images: Path,
    rates: Sequence[float] | None,
    device: str,
) -> Work[Evaluation]:
    """Score a checkpoint, or saved boxes where there is no `info`, on whole volumes."""
    if info is None:
        table = read_subject(Path(subject), data, split, margin)
        truth = true_scans(data, split, judging, table.margin)
    else:
        truth = true_scans(data, split, judging, Margin.TIGHT if info.tight else Margin.PADDED)
        table = yield from detected(load_checkpoint(info.path, device), truth.scans, images)
    said = check_margins(table.source, table.margin, truth.margin, data)
    matches, scans, note = match_scans(table, truth.scans, judging)
    yield Progress(0, 0, "Resampling patients")
    return replace(score(matches, scans, rates, judging=judging), left_out=note, boxes=said)


def _coco(found: Found) -> CocoAp:
    overlaps = [iou(boxes, key.boxes) for boxes, key in zip(found.boxes, found.slices, strict=True)]
    return coco_ap(overlaps, found.scores)


def evaluate_detector(
    detector: LoadedDetector,
    dataset: SlabDataset | VolumeDataset | list[SubVolume],
    rates: Sequence[float] | None = None,
) -> Work[Evaluation]:
    """Detect and score: on every image at IoU >= .5, in volumes at 3D IoU >= .3, traced through scans at P3D >= .5.

    Sensitivity is read at `rates`; default those of the papers that score on images, or of scans.
    """
    if isinstance(dataset, list):
        return score((yield from match_traced(detector, dataset)), dataset, rates, judging=PROTOCOLS["p3d"])
    if isinstance(dataset, VolumeDataset):
        matches = yield from match_volumes(detector, dataset.volumes)
        evaluation = score(matches, dataset.volumes, rates, judging=PROTOCOLS["3d"])
        return replace(evaluation, boxes=f"{Margin.TIGHT} boxes")
    matches = yield from match_detector(detector, dataset)
    evaluation = score(matches, dataset.slices, rates)
    return replace(evaluation, boxes=f"{Margin.TIGHT} boxes") if detector.tight else evaluation


def match_detector(detector: LoadedDetector, dataset: SlabDataset, *, count_negatives: bool = False) -> Work[Matches]:
    """Detect on every image of a data set and match the boxes with its lesions (see `detect_on_slices`)."""
    return (yield from detect_on_slices(detector, dataset, count_negatives=count_negatives)).matches


def detect_on_slices(
    detector: LoadedDetector, dataset: SlabDataset, *, count_negatives: bool = False, measure: Overlap = iou
) -> Work[Found]:
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
    return _matched(dataset.slices, boxes, scores, measure)


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


def place_boxes(table: BoxTable, slices: Sequence[KeySlice], measure: Overlap = iou) -> tuple[Found, str]:
    """Match saved boxes with the lesions of key slices, and say which of these were left out.

    Raises
    ------
    DataError
        If the table has nothing on any of the slices.
    """
    on_slices = [table.on_slice(key.series, key.number) for key in slices]
    rows, note = covered(table, slices, [each is not None for each in on_slices])
    nothing = np.zeros((0, 4)), np.zeros(0)
    found = [on_slices[row] or nothing for row in rows]
    chosen = [slices[row] for row in rows]
    return _matched(chosen, [boxes for boxes, _ in found], [scores for _, scores in found], measure), note


def _matched(
    slices: Sequence[KeySlice], boxes: Sequence[np.ndarray], scores: Sequence[np.ndarray], measure: Overlap = iou
) -> Found:
    """Match each slice's boxes, in any order, with its lesions."""
    overlaps = [measure(found, key.boxes) for found, key in zip(boxes, slices, strict=True)]
    # As matches are ordered: of equal scores the first one first.
    orders = [np.argsort(-each, kind="stable") for each in scores]
    sorted_boxes = tuple(found[order] for found, order in zip(boxes, orders, strict=True))
    return Found(slices, sorted_boxes, match(overlaps, scores, threshold=HIT_IOU))
