"""Free-response ROC: sensitivity at a mean number of false positives per image."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from napari_uld.evaluation.matching import Matches

# Mean false positives per image at which DeepLesion's papers report sensitivity.
FP_RATES = (0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True, eq=False)
class Froc:
    """A FROC curve and its values at the usual rates.

    Parameters
    ----------
    fp_per_image, sensitivity
        The curve, one point per distinct score, from (0, 0).
    rates
        Mean false positives per image that were asked for.
    values
        Sensitivity at each of `rates`.
    scores
        The lowest score from which on there are no more false positives than each of `rates`; infinity where even
        the surest detections give more.
    found, false, missed
        (len(rates), each) lesions hit, false positives and lesions missed by the detections from each of `scores` on.
    """

    fp_per_image: np.ndarray
    sensitivity: np.ndarray
    rates: tuple[float, ...]
    values: np.ndarray
    scores: np.ndarray
    found: np.ndarray = field(default_factory=lambda: np.zeros(0))
    false: np.ndarray = field(default_factory=lambda: np.zeros(0))
    missed: np.ndarray = field(default_factory=lambda: np.zeros(0))

    @property
    def average(self) -> float:
        """Mean sensitivity over `rates`."""
        return float(self.values.mean())


def froc(
    matches: Matches,
    rates: Sequence[float] = FP_RATES,
    *,
    weights: np.ndarray | None = None,
    from_origin: bool = True,
) -> Froc:
    """Sensitivity over all lesions against false positives divided by ALL images.

    Sensitivity at a rate between two score thresholds is interpolated linearly; beyond the last
    detection it stays as it is.

    Parameters
    ----------
    matches
        Matched detections of the whole data set.
    rates
        Mean false positives per image to read the curve at.
    weights
        (images,) how often each image counts: the bootstrap's resampling. Default once.
    from_origin
        Whether sensitivity climbs in a line from (0, 0) to the surest detections' point; where not, it is 0 at rates
        below that point, as in the evaluation of the manual 1K volumes.
    """
    if weights is None:
        images, lesions = float(len(matches.lesions_per_image)), float(matches.lesions_per_image.sum())
        hits, misses = matches.hits, matches.false_positive
    else:
        images, lesions = float(weights.sum()), float(weights @ matches.lesions_per_image)
        hits, misses = (weights[matches.images] * each for each in (matches.hits, matches.false_positive))
    # Detections of equal score enter together: the curve has a point where the score changes.
    last = np.flatnonzero(np.append(matches.scores[1:] != matches.scores[:-1], len(matches.scores) > 0))
    found, false = (np.concatenate([[0.0], np.cumsum(each)[last]]) for each in (hits, misses))
    scores = np.concatenate([[np.inf], matches.scores[last]])
    sensitivity = found / max(lesions, 1.0)
    fp_per_image = false / max(images, 1.0)
    read = _read if from_origin else _read_from_first
    points = np.searchsorted(fp_per_image, rates, side="right") - 1
    return Froc(
        fp_per_image=fp_per_image,
        sensitivity=sensitivity,
        rates=tuple(rates),
        values=np.asarray([read(fp_per_image, sensitivity, rate) for rate in rates]),
        scores=scores[points],
        found=found[points],
        false=false[points],
        missed=lesions - found[points],
    )


def bootstrap_froc(
    matches: Matches,
    groups: Sequence[object],
    rates: Sequence[float] = FP_RATES,
    *,
    samples: int = 1000,
    seed: int = 0,
    from_origin: bool = True,
) -> np.ndarray:
    """Resample patients and read the curve each time.

    Parameters
    ----------
    matches
        Matched detections of the whole data set.
    groups
        (images,) the patient of each image; images of one patient stay together.
    samples
        Number of resamplings.
    from_origin
        See `froc`.

    Returns
    -------
    np.ndarray
        (samples, len(rates) + 1): sensitivity at each rate, and their average last. The same
        seed and groups draw the same patients, so two methods' arrays differ pairwise.
    """
    rows = np.empty((samples, len(rates) + 1))
    for row, weights in zip(rows, patient_weights(groups, samples, seed), strict=True):
        curve = froc(matches, rates, weights=weights, from_origin=from_origin)
        row[:-1] = curve.values
        row[-1] = curve.average
    return rows


def patient_weights(groups: Sequence[object], samples: int, seed: int) -> Iterator[np.ndarray]:
    """Draw patients with replacement, `samples` times: (images,) how often each image counts."""
    _, member = np.unique(np.asarray([str(g) for g in groups]), return_inverse=True)
    patients = int(member.max()) + 1 if len(member) else 0
    rng = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(rng.integers(patients, size=patients), minlength=patients).astype(float)[member]


def interval(samples: np.ndarray, coverage: float = 0.95) -> np.ndarray:
    """Percentile interval of bootstrap samples (samples, k): (2, k) low and high."""
    tail = (1 - coverage) / 2
    return np.quantile(samples, [tail, 1 - tail], axis=0)


def _read(fp: np.ndarray, sensitivity: np.ndarray, rate: float) -> float:
    """Interpolate the curve at `rate`; where it climbs at one FP rate, the top counts."""
    right = int(np.searchsorted(fp, rate, side="right"))
    if right == len(fp):
        return float(sensitivity[-1])
    share = (rate - fp[right - 1]) / (fp[right] - fp[right - 1])
    return float(sensitivity[right - 1] + share * (sensitivity[right] - sensitivity[right - 1]))


def _read_from_first(fp: np.ndarray, sensitivity: np.ndarray, rate: float) -> float:
    """Like `_read`, but 0 below the false positives of the surest detections."""
    return _read(fp, sensitivity, rate) if len(fp) > 1 and rate >= fp[1] else 0.0
