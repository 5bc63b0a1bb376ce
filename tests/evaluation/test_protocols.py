"""What each protocol counts differently, in cases worked out by hand."""

import numpy as np
import pytest

from napari_uld.evaluation.average_precision import average_precision, bootstrap_ap
from napari_uld.evaluation.by_size import IMAGE_BINS, VOLUME_BINS, of_lesions
from napari_uld.evaluation.coco import coco_ap
from napari_uld.evaluation.froc import bootstrap_froc, froc
from napari_uld.evaluation.matching import match
from napari_uld.evaluation.overlaps import p3d_iou
from napari_uld.evaluation.protocols import PROTOCOLS


def test_a_tracklet_is_right_for_each_lesion_it_is_the_first_to_hit_and_false_for_each_that_was_hit() -> None:
    # The surer tracklet hits both lesions, the other one both again and the last nothing.
    matches = match([np.array([[1.0, 1], [1, 1], [0, 0]])], [np.array([0.9, 0.5, 0.1])], threshold=0.5)
    assert matches.repeats is not None
    assert (matches.hits.tolist(), matches.repeats.tolist()) == ([2, 0, 0], [0, 2, 0])
    curve = froc(matches, [1.0])
    assert (curve.values.tolist(), curve.fp_per_image[-1]) == ([1], 1)
    # Both lesions are found before anything false.
    assert average_precision(matches, by_lesion=True) == 1


def test_by_lesion_a_duplicate_before_the_last_lesion_costs_precision_once_for_each_it_hits_again() -> None:
    overlap = np.array([[1.0, 1, 0], [1, 1, 0], [0, 0, 1]])
    matches = match([overlap], [np.array([0.9, 0.5, 0.1])], threshold=0.5)
    # Recall 2/3 at precision 1; the last lesion at 3 right of 5 that count, or 2 detections right of 3.
    assert average_precision(matches, by_lesion=True) == pytest.approx(2 / 3 + 1 / 3 * 3 / 5)
    assert average_precision(matches) == pytest.approx(2 / 3 + 1 / 3 * 2 / 3)


def test_average_precision_by_lesion_needs_matches_that_count_repeats() -> None:
    matches = match([np.ones((1, 1))], [np.array([0.9])], threshold=0.5)
    with pytest.raises(ValueError, match="match anew"):
        average_precision(of_lesions(matches, [np.array([True])]), by_lesion=True)


def test_false_positives_are_divided_by_all_volumes_those_without_a_lesion_too() -> None:
    nothing = np.zeros((0, 0))
    overlaps, scores = [np.array([[1.0], [0]]), nothing, nothing, nothing], [np.array([0.5, 0.9]), *[np.zeros(0)] * 3]
    curve = froc(match(overlaps, scores, threshold=0.5), [0.25])
    assert curve.fp_per_image.tolist() == [0, 0.25, 0.25]
    assert (curve.found.tolist(), curve.false.tolist(), curve.missed.tolist()) == ([1], [1], [0])


def test_what_stands_behind_a_rate_is_what_is_found_without_more_false_positives() -> None:
    overlap = np.array([[1.0, 0], [0, 0], [0, 0], [0, 1]])
    curve = froc(match([overlap], [np.array([0.9, 0.8, 0.7, 0.6])], threshold=0.5), [0.5, 1.0, 2.0])
    assert curve.scores.tolist() == [0.9, 0.8, 0.6]
    assert curve.found.tolist() == [1, 1, 2]
    assert curve.false.tolist() == [0, 1, 2]
    assert curve.missed.tolist() == [1, 1, 0]


def test_the_manual_1ks_curve_is_0_below_its_first_point_and_the_others_climb_to_it() -> None:
    # A false positive and a hit of one score: the first point is one false positive, all lesions.
    matches = match([np.array([[1.0], [0]])], [np.array([0.9, 0.9])], threshold=0.5)
    assert froc(matches, [0.5, 1.0]).values.tolist() == [0.5, 1]
    assert froc(matches, [0.5, 1.0], from_origin=PROTOCOLS["lens"].from_origin).values.tolist() == [0, 1]
    drawn = bootstrap_froc(matches, ["a"], [0.5, 1.0], samples=3, from_origin=False)
    assert drawn.tolist() == [[0, 1, 0.5]] * 3


def test_the_protocols_have_the_papers_thresholds_and_rates() -> None:
    assert {name: each.threshold for name, each in PROTOCOLS.items()} == {
        "image": 0.5,
        "p3d": 0.5,
        "3d": 0.3,
        "lens": 0.3,
        "coco": 0.5,
    }
    assert PROTOCOLS["p3d"].rates == PROTOCOLS["lens"].rates == (0.125, 0.25, 0.5, 1, 2, 4, 8)
    assert PROTOCOLS["3d"].rates == (0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75, 2)


@pytest.mark.parametrize(
    ("bins", "diameters", "expected"),
    [(IMAGE_BINS, [9.9, 10, 30, 30.1], [1, 2, 1]), (VOLUME_BINS, [19.9, 20, 50, 50.1], [1, 2, 1])],
)
def test_each_papers_bins_divide_by_its_own_sizes(bins: object, diameters: list[float], expected: list[int]) -> None:
    parts = bins.of([np.array([*diameters, np.nan])])  # type: ignore[attr-defined]
    assert [int(chosen[0].sum()) for chosen in parts.values()] == expected
    assert (IMAGE_BINS.rate, VOLUME_BINS.rate) == (4, 1)


def test_plus_one_pixel_may_make_a_traced_box_hit() -> None:
    # 2 x 2 of 4 x 2; with a pixel more 3 x 3 of 5 x 3.
    lesion, found = np.array([[0.0, 0, 4, 2]]), [{7: (0.0, 0.0, 2.0, 2.0)}]
    assert p3d_iou(found, lesion, np.array([7])).tolist() == [[0.5]]
    assert p3d_iou(found, lesion, np.array([7]), pixel_inclusive=True).tolist() == [[0.6]]


def test_for_coco_a_detection_hits_one_lesion_alone() -> None:
    both = [np.array([[0.6, 0.6]])]
    # Half of the recalls are reached at precision 1, at the thresholds .5, .55 and .6; there are 51 up to a half.
    assert coco_ap(both, [np.array([0.9])]).ap50 == pytest.approx(51 / 101)
    assert coco_ap(both, [np.array([0.9])]).ap == pytest.approx(0.3 * 51 / 101)
    assert coco_ap(both, [np.array([0.9])]).ap75 == 0


def test_for_coco_a_second_detection_may_hit_what_the_first_left() -> None:
    overlap = np.array([[0.9, 0.8], [0.9, 0.6]])
    assert coco_ap([overlap], [np.array([0.9, 0.5])]).ap50 == 1
    assert coco_ap([overlap], [np.array([0.9, 0.5])]).ap75 == pytest.approx(51 / 101)


def test_without_lesions_cocos_average_precision_is_0() -> None:
    assert coco_ap([np.zeros((1, 0))], [np.array([0.9])]).ap == 0


def test_the_bootstrap_of_average_precision_draws_the_same_patients_as_that_of_the_froc() -> None:
    # Patient a is found, patient b missed: sensitivity and average precision are the share of a's lesions.
    matches = match([np.ones((1, 1)), np.zeros((0, 1))], [np.array([0.9]), np.zeros(0)], threshold=0.5)
    of_froc = bootstrap_froc(matches, ["a", "b"], [1.0], samples=40, seed=5)[:, 0]
    np.testing.assert_allclose(bootstrap_ap(matches, ["a", "b"], samples=40, seed=5), of_froc)
    assert len(np.unique(of_froc)) == 3
