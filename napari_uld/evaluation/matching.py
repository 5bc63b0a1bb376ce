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
        (n,) index of each detection's image (or volume).
    hits
        (n,) number of lesions that each detection is the first to hit.
    false_positive
        (n,) bool: it overlaps no lesion enough. A second hit on a lesion is neither a hit nor false.
    lesions_per_image
        (images,) number of true lesions.
    lesion_scores
        One array per image: for each of its lesions the score of the first detection that hit it,
        minus infinity where none did.
    repeats
        (n,) number of lesions that each detection overlaps enough and a surer one hit before. None where nobody
        counted: in results stored before they were.
    """

    scores: np.ndarray
    images: np.ndarray
    hits: np.ndarray
    false_positive: np.ndarray
    lesions_per_image: np.ndarray
    lesion_scores: tuple[np.ndarray, ...]
    repeats: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class _Hits:
    """What was hit, detections and lesions counted through all images in the order in which they came.

    Parameters
    ----------
    first, repeats
        (n,) of each detection: see `Matches`.
    lesion_scores
        (m,) of each lesion: see `Matches`.
    """

    first: np.ndarray
    repeats: np.ndarray
    lesion_scores: np.ndarray


def match_image(
    overlap: np.ndarray, scores: np.ndarray, *, threshold: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Match the detections of one image (or volume).

    Parameters
    ----------
    overlap
        (n, m) how much each detection overlaps each true lesion (see `overlaps`).
    scores
        (n,) the detections' scores, in any order; of equal ones the first comes first.
    threshold
        A detection hits every lesion it overlaps by at least this much.

    Returns
    -------
    first_hits, false_positive, lesion_scores
        (n,) lesions that each detection is the first to hit; (n,) whether it hits none;
        (m,) the score that first hit each lesion, minus infinity where none did.
    """
    hits = _hits(np.stack(np.nonzero(overlap >= threshold)), np.asarray(scores, float), overlap.shape[1])
    return hits.first, hits.first + hits.repeats == 0, hits.lesion_scores


def match(overlaps: Sequence[np.ndarray], scores: Sequence[np.ndarray], *, threshold: float) -> Matches:
    """Match the detections of every image of a data set; sequences run over the images (see `match_image`).

    Raises
    ------
    ValueError
        If there are not as many scores as rows of overlaps, image by image.
    """
    shapes = [(*overlap.shape, len(each)) for overlap, each in zip(overlaps, scores, strict=True)]
    found, lesions, scored = np.asarray(shapes, np.int64).reshape(-1, 3).T
    if (found != scored).any():
        image = int(np.flatnonzero(found != scored)[0])
        raise ValueError(f"image {image} has overlaps of {found[image]} detections and {scored[image]} scores")
    all_scores = np.concatenate([np.zeros(0), *scores])
    pairs = _pairs(overlaps, found, lesions, threshold)
    hits = _hits(pairs, all_scores, int(lesions.sum()))
    order = best_first(all_scores)
    # Few of millions overlap anything: only these are looked up.
    overlaps_any = (hits.first + hits.repeats > 0)[order]
    places = np.flatnonzero(overlaps_any)
    first, repeats = np.zeros((2, len(order)), np.int32)
    first[places], repeats[places] = hits.first[order[places]], hits.repeats[order[places]]
    return Matches(
        scores=all_scores[order],
        images=np.repeat(np.arange(len(found), dtype=np.int32), found)[order],
        hits=first,
        false_positive=~overlaps_any,
        lesions_per_image=lesions,
        lesion_scores=_by_image(hits.lesion_scores, lesions),
        repeats=repeats,
    )


def best_first(scores: np.ndarray) -> np.ndarray:
    """Rows of (n,) finite scores from the highest to the lowest, equal ones in their order.

    What a stable argsort of the negative scores gives, for millions of them in a third of the time: numpy sorts 16-bit
    numbers digit by digit, and a float is a few of them: two where scores are of single precision, as networks'.
    """
    with np.errstate(over="ignore"):
        single = scores.astype(np.float32)
    exact = bool((single == scores).all())
    bits = (0.0 - single).view(np.uint32) if exact else (0.0 - scores).view(np.uint64)
    # Of negative numbers the bits are reversed, of others the sign alone: then they rise as the numbers do.
    sign = bits.dtype.type(1 << (8 * bits.itemsize - 1))
    bits = np.where(bits & sign, ~bits, bits | sign)
    order = np.arange(len(scores))
    for shift in range(0, 8 * bits.itemsize, 16):
        digits = (bits >> bits.dtype.type(shift)).astype(np.uint16)
        if len(digits) and digits.min() != digits.max():
            order = order[np.argsort(digits[order], kind="stable")] if shift else np.argsort(digits, kind="stable")
    return order


def _pairs(overlaps: Sequence[np.ndarray], found: np.ndarray, lesions: np.ndarray, threshold: float) -> np.ndarray:
    """(2, k) detections and lesions that overlap enough, both counted through all images."""
    flat = np.concatenate([np.zeros(0), *(overlap.ravel() for overlap in overlaps)])
    enough = np.flatnonzero(flat >= threshold)
    ends = np.cumsum(found * lesions)
    image = np.searchsorted(ends, enough, side="right")
    within = enough - (ends - found * lesions)[image]
    detections = (np.cumsum(found) - found)[image] + within // lesions[image]
    return np.stack([detections, (np.cumsum(lesions) - lesions)[image] + within % lesions[image]])


def _hits(pairs: np.ndarray, scores: np.ndarray, lesions: int) -> _Hits:
    """Let each lesion be hit by the surest detection that overlaps it enough, of equal ones the first."""
    detections, lesion = pairs
    # Lesion by lesion, surest first: the first of each lesion's pairs is its hit, the others are repeats.
    detections, lesion = pairs[:, np.lexsort((detections, -scores[detections], lesion))]
    is_first = np.diff(lesion, prepend=-1) != 0
    hit_by = detections[is_first]
    lesion_scores = np.full(lesions, -np.inf)
    lesion_scores[lesion[is_first]] = scores[hit_by]
    first = np.bincount(hit_by, minlength=len(scores))
    repeats = np.bincount(detections[~is_first], minlength=len(scores))
    return _Hits(first, repeats, lesion_scores)


def _by_image(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, ...]:
    """Cut an array into each image's part."""
    ends = np.cumsum(counts).tolist()
    return tuple(values[start:end] for start, end in zip([0, *ends], ends, strict=False))
