"""Sensitivity by the lesions' size, or by any other division of them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from napari_uld.evaluation.froc import FP_RATES, Froc, froc
from napari_uld.evaluation.matching import Matches


@dataclass(frozen=True)
class SizeBins:
    """How a paper divides lesions by their long diameter.

    Parameters
    ----------
    names
        Of small, middle and large lesions.
    small_mm, large_mm
        Small ones are below the one, large ones above the other; the middle bin holds both bounds.
    rate
        Mean false positives at which that paper gives the sensitivity of each.
    """

    names: tuple[str, str, str]
    small_mm: float
    large_mm: float
    rate: float

    def of(self, diameters: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
        """Which lesions of each image are in which bin: a bool array per image."""
        small = [each < self.small_mm for each in diameters]
        middle = [(each >= self.small_mm) & (each <= self.large_mm) for each in diameters]
        large = [each > self.large_mm for each in diameters]
        return dict(zip(self.names, (small, middle, large), strict=True))


# The improved RetinaNet's, after 3DCE, on images; VLD's, on volumes.
IMAGE_BINS = SizeBins(("< 10 mm", "10-30 mm", "> 30 mm"), 10.0, 30.0, 4.0)
VOLUME_BINS = SizeBins(("< 2 cm", "2-5 cm", "> 5 cm"), 20.0, 50.0, 1.0)
BINS = IMAGE_BINS.names


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
    return froc_of_each(matches, size_bins(diameters))


def froc_of_each(
    matches: Matches,
    parts: dict[str, list[np.ndarray]],
    rates: Sequence[float] = FP_RATES,
    *,
    from_origin: bool = True,
) -> dict[str, Froc]:
    """FROC of each part of the lesions, with the false positives of ALL detections.

    Parameters
    ----------
    parts
        By name: one bool array per image, an element a lesion (see `SizeBins.of`).
    rates, from_origin
        See `froc`.
    """
    return {name: froc(of_lesions(matches, chosen), rates, from_origin=from_origin) for name, chosen in parts.items()}


def size_bins(diameters: Sequence[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """Which lesions of each image are in which of `IMAGE_BINS`: a bool array per image."""
    return IMAGE_BINS.of(diameters)


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
    return replace(matches, hits=hits, lesions_per_image=lesions_per_image, lesion_scores=lesion_scores, repeats=None)
