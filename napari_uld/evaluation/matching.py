"""Which detections hit which lesions."""

from dataclasses import dataclass
from typing import Literal

import numpy as np

from napari_uld.lesions import boxes as bx

Criterion = Literal["iou", "iobb"]


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections of a whole data set, matched, best first.

    Parameters
    ----------
    scores
        (n,) scores in descending order.
    images
        (n,) index of each detection's image.
    hits
        (n,) number of lesions that each detection is the first to hit.
    false_positive
        (n,) bool: it overlaps no lesion enough. A second hit on a lesion is neither a hit nor false.
    lesions_per_image
        (images,) number of true lesions.
    lesion_scores
        One array per image: for each of its lesions the score of the first detection that hit it,
        minus infinity where none did.
    """

    scores: np.ndarray
    images: np.ndarray
    hits: np.ndarray
    false_positive: np.ndarray
    lesions_per_image: np.ndarray
    lesion_scores: tuple[np.ndarray, ...]


def match_image(
    detected: np.ndarray,
    scores: np.ndarray,
    truth: np.ndarray,
    *,
    threshold: float = 0.5,
    criterion: Criterion = "iou",
    pixel_inclusive: bool = False,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the detections of one image.

    Parameters
    ----------
    detected, scores
        (n, 4) or (n, 6) boxes and their (n,) scores, in any order.
    truth
        (m, 4) or (m, 6) boxes of the true lesions.
    threshold
        A detection hits every lesion it overlaps by at least this much.
    criterion
        IoU, or IoBB (intersection over the detected box's area).
    pixel_inclusive
        Areas with "+ 1 pixel", as DeepLesion's public evaluation code has them.

    Returns
    -------
    first_hits, false_positive, lesion_scores
        (n,) lesions that each detection is the first to hit; (n,) whether it hits none;
        (m,) the score that first hit each lesion, minus infinity where none did.
    """
    overlap = (bx.iou if criterion == "iou" else bx.iobb)(detected, truth, pixel_inclusive=pixel_inclusive)
    enough = overlap >= threshold
    order = np.argsort(-scores, kind="stable")
    first_hits = np.zeros(len(scores), dtype=np.int64)
    lesion_scores = np.full(len(truth), -np.inf)
    for row in order:
        fresh = enough[row] & np.isneginf(lesion_scores)
        first_hits[row] = fresh.sum()
        lesion_scores[fresh] = scores[row]
    return first_hits, np.logical_not(enough.any(axis=1)), lesion_scores


def match(
    detected: list[np.ndarray],
    scores: list[np.ndarray],
    truth: list[np.ndarray],
    *,
    threshold: float = 0.5,
    criterion: Criterion = "iou",
    pixel_inclusive: bool = False,
) -> Matches:
    """Match the detections of every image of a data set; lists run over the images (see `match_image`)."""
    per_image = [
        match_image(d, s, t, threshold=threshold, criterion=criterion, pixel_inclusive=pixel_inclusive)
        for d, s, t in zip(detected, scores, truth, strict=True)
    ]
    images = np.repeat(np.arange(len(scores)), [len(s) for s in scores])
    all_scores = np.concatenate([np.zeros(0), *scores])
    order = np.argsort(-all_scores, kind="stable")
    return Matches(
        scores=all_scores[order],
        images=images[order],
        hits=np.concatenate([np.zeros(0, np.int64), *(p[0] for p in per_image)])[order],
        false_positive=np.concatenate([np.zeros(0, bool), *(p[1] for p in per_image)])[order],
        lesions_per_image=np.asarray([len(t) for t in truth], dtype=np.int64),
        lesion_scores=tuple(p[2] for p in per_image),
    )
