"""Average precision: the area under the precision-recall curve."""

import numpy as np

from napari_uld.evaluation.matching import Matches


def average_precision(matches: Matches) -> float:
    """Average precision over all points of the curve, as PASCAL VOC has it since 2010.

    Recall is the share of all lesions that are hit. Precision is the share of detections that are the first to
    hit a lesion: unlike in the FROC, a second hit on a lesion counts as a false positive. A detection that is the
    first to hit several lesions raises recall by each of them, but is one detection: it never makes more than all
    detections right. Detections of equal score enter together. At each recall the best precision at that recall
    or a higher one counts.

    Returns
    -------
    float
        From 0 to 1; 0 where there are no lesions.
    """
    lesions = matches.lesions_per_image.sum()
    if lesions == 0 or not len(matches.scores):
        return 0.0
    last = np.flatnonzero(np.diff(matches.scores, append=-np.inf))
    recall = np.cumsum(matches.hits)[last] / lesions
    precision = np.cumsum(matches.hits > 0)[last] / (last + 1)
    best = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.diff(recall, prepend=0.0) @ best)
