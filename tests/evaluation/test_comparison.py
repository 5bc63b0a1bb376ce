import numpy as np
import pytest

from napari_uld.evaluation.comparison import fp_at, paired_difference
from napari_uld.evaluation.froc import Froc

# From (0, 0) straight up to .4, level to one FP, then straight to (3, .8).
CURVE = Froc(np.array([0.0, 0.0, 1.0, 3.0]), np.array([0.0, 0.4, 0.4, 0.8]), (1.0,), np.array([0.4]), np.array([0.5]))


@pytest.mark.parametrize(
    ("sensitivity", "fp"), [(0.0, 0.0), (0.2, 0.0), (0.4, 0.0), (0.5, 1.5), (0.6, 2.0), (0.8, 3.0), (0.81, np.inf)]
)
def test_false_positives_at_a_sensitivity_are_read_where_the_curve_first_reaches_it(sensitivity, fp):
    assert fp_at(CURVE, sensitivity) == pytest.approx(fp)


def test_the_difference_is_taken_sample_by_sample_between_the_means_over_seeds():
    # Ours: .5 and .7 of two seeds, mean .6; theirs .4: .2 better in every sample, though the samples themselves vary.
    drift = np.linspace(0, 1, 101)
    assert paired_difference([0.5 + drift, 0.7 + drift], [0.4 + drift]) == pytest.approx((0.2, 0.2))


def test_the_bounds_cut_off_equal_tails():
    assert paired_difference([np.arange(201.0)], [np.zeros(201)]) == pytest.approx((5, 195))
