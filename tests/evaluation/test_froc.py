import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal

from napari_uld.evaluation.froc import FP_RATES, bootstrap_froc, froc, interval
from napari_uld.evaluation.matching import Matches, match
from napari_uld.evaluation.overlaps import iou

LESION = [0.0, 0.0, 10.0, 10.0]


def matches(rows, lesions_per_image):
    """Rows of (score, image, hits, whether false)."""
    rows = sorted(rows, key=lambda row: -row[0])
    columns = list(zip(*rows, strict=True)) or [(), (), (), ()]
    return Matches(
        scores=np.array(columns[0], float),
        images=np.array(columns[1], int),
        hits=np.array(columns[2], int),
        false_positive=np.array(columns[3], bool),
        lesions_per_image=np.array(lesions_per_image),
        lesion_scores=tuple(np.zeros(n) for n in lesions_per_image),
    )


def test_the_curve_counts_hits_over_all_lesions_and_false_positives_over_all_images():
    # Four images (one without a lesion), four lesions; best first: hit, FP, hit of two, repeat, FP.
    found = matches(
        [(0.9, 0, 1, False), (0.8, 1, 0, True), (0.7, 1, 2, False), (0.6, 1, 0, False), (0.5, 3, 0, True)], [1, 2, 1, 0]
    )
    curve = froc(found)
    assert curve.sensitivity.tolist() == [0, 0.25, 0.25, 0.75, 0.75, 0.75]
    assert curve.fp_per_image.tolist() == [0, 0, 0.25, 0.25, 0.25, 0.5]
    assert curve.rates == FP_RATES == (0.5, 1, 2, 4)
    assert curve.values.tolist() == [0.75] * 4


def test_sensitivity_is_interpolated_between_score_thresholds():
    # One image, two lesions: hit at .9, then at one score .5 two FPs and the other hit.
    found = matches([(0.9, 0, 1, False), (0.5, 0, 0, True), (0.5, 0, 1, False), (0.5, 0, 0, True)], [2])
    # From (0, .5) to (2, 1) in a straight line.
    assert_allclose(froc(found, [0.0, 0.5, 1.0, 1.5, 2.0, 4.0]).values, [0.5, 0.625, 0.75, 0.875, 1, 1])


def test_each_rate_has_the_lowest_score_that_gives_no_more_false_positives():
    # Two images: false positives at .8 and .5, a hit at .6.
    found = matches([(0.8, 0, 0, True), (0.6, 0, 1, False), (0.5, 1, 0, True)], [1, 0])
    assert froc(found, [0.25, 0.5, 0.9, 1.0, 4.0]).scores.tolist() == [np.inf, 0.6, 0.6, 0.5, 0.5]


def test_where_the_curve_climbs_at_one_rate_the_top_counts():
    found = matches([(0.9, 0, 0, True), (0.8, 0, 1, False), (0.7, 0, 0, True)], [1])
    assert froc(found, [1.0]).values.tolist() == [1.0]
    # Up to one FP per image it rises from 0 to 0: nothing was hit before the first FP.
    assert froc(found, [0.5]).values.tolist() == [0.0]


def test_beyond_the_last_detection_the_curve_stays():
    assert froc(matches([(0.9, 0, 1, False)], [2]), [8.0]).values.tolist() == [0.5]


def test_the_average_is_the_mean_over_the_rates():
    found = matches([(0.9, 0, 0, True), (0.8, 0, 1, False)], [1])
    curve = froc(found, [0.5, 1.0])
    assert curve.values.tolist() == [0, 1]
    assert curve.average == 0.5


def test_no_detections_give_a_sensitivity_of_0():
    assert froc(matches([], [1, 2])).values.tolist() == [0, 0, 0, 0]


def test_a_weight_of_two_is_the_image_twice():
    rows = [(0.9, 0, 1, False), (0.8, 1, 0, True), (0.7, 1, 1, False)]
    twice = [*rows, (0.8, 2, 0, True), (0.7, 2, 1, False)]
    weighted, repeated = froc(matches(rows, [2, 1]), weights=np.array([1.0, 2.0])), froc(matches(twice, [2, 1, 1]))
    assert_array_equal(weighted.values, repeated.values)
    assert_array_equal(weighted.fp_per_image, repeated.fp_per_image)


def test_a_weight_of_zero_leaves_the_image_out():
    rows = [(0.9, 0, 1, False), (0.8, 1, 0, True)]
    assert_array_equal(froc(matches(rows, [2, 5]), weights=np.array([1.0, 0.0])).values, [0.5] * 4)


