"""Methods on one scan: lesions found, false positives and scores at a number of false positives that is allowed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_array_equal

from napari_uld.evaluation.matching import match_image
from napari_uld.evaluation.one_scan import OnScan, Point, on_scan

LESIONS = [{5: (0.0, 0.0, 10.0, 10.0)}, {5: (50.0, 0.0, 60.0, 10.0)}, {9: (0.0, 50.0, 10.0, 60.0)}]
HIT, OTHER, NOTHING = LESIONS[0], LESIONS[1], {7: (80.0, 80.0, 90.0, 90.0)}


def points(method: OnScan, up_to: int) -> list[tuple[float, int, int]]:
    return [(p.score, p.found, p.false) for p in (method.at(allowed) for allowed in range(up_to + 1))]


def test_each_false_positive_that_is_allowed_lowers_the_score_to_just_above_the_next() -> None:
    # Best first: a hit, a false one, the other lesion, a false one, a second mark of the first lesion.
    marked = [HIT, NOTHING, OTHER, {3: (0.0, 0.0, 5.0, 5.0)}, HIT]
    method = on_scan(LESIONS, marked, np.array([0.9, 0.8, 0.7, 0.6, 0.5]))
    assert points(method, 3) == [(0.9, 1, 0), (0.7, 2, 1), (0.5, 2, 2), (0.5, 2, 2)]
    assert method.lesion_scores.tolist() == [0.9, 0.7, -np.inf]
    assert method.lesion.tolist() == [0, -1, 1, -1, 0]
    assert method.false.tolist() == [False, True, False, True, False]
    assert method.counts(method.at(1)).tolist() == [True, True, True, False, False]


def test_what_was_marked_may_come_in_any_order() -> None:
    method = on_scan(LESIONS, [NOTHING, HIT, OTHER], np.array([0.2, 0.1, 0.3]))
    assert method.false.tolist() == [True, False, False]
    assert points(method, 1) == [(0.3, 1, 0), (0.1, 2, 1)]


def test_where_the_surest_is_false_none_is_found_before_one_is_allowed() -> None:
    method = on_scan(LESIONS, [NOTHING, HIT], np.array([0.9, 0.8]))
    assert points(method, 1) == [(np.inf, 0, 0), (0.8, 1, 1)]
    assert not method.counts(method.at(0)).any()


def test_false_positives_of_one_score_come_together_or_not_at_all() -> None:
    method = on_scan(LESIONS, [HIT, NOTHING, NOTHING, OTHER], np.array([0.9, 0.5, 0.5, 0.4]))
    assert [(found, false) for _, found, false in points(method, 2)] == [(1, 0), (1, 0), (2, 2)]


def test_a_traced_mark_hits_a_lesion_that_is_known_on_one_of_its_slices() -> None:
    traced = {4: (0.0, 0.0, 9.0, 9.0), 5: (0.0, 0.0, 10.0, 10.0), 6: (0.0, 0.0, 9.0, 9.0)}
    beside = {4: (0.0, 0.0, 10.0, 10.0), 6: (0.0, 0.0, 10.0, 10.0)}
    method = on_scan(LESIONS, [traced, beside], np.array([0.5, 0.4]))
    assert method.false.tolist() == [False, True]


@pytest.mark.parametrize(("reach", "hits"), [(3.0, True), (2.9, False)])
def test_a_mark_is_of_a_lesion_from_the_overlap_on_at_which_the_review_says_so(reach: float, hits: bool) -> None:
    # IoU of a part of a lesion's width is that part: .3 or .29.
    method = on_scan(LESIONS, [{5: (0.0, 0.0, reach, 10.0)}], np.array([0.5]))
    assert method.false.tolist() == [not hits]


def test_without_scores_everything_always_counts() -> None:
    method = on_scan(LESIONS, [HIT, NOTHING, NOTHING], None)
    assert method.at(0) == method.at(5) == Point(-np.inf, 1, 2)
    assert method.counts(method.at(0)).all()


@pytest.mark.parametrize(("lesions", "marked"), [([], []), (LESIONS, []), ([], [HIT])])
def test_there_may_be_nothing(lesions: list, marked: list) -> None:
    method = on_scan(lesions, marked, np.full(len(marked), 0.5))
    assert method.at(9) == Point(0.5 if marked else np.inf, 0, len(marked))
    assert len(method.lesion_scores) == len(lesions)


corner = st.integers(0, 6)
traced = st.dictionaries(
    st.integers(0, 2), st.tuples(corner, corner, st.integers(2, 6), st.integers(2, 6)), min_size=1
).map(lambda boxes: {z: (float(x), float(y), float(x + w), float(y + h)) for z, (x, y, w, h) in boxes.items()})
score = st.sampled_from([0.1, 0.2, 0.3, 0.5, 0.8])


def overlap_of(a: dict, b: dict) -> float:
    """Highest IoU on a slice of both, worked out a pair at a time."""
    best = 0.0
    for z in a.keys() & b.keys():
        (ax1, ay1, ax2, ay2), (bx1, by1, bx2, by2) = a[z], b[z]
        shared = max(0.0, min(ax2, bx2) - max(ax1, bx1)) * max(0.0, min(ay2, by2) - max(ay1, by1))
        union = (ax2 - ax1) * (ay2 - ay1) + (bx2 - bx1) * (by2 - by1) - shared
        best = max(best, shared / union)
    return best


@given(lesions=st.lists(traced, max_size=4), marked=st.lists(st.tuples(traced, score), max_size=8))
def test_a_point_is_what_matching_what_counts_alone_gives_and_no_lower_score_would_do(
    lesions: list, marked: list
) -> None:
    boxes, scores = [box for box, _ in marked], np.array([value for _, value in marked])
    method = on_scan(lesions, boxes, scores)
    overlap = np.array([[overlap_of(a, b) for b in lesions] for a in boxes]).reshape(len(boxes), len(lesions))

    def at_least(lowest: float) -> tuple[int, int]:
        kept = scores >= lowest
        hits, false, _ = match_image(overlap[kept], scores[kept], threshold=0.3)
        return int(hits.sum()), int(false.sum())

    for allowed in range(len(boxes) + 1):
        point = method.at(allowed)
        assert (point.found, point.false) == at_least(point.score)
        assert point.false <= allowed
        assert all(at_least(lower)[1] > allowed for lower in scores[scores < point.score])
        found = method.lesion_scores >= point.score
        assert_array_equal(found.sum(), point.found)
