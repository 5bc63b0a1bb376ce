"""COCO's average precision, as its public evaluation counts it, for one class and boxes of every size.

Unlike in the papers' protocols a detection hits one lesion at most, the one that it overlaps most of those that no
surer detection hit; every other detection is a false positive; precision is read at 101 recalls, and of each image
the 100 surest detections count.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# IoU thresholds, and recalls at which precision is read.
THRESHOLDS = np.linspace(0.5, 0.95, 10)
RECALLS = np.linspace(0, 1, 101)
# Detections of an image that count.
MOST = 100


@dataclass(frozen=True)
class CocoAp:
    """COCO's average precision.

    Parameters
    ----------
    ap
        Mean over the IoU thresholds .5, .55 ... .95.
    ap50, ap75
        At an IoU of .5, and of .75.
    """

    ap: float
    ap50: float
    ap75: float


def coco_ap(overlaps: Sequence[np.ndarray], scores: Sequence[np.ndarray]) -> CocoAp:
    """Average precision of a data set; sequences run over its images.

    Detections of equal score come in the order of the images, and in an image in their own.

    Parameters
    ----------
    overlaps
        (n, m) IoU of each detection with each true lesion.
    scores
        (n,) the detections' scores, in any order.

    Returns
    -------
    CocoAp
        All 0 where there are no lesions.
    """
    lesions = sum(overlap.shape[1] for overlap in overlaps)
    if lesions == 0:
        return CocoAp(0.0, 0.0, 0.0)
    orders = [np.argsort(-each, kind="stable")[:MOST] for each in scores]
    right = [_right(overlap[order]) for overlap, order in zip(overlaps, orders, strict=True)]
    kept = np.concatenate([each[order] for each, order in zip(scores, orders, strict=True)])
    of_threshold = np.concatenate(right)[np.argsort(-kept, kind="stable")]
    values = [_ap(hit, lesions) for hit in of_threshold.T]
    return CocoAp(float(np.mean(values)), values[0], values[5])


def _right(overlap: np.ndarray) -> np.ndarray:
    """(n, thresholds) whether each detection, surest first, hits a lesion that is still free at each threshold."""
    right = np.zeros((len(overlap), len(THRESHOLDS)), bool)
    free = np.ones((overlap.shape[1], len(THRESHOLDS)), bool)
    for row in np.flatnonzero((overlap >= THRESHOLDS[0]).any(axis=1)):
        fits = free & (overlap[row][:, None] >= THRESHOLDS)
        # Of lesions that are overlapped alike COCO takes the last.
        best = len(fits) - 1 - np.argmax(np.where(fits, overlap[row][:, None], -1.0)[::-1], axis=0)
        right[row] = fits.any(axis=0)
        free[best[right[row]], right[row]] = False
    return right


def _ap(right: np.ndarray, lesions: int) -> float:
    """Mean of the best precision at or beyond each of `RECALLS`; 0 at those that are never reached."""
    found = np.cumsum(right)
    recall, precision = found / lesions, found / np.arange(1, len(right) + 1)
    best = np.append(np.maximum.accumulate(precision[::-1])[::-1], 0.0)
    return float(best[np.searchsorted(recall, RECALLS, side="left")].mean())