def test_the_bootstrap_draws_whole_patients():
    # Patient a: two images, both hit; patient b: one image, missed. A draw gives aa, ab or bb.
    found = matches([(0.9, 0, 1, False), (0.9, 1, 1, False)], [1, 1, 1])
    drawn = bootstrap_froc(found, ["a", "a", "b"], [1.0], samples=400)
    assert drawn.shape == (400, 2)
    values, counts = np.unique(drawn[:, 0], return_counts=True)
    assert_allclose(values, [0, 2 / 3, 1])
    # Of the four equally likely draws two are ab.
    assert_allclose(counts / 400, [0.25, 0.5, 0.25], atol=0.08)


def test_the_bootstrap_pairs_two_methods_by_its_seed():
    good = matches([(0.9, i, 1, False) for i in range(6)], [1] * 6)
    # The same hits but one: never better in any draw.
    worse = matches([(0.9, i, 1, False) for i in range(5)], [1] * 6)
    one, other = (bootstrap_froc(m, list("aabbcc"), samples=50, seed=3) for m in (good, worse))
    assert (one >= other).all()
    assert_array_equal(one, bootstrap_froc(good, list("aabbcc"), samples=50, seed=3))
    assert not np.array_equal(other, bootstrap_froc(worse, list("aabbcc"), samples=50, seed=4))


def test_the_last_column_is_the_average_over_the_rates():
    found = matches([(0.9, 0, 0, True), (0.8, 0, 1, False), (0.7, 1, 1, False)], [2, 1])
    drawn = bootstrap_froc(found, ["a", "b"], samples=20)
    assert_allclose(drawn[:, -1], drawn[:, :-1].mean(axis=1))


def test_the_interval_cuts_off_equal_tails():
    samples = np.stack([np.arange(101.0), np.arange(101.0) / 100], axis=1)
    assert_allclose(interval(samples, 0.9), [[5, 0.05], [95, 0.95]])


@pytest.mark.parametrize("coverage", [0.5, 0.95])
def test_a_constant_has_an_interval_without_width(coverage):
    assert_array_equal(interval(np.full((10, 1), 0.7), coverage), [[0.7], [0.7]])


@st.composite
def data_sets(draw):
    """Overlaps of detections with the truth, and scores, of a few images; scores with ties."""
    a_box = st.tuples(st.integers(0, 6), st.integers(0, 6)).map(lambda v: (v[0], v[1], v[0] + 6.0, v[1] + 6.0))
    n = draw(st.integers(1, 4))
    detected = [draw(st.lists(a_box, max_size=5)) for _ in range(n)]
    scores = [draw(st.lists(st.sampled_from([0.2, 0.4, 0.6, 0.8]), min_size=len(d), max_size=len(d))) for d in detected]
    truth = [draw(st.lists(a_box, max_size=3)) for _ in range(n)]
    detected, truth = ([np.array(b, float).reshape(-1, 4) for b in boxes] for boxes in (detected, truth))
    return [iou(d, t) for d, t in zip(detected, truth, strict=True)], [np.array(s) for s in scores]


rates = st.lists(st.floats(0, 6), min_size=2, max_size=6).map(sorted)


@given(data_sets(), rates)
def test_sensitivity_never_falls_with_the_fp_rate_and_lies_between_0_and_1(data, rates):
    values = froc(match(*data, threshold=0.5), rates).values
    assert (np.diff(values) >= 0).all()
    assert ((values >= 0) & (values <= 1)).all()


@given(data_sets(), st.randoms(use_true_random=False))
def test_shuffling_detections_and_images_changes_nothing(data, random):
    overlaps, scores = data
    orders = [random.sample(range(len(s)), len(s)) for s in scores]
    images = random.sample(range(len(scores)), len(scores))
    shuffled = match([overlaps[i][orders[i]] for i in images], [scores[i][orders[i]] for i in images], threshold=0.5)
    one, other = froc(match(*data, threshold=0.5)), froc(shuffled)
    assert_allclose(one.sensitivity, other.sensitivity)
    assert_allclose(one.fp_per_image, other.fp_per_image)


@given(data_sets())
def test_only_the_order_of_scores_matters(data):
    overlaps, scores = data
    assert_allclose(
        froc(match(*data, threshold=0.5)).values,
        froc(match(overlaps, [s**3 - 5 for s in scores], threshold=0.5)).values,
    )


@given(data_sets())
def test_images_without_anything_only_dilute_the_false_positives(data):
    overlaps, scores = data
    n = len(scores)
    diluted = match(overlaps + [np.zeros((0, 0))] * n, scores + [np.zeros(0)] * n, threshold=0.5)
    one, other = froc(match(*data, threshold=0.5), [1.0, 2.0]), froc(diluted, [0.5, 1.0])
    assert_allclose(one.values, other.values)
