"""How much detections overlap lesions: matrices (detections, lesions) for `matching`, whatever they were made of."""

from collections.abc import Sequence

import numpy as np

from napari_uld.lesions.boxes import Box, area, intersection
from napari_uld.lesions.findings import SliceBoxes


def iou(a: np.ndarray, b: np.ndarray, *, pixel_inclusive: bool = False) -> np.ndarray:
    """Intersection over union of every pair of boxes in 2D or 3D, (len(a), len(b)); 0 where the union is empty.

    Parameters
    ----------
    a, b
        (n, 4) or (n, 6) boxes.
    pixel_inclusive
        Areas with "+ 1 pixel", as DeepLesion's public evaluation code has them.
    """
    overlap = intersection(a, b, pixel_inclusive=pixel_inclusive)
    union = area(a, pixel_inclusive=pixel_inclusive)[:, None] + area(b, pixel_inclusive=pixel_inclusive)[None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def iobb(detected: np.ndarray, truth: np.ndarray, *, pixel_inclusive: bool = False) -> np.ndarray:
    """Intersection over the detected box's area (or volume) of every pair, (len(detected), len(truth)); see `iou`."""
    overlap = intersection(detected, truth, pixel_inclusive=pixel_inclusive)
    detected_area = np.broadcast_to(area(detected, pixel_inclusive=pixel_inclusive)[:, None], overlap.shape)
    return np.divide(overlap, detected_area, out=np.zeros_like(overlap), where=detected_area > 0)


def p3d_iou(
    tracklets: Sequence[SliceBoxes], truth: np.ndarray, slices: np.ndarray, *, pixel_inclusive: bool = False
) -> np.ndarray:
    """Pseudo-3D IoU of the "end-to-end mining" paper: of a traced detection with lesions known on one slice each.

    Parameters
    ----------
    tracklets
        For each traced detection its box on each slice, by native number.
    truth
        (m, 4) boxes of one scan's lesions.
    slices
        (m,) native number of the slice that each of them lies on.
    pixel_inclusive
        See `iou`.

    Returns
    -------
    np.ndarray
        (len(tracklets), m): the IoU on the lesion's slice, 0 where the detection was not traced through it.
    """
    overlap = np.zeros((len(tracklets), len(truth)))
    for native in set(np.asarray(slices).tolist()):
        columns = np.flatnonzero(slices == native)
        rows = np.asarray([row for row, boxes in enumerate(tracklets) if native in boxes], int)
        if len(rows):
            on_slice = np.asarray([tracklets[row][native] for row in rows])
            overlap[np.ix_(rows, columns)] = iou(on_slice, truth[columns], pixel_inclusive=pixel_inclusive)
    return overlap


def traced_iou(a: Sequence[SliceBoxes], b: Sequence[SliceBoxes], least: float) -> dict[tuple[int, int], float]:
    """Highest IoU on a slice that both were traced through, of every pair (row of a, row of b) that has `least`.

    Pairs instead of a matrix: of thousands of traced boxes few meet.

    Parameters
    ----------
    a, b
        For each lesion its box on each slice, by native number; one that is known on one slice has one box.
    least
        Above 0.
    """
    on_slice = [_by_slice(tracklets) for tracklets in (a, b)]
    best: dict[tuple[int, int], float] = {}
    for native in on_slice[0].keys() & on_slice[1].keys():
        (rows, boxes), (columns, others) = (part[native] for part in on_slice)
        overlaps = iou(np.asarray(boxes), np.asarray(others))
        for i, j in zip(*np.nonzero(overlaps >= least), strict=True):
            pair = rows[i], columns[j]
            best[pair] = max(best.get(pair, 0.0), float(overlaps[i, j]))
    return best


def _by_slice(tracklets: Sequence[SliceBoxes]) -> dict[int, tuple[list[int], list[Box]]]:
    """Rows and boxes of all that is traced through a slice, by native number."""
    found: dict[int, tuple[list[int], list[Box]]] = {}
    for row, boxes in enumerate(tracklets):
        for native, box in boxes.items():
            rows, on_it = found.setdefault(native, ([], []))
            rows.append(row)
            on_it.append(box)
    return found
