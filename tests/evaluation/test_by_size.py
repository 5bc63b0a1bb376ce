import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from napari_uld.evaluation.by_size import BINS, froc_by_size, of_lesions
from napari_uld.evaluation.froc import froc
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import iou


def box(x, width=10.0):
    return [x, 0.0, x + width, 10.0]


def found(detected, scores, truth):
    overlaps = [
        iou(*(np.array(boxes, float).reshape(-1, 4) for boxes in image)) for image in zip(detected, truth, strict=True)
    ]
    return match(overlaps, [np.array(s, float) for s in scores], threshold=0.5)


@pytest.fixture
def two_images():
    """Lesions of 5 and 20 mm on the first image, 20 and 40 mm on the second; the 40 mm one is missed."""
    detected = [[box(0), box(500), box(100)], [box(600), box(100)]]
    scores = [[0.9, 0.8, 0.7], [0.6, 0.5]]
    truth = [[box(0), box(100)], [box(100), box(200)]]
    return found(detected, scores, truth), (np.array([5.0, 20.0]), np.array([20.0, 40.0]))


def test_each_bin_has_its_own_lesions_and_all_false_positives(two_images):
    curves = froc_by_size(*two_images)
    # Best first: hit 5 mm, FP, hit 20 mm, FP, hit 20 mm: FPs per image 0, .5, .5, 1, 1.
    assert [curves[name].sensitivity.tolist() for name in BINS] == [
        [0, 1, 1, 1, 1, 1],
        [0, 0, 0, 0.5, 0.5, 1],
        [0, 0, 0, 0, 0, 0],
    ]
    for name in BINS:
        assert curves[name].fp_per_image.tolist() == [0, 0, 0.5, 0.5, 1, 1]
    assert curves["10-30 mm"].values.tolist() == [0.5, 1, 1, 1]
    assert curves["10-30 mm"].average == 0.875


def test_the_middle_bin_holds_both_of_its_bounds_and_an_unknown_size_is_in_none():
    lesions = [box(0), box(100), box(200), box(300), box(400)]
    matches = found([lesions], [[0.9] * 5], [lesions])
    chosen = froc_by_size(matches, (np.array([9.9, 10.0, 30.0, 30.1, np.nan]),))
    assert [curve.values[0] for curve in chosen.values()] == [1, 1, 1]
    none = froc_by_size(matches, (np.array([10.0, 20.0, 30.0, 20.0, np.nan]),))
    assert [none[name].values[0] for name in BINS] == [0, 1, 0]


def test_a_detection_that_hits_only_lesions_left_out_is_neither_hit_nor_false(two_images):
    matches, _ = two_images
    only = of_lesions(matches, [np.array([False, True]), np.array([False, False])])
    assert only.hits.tolist() == [0, 0, 1, 0, 0]
    assert only.false_positive.tolist() == matches.false_positive.tolist() == [False, True, False, True, False]
    assert only.lesions_per_image.tolist() == [1, 0]


def test_one_detection_that_hits_a_small_and_a_large_lesion_counts_in_both_bins():
    matches = found([[box(0, 14)]], [[0.9]], [[box(0), box(4)]])
    assert matches.hits.tolist() == [2]
    curves = froc_by_size(matches, (np.array([5.0, 40.0]),))
    assert [curves[name].values[0] for name in BINS] == [1, 0, 1]


@given(st.lists(st.tuples(st.integers(0, 8), st.sampled_from([0.2, 0.4, 0.6])), max_size=12), st.data())
def test_the_bins_weighted_by_their_lesions_give_the_whole(rows, data):
    truth = [box(0), box(10), box(20), box(30), box(40)]
    diameters = np.array(data.draw(st.lists(st.sampled_from([5.0, 20.0, 50.0]), min_size=5, max_size=5)))
    matches = found([[box(x * 10 + 1) for x, _ in rows]], [[s for _, s in rows]], [truth])
    curves = froc_by_size(matches, (diameters,))
    counts = [(diameters < 10).sum(), (diameters == 20).sum(), (diameters > 30).sum()]
    weighted = sum(curves[name].values * n for name, n in zip(BINS, counts, strict=True)) / 5
    assert_allclose(weighted, froc(matches).values)
