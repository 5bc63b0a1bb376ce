"""Sensitivity by the lesions' size."""

from dataclasses import replace

import numpy as np

from napari_uld.evaluation.froc import Froc, froc
from napari_uld.evaluation.matching import Matches

# Long diameters in mm at which DeepLesion's papers divide lesions; the middle bin holds both bounds.
SMALL_MM, LARGE_MM = 10.0, 30.0
BINS = ("< 10 mm", "10-30 mm", "> 30 mm")


def froc_by_size(matches: Matches, diameters: tuple[np.ndarray, ...]) -> dict[str, Froc]:
    """FROC of small, middle and large lesions: of each bin's lesions, with the false positives of ALL detections.

    The bins' sensitivities at a rate, weighted by their numbers of lesions, give that of all lesions.

    Parameters
    ----------
    matches
        Matched detections of the whole data set.
    diameters
        One array per image: the long diameter in mm of each of its lesions; where it is unknown
        (nan), the lesion is in no bin.
    """
    return {name: froc(of_lesions(matches, chosen)) for name, chosen in size_bins(diameters).items()}


def size_bins(diameters: tuple[np.ndarray, ...]) -> dict[str, list[np.ndarray]]:
    """Which lesions of each image are in which bin: a bool array per image."""
    small = [each < SMALL_MM for each in diameters]
    middle = [(each >= SMALL_MM) & (each <= LARGE_MM) for each in diameters]
    large = [each > LARGE_MM for each in diameters]
    return dict(zip(BINS, (small, middle, large), strict=True))


def of_lesions(matches: Matches, chosen: list[np.ndarray]) -> Matches:
    """The same detections, as if only the chosen lesions had to be found.

    A detection that hits only other lesions is neither a hit nor false.

    Parameters
    ----------
    chosen
        One bool array per image, an element a lesion.
    """
    lesion_scores = tuple(scores[which] for scores, which in zip(matches.lesion_scores, chosen, strict=True))
    hits = np.zeros_like(matches.hits)
    hitting = np.flatnonzero(matches.hits)
    # Detections of equal score enter a curve together: the image's first one may stand for them all.
    row_of = {(matches.images[row], matches.scores[row]): row for row in hitting[::-1]}
    for image, scores in enumerate(lesion_scores):
        for score in scores[np.isfinite(scores)]:
            hits[row_of[image, score]] += 1
    lesions_per_image = np.asarray([len(scores) for scores in lesion_scores], np.int64)
    return replace(matches, hits=hits, lesions_per_image=lesions_per_image, lesion_scores=lesion_scores)
