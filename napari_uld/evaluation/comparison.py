"""How two detectors compare on the same images."""

from collections.abc import Sequence

import numpy as np

from napari_uld.evaluation.froc import Froc, interval


def fp_at(curve: Froc, sensitivity: float) -> float:
    """Mean false positives per image at which a curve first reaches a sensitivity; infinite where it never does.

    Between two score thresholds it is interpolated linearly, as sensitivity is.
    """
    right = int(np.searchsorted(curve.sensitivity, sensitivity))
    if right == len(curve.sensitivity):
        return float("inf")
    if right == 0:
        return 0.0
    (low, high), (left_fp, right_fp) = (
        values[right - 1 : right + 1] for values in (curve.sensitivity, curve.fp_per_image)
    )
    return float(left_fp + (sensitivity - low) / (high - low) * (right_fp - left_fp))


def paired_difference(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray]) -> tuple[float, float]:
    """95% bounds of how much better we are than they, each the mean over its training seeds.

    Parameters
    ----------
    ours, theirs
        For each training seed (samples,) bootstrapped values, sample by sample of the same drawn
        patients (`froc.bootstrap_froc` with one seed).
    """
    low, high = interval(np.mean(ours, axis=0) - np.mean(theirs, axis=0))
    return float(low), float(high)
