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


def p3d_iou(tracklets: Sequence[SliceBoxes], truth: np.ndarray, slices: np.ndarray) -> np.ndarray:
    """Pseudo-3D IoU of the "end-to-end mining" paper: of a traced detection with lesions known on one slice each.

    Parameters
    ----------
    tracklets
        For each traced detection its box on each slice, by native number.
    truth
        (m, 4) boxes of one scan's lesions.
    slices
        (m,) native number of the slice that each of them lies on.

    Returns
    -------
    np.ndarray
        (len(tracklets), m): the IoU on the lesion's slice, 0 where the detection was not traced through it.
    """
    overlap = np.zeros((len(tracklets), len(truth)))
    for row, boxes in enumerate(tracklets):
        for column, native in enumerate(slices):
            if int(native) in boxes:
                overlap[row, column] = iou(np.asarray([boxes[int(native)]]), truth[column : column + 1])[0, 0]
    return overlap
