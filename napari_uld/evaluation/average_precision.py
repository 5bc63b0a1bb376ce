"""Average precision: the area under the precision-recall curve."""

from collections.abc import Sequence

import numpy as np

from napari_uld.evaluation.froc import patient_weights
from napari_uld.evaluation.matching import Matches


def average_precision(matches: Matches, *, by_lesion: bool = False, weights: np.ndarray | None = None) -> float:
    """Average precision over all points of the curve, as PASCAL VOC has it since 2010.

    Recall is the share of all lesions that are hit. Precision is the share of detections that are the first to
    hit a lesion: unlike in the FROC, a second hit on a lesion counts as a false positive. A detection that is the
    first to hit several lesions raises recall by each of them, but is one detection: it never makes more than all
    detections right. Detections of equal score enter together. At each recall the best precision at that recall
    or a higher one counts.

    Parameters
    ----------
    matches
        Matched detections of the whole data set.
    by_lesion
        Count as Lesion Harvester's evaluation of traced detections does: a detection is right once for each lesion
        that it is the first to hit, and false once for each that a surer one hit before.
    weights
        (images,) how often each image counts: the bootstrap's resampling. Default once.

    Returns
    -------
    float
        From 0 to 1; 0 where there are no lesions.

    Raises
    ------
    ValueError
        If `by_lesion` is asked for of matches that do not count repeats.
    """
    if weights is None:
        weights = np.ones(len(matches.lesions_per_image))
    lesions = float(weights @ matches.lesions_per_image)
    if lesions == 0 or not len(matches.scores):
        return 0.0
    right, counted = _counts(matches, by_lesion)
    of_detection = weights[matches.images]
    # Only where a lesion is hit does recall rise: of its points the curve's best precisions are among them.
    hitting = np.flatnonzero(matches.hits)
    ends = np.flatnonzero(np.append(matches.scores[1:] != matches.scores[:-1], True))
    ends = np.unique(ends[np.searchsorted(ends, hitting)])
    up_to = np.searchsorted(hitting, ends, side="right")
    found, right = (
        np.concatenate([[0.0], np.cumsum(of_detection[hitting] * each[hitting])])[up_to]
        for each in (matches.hits, right)
    )
    seen = np.cumsum(of_detection if counted is None else of_detection * counted)[ends]
    precision = np.divide(right, seen, out=np.zeros(len(ends)), where=seen > 0)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.diff(found / lesions, prepend=0.0) @ best)


def bootstrap_ap(
    matches: Matches, groups: Sequence[object], *, by_lesion: bool = False, samples: int = 1000, seed: int = 0
) -> np.ndarray:
    """Resample patients and take the average precision each time, (samples,).

    The same seed and groups draw the patients that `froc.bootstrap_froc` draws.
    """
    draws = patient_weights(groups, samples, seed)
    return np.asarray([average_precision(matches, by_lesion=by_lesion, weights=weights) for weights in draws])


def _counts(matches: Matches, by_lesion: bool) -> tuple[np.ndarray, np.ndarray | None]:
    """(n,) how often each detection is right, and how often it counts at all, None for once."""
    if not by_lesion:
        return matches.hits > 0, None
    if matches.repeats is None:
        raise ValueError("these matches do not say how often a detection hits a lesion again: match anew")
    return matches.hits, matches.hits + matches.repeats + matches.false_positive
