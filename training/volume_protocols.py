"""Detections in volumes, matched by the papers' protocols: P3D IoU, 3D IoU and LENS's 3D IoBB."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import DataError
from napari_uld.evaluation.matching import Matches, match
from napari_uld.evaluation.overlaps import iobb, iou, p3d_iou
from napari_uld.evaluation.protocols import Protocol
from napari_uld.inference.checkpoint import LoadedDetector
from napari_uld.inference.detect import bodies, detect
from napari_uld.inference.volumes import VolumeDetections, run_volume
from napari_uld.lesions.box_table import BoxTable, Extent, Margin, ScanBoxes, from_findings
from napari_uld.progress import Work

from .data.studies import of_scan
from .data.truths import TrueScan


def detected(detector: LoadedDetector, scans: Sequence[TrueScan], root: Path) -> Work[BoxTable]:
    """Detect in every volume, as the papers do: whatever score it has, traced by SORT, scored by its highest slice.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout that holds the volumes.
    """
    found = {}
    for each in scans:
        volume = of_scan(each.read(root), root, each.name, detector.inputs.phases)
        if detector.inputs.volume:
            found[each.name] = _bodies((yield from run_volume(volume, detector)), volume, detector)
        else:
            found[each.name] = from_findings((yield from detect(volume, detector, score_floor=0.0, tracing="sort")))
    margin = Margin.TIGHT if detector.tight else Margin.PADDED
    extent = Extent.BODIES if detector.inputs.volume else Extent.TRACED
    return BoxTable(detector.info.name, found, margin, extent, names_all=True)


def _bodies(detections: VolumeDetections, volume: CTVolume, detector: LoadedDetector) -> ScanBoxes:
    """Boxes of what was found in a volume, which may reach beyond its first and last slice as the truth's do not."""
    shown = from_findings(bodies(detections, volume, detector))
    native = volume.slice_numbers
    step = int(native[1] - native[0]) if len(native) > 1 else 1
    ends = np.sort(native[0] + step * detections.boxes[:, [2, 5]], axis=1)
    boxes = np.column_stack([detections.boxes[:, :2], ends[:, 0], detections.boxes[:, 3:5], ends[:, 1]])
    return replace(shown, boxes=boxes)


def match_scans(
    table: BoxTable, scans: Sequence[TrueScan], protocol: Protocol
) -> tuple[Matches, Sequence[TrueScan], str]:
    """Match the boxes of every volume with its lesions.

    Returns
    -------
    matches, scans, note
        The volumes that were scored, and a line about those that were not: a table that names all that was looked at
        is scored on these alone.

    Raises
    ------
    DataError
        If the table has nothing on any of the volumes.
    """
    found = [table.of(each.name) for each in scans]
    chosen, note = covered(table, scans, [each is not None for each in found])
    overlap_of = OVERLAPS[protocol.name]
    empty = ScanBoxes.bodies([])
    pairs = [(found[row] or empty, scans[row].lesions) for row in chosen]
    matches = match(
        [overlap_of(boxes, truth) for boxes, truth in pairs],
        [boxes.scores for boxes, _ in pairs],
        threshold=protocol.threshold,
    )
    return matches, [scans[row] for row in chosen], note


def covered(table: BoxTable, units: Sequence[object], looked_at: Sequence[bool]) -> tuple[list[int], str]:
    """Rows of the images or volumes to score on, and a line about those that a table with all that it saw leaves out.

    Raises
    ------
    DataError
        If the table has nothing on any.
    """
    if not any(looked_at):
        names = ", ".join(list(table.scans)[:3]) or "no scan"
        raise DataError(f"The data hold nothing of what {table.source} is of ({names}): give the data it was made on")
    if not table.names_all:
        return list(range(len(units))), ""
    rows = [row for row, seen in enumerate(looked_at) if seen]
    note = ""
    if len(rows) < len(units) and len(table.scans) > 1:
        note = f"{table.source} is of {len(rows)} of the {len(units)} to score on; the others are left out"
    return rows, note


def _p3d(found: ScanBoxes, truth: ScanBoxes) -> np.ndarray:
    lesions = [next(iter(row.items())) for row in truth.slice_boxes]
    boxes = np.asarray([box for _, box in lesions], float).reshape(-1, 4)
    return p3d_iou(found.slice_boxes, boxes, np.asarray([number for number, _ in lesions], int))


def _by_volume(found: ScanBoxes, truth: ScanBoxes) -> np.ndarray:
    return iou(found.boxes, truth.boxes)


def _by_share(found: ScanBoxes, truth: ScanBoxes) -> np.ndarray:
    # "+ 1" along x and y; along z the boxes reach from the first slice's edge to the last one's already.
    more = np.array([0, 0, 0, 1, 1, 0])
    return iobb(found.boxes + more, truth.boxes + more)


# By protocol: (n, m) how much each box of the one overlaps each of the other, in one volume.
OVERLAPS: dict[str, Callable[[ScanBoxes, ScanBoxes], np.ndarray]] = {"p3d": _p3d, "3d": _by_volume, "lens": _by_share}
