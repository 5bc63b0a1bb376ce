import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_uld.evaluation.matching import best_first, match, match_image
from napari_uld.evaluation.overlaps import iou

LESION = [0, 0, 10, 10]


def boxes(*rows):
    return np.array(rows, dtype=float).reshape(-1, 4)


def match_boxes(detected, scores, truth, threshold=0.5):
    """Match the boxes of one image by IoU."""
    return match_image(iou(detected, truth), scores, threshold=threshold)


def test_a_detection_hits_at_exactly_the_threshold_and_misses_below_it():
    # [0, 0, 10, 5] covers half of the lesion: IoU 50 / 100.
    hits, false, _ = match_boxes(boxes([0, 0, 10, 5]), np.array([0.9]), boxes(LESION))
    assert (hits.tolist(), false.tolist()) == ([1], [False])
    hits, false, scores = match_boxes(boxes([0, 0, 10, 4.9]), np.array([0.9]), boxes(LESION))
    assert (hits.tolist(), false.tolist()) == ([0], [True])
    assert scores.tolist() == [-np.inf]


def test_a_second_hit_on_a_lesion_is_neither_hit_nor_false():
    hits, false, scores = match_boxes(boxes(LESION, [0, 0, 10, 9]), np.array([0.4, 0.8]), boxes(LESION))
    # The better score is first, whatever the rows' order.
    assert hits.tolist() == [0, 1]
    assert not false.any()
    assert scores.tolist() == [0.8]


def test_one_detection_may_hit_two_lesions():
    truth = boxes([0, 0, 10, 10], [0, 3, 10, 13])
    # [0, 0, 10, 13] overlaps either by 100 / 130.
    hits, false, scores = match_boxes(boxes([0, 0, 10, 13]), np.array([0.7]), truth)
    assert (hits.tolist(), false.tolist(), scores.tolist()) == ([2], [False], [0.7, 0.7])


def test_a_detection_that_hits_an_old_and_a_new_lesion_counts_the_new_one():
    truth = boxes([0, 0, 10, 10], [0, 3, 10, 13])
    # IoU of the first detection with the second lesion is 70 / 130 > .5 too, so the second adds nothing.
    hits, _, _ = match_boxes(boxes([0, 0, 10, 10], [0, 0, 10, 13]), np.array([0.9, 0.5]), truth)
    assert hits.tolist() == [2, 0]
    # At threshold .7 the first hits its own alone, and the second (100 / 130 = .77) adds the other.
    hits, _, scores = match_boxes(boxes([0, 0, 10, 10], [0, 0, 10, 13]), np.array([0.9, 0.5]), truth, threshold=0.7)
    assert hits.tolist() == [1, 1]
    assert scores.tolist() == [0.9, 0.5]


def test_matching_asks_only_how_much_is_overlapped():
    # The rows could be boxes in 2D or 3D or traced detections; the columns lesions.
    overlap = np.array([[0.3, 0.0], [0.29, 0.6], [0.0, 0.1]])
    hits, false, scores = match_image(overlap, np.array([0.2, 0.5, 0.9]), threshold=0.3)
    assert hits.tolist() == [1, 1, 0]
    assert false.tolist() == [False, False, True]
    assert scores.tolist() == [0.2, 0.5]


def test_a_data_set_is_matched_image_by_image_and_sorted_by_score():
    found = match(
        [np.array([[1.0], [0.0]]), np.zeros((0, 1)), np.array([[0.0]])],
        [np.array([0.5, 0.9]), np.zeros(0), np.array([0.7])],
        threshold=0.5,
    )
    assert found.scores.tolist() == [0.9, 0.7, 0.5]
    assert found.images.tolist() == [0, 2, 0]
    assert found.hits.tolist() == [0, 0, 1]
    assert found.false_positive.tolist() == [True, True, False]
    assert found.lesions_per_image.tolist() == [1, 1, 1]
    assert [s.tolist() for s in found.lesion_scores] == [[0.5], [-np.inf], [-np.inf]]


def test_nothing_detected_and_nothing_there_is_no_error():
    found = match([np.zeros((0, 0))], [np.zeros(0)], threshold=0.5)
    assert len(found.scores) == 0
    assert found.lesions_per_image.tolist() == [0]
    assert len(match([], [], threshold=0.5).lesions_per_image) == 0


def test_overlaps_and_scores_of_different_numbers_of_images_are_refused():
    with pytest.raises(ValueError, match="zip"):
        match([np.zeros((0, 0))], [], threshold=0.5)


@st.composite
def images(draw):
    """Detections with distinct scores, and the truth, of one image."""
    a_box = st.tuples(*[st.integers(0, 8)] * 2, *[st.integers(2, 8)] * 2).map(
        lambda v: (v[0], v[1], v[0] + v[2], v[1] + v[3])
    )
    detected = draw(st.lists(a_box, max_size=8))
    scores = draw(st.lists(st.integers(1, 999), min_size=len(detected), max_size=len(detected), unique=True))
    return boxes(*detected), np.array(scores) / 1000, boxes(*draw(st.lists(a_box, max_size=4)))


@given(images(), st.randoms(use_true_random=False))
def test_shuffling_the_detections_changes_nothing(image, random):
    detected, scores, truth = image
    order = list(range(len(scores)))
    random.shuffle(order)
    hits, false, lesion_scores = match_boxes(detected, scores, truth)
    other_hits, other_false, other_lesion_scores = match_boxes(detected[order], scores[order], truth)
    assert_array_equal(hits[order], other_hits)
    assert_array_equal(false[order], other_false)
    assert_array_equal(lesion_scores, other_lesion_scores)


@given(images())
def test_every_lesion_is_hit_once_at_most_and_by_its_best_detection(image):
    detected, scores, truth = image
    hits, false, lesion_scores = match_boxes(detected, scores, truth)
    assert hits.sum() == np.isfinite(lesion_scores).sum() <= len(truth)
    assert not (hits.astype(bool) & false).any()
    for lesion, score in zip(truth, lesion_scores, strict=True):
        alone = [match_boxes(d[None], s[None], lesion[None])[0][0] for d, s in zip(detected, scores, strict=True)]
        assert score == max(scores[np.array(alone, bool)], default=-np.inf)


score = st.one_of(
    st.floats(allow_nan=False, width=32), st.floats(allow_nan=False), st.sampled_from([0.0, -0.0, 0.5, -0.5, 1e300])
)


@given(st.lists(score, max_size=30))
def test_the_best_come_first_and_equal_scores_stay_in_their_order(scores):
    array = np.array(scores, float)
    assert_array_equal(best_first(array), np.argsort(-array, kind="stable"))


def test_an_image_with_more_scores_than_overlaps_is_named():
    with pytest.raises(ValueError, match="image 1 has overlaps of 1 detections and 2 scores"):
        match([np.zeros((0, 1)), np.zeros((1, 1))], [np.zeros(0), np.zeros(2)], threshold=0.5)
