"""How much detections overlap lesions: matrices (detections, lesions) for `matching`, whatever they were made of."""

from collections.abc import Sequence

import numpy as np

from napari_uld.lesions.boxes import area, intersection, iou
from napari_uld.lesions.findings import SliceBoxes


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
