"""Which detections hit which lesions."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


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
    overlap: np.ndarray, scores: np.ndarray, *, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the detections of one image (or volume).

    Parameters
    ----------
    overlap
        (n, m) how much each detection overlaps each true lesion (see `overlaps`).
    scores
        (n,) the detections' scores, in any order.
    threshold
        A detection hits every lesion it overlaps by at least this much.

    Returns
    -------
    first_hits, false_positive, lesion_scores
        (n,) lesions that each detection is the first to hit; (n,) whether it hits none;
        (m,) the score that first hit each lesion, minus infinity where none did.
    """
    enough = overlap >= threshold
    first_hits = np.zeros(len(scores), dtype=np.int64)
    lesion_scores = np.full(overlap.shape[1], -np.inf)
    for row in np.argsort(-scores, kind="stable"):
        fresh = enough[row] & np.isneginf(lesion_scores)
        first_hits[row] = fresh.sum()
        lesion_scores[fresh] = scores[row]
    return first_hits, np.logical_not(enough.any(axis=1)), lesion_scores


def match(overlaps: Sequence[np.ndarray], scores: Sequence[np.ndarray], *, threshold: float) -> Matches:
    """Match the detections of every image of a data set; sequences run over the images (see `match_image`)."""
    per_image = [
        match_image(overlap, image_scores, threshold=threshold)
        for overlap, image_scores in zip(overlaps, scores, strict=True)
    ]
    images = np.repeat(np.arange(len(scores)), [len(s) for s in scores])
    all_scores = np.concatenate([np.zeros(0), *scores])
    order = np.argsort(-all_scores, kind="stable")
    return Matches(
        scores=all_scores[order],
        images=images[order],
        hits=np.concatenate([np.zeros(0, np.int64), *(p[0] for p in per_image)])[order],
        false_positive=np.concatenate([np.zeros(0, bool), *(p[1] for p in per_image)])[order],
        lesions_per_image=np.asarray([overlap.shape[1] for overlap in overlaps], dtype=np.int64),
        lesion_scores=tuple(p[2] for p in per_image),
    )
