import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.evaluation.average_precision import average_precision
from napari_uld.evaluation.matching import Matches, match

HIT, FALSE, REPEAT, TWO = (1, False), (0, True), (0, False), (2, False)


def of(kinds, lesions, scores=None):
    """Detections on one image, best first, and its number of lesions."""
    hits, false = zip(*kinds, strict=True) if kinds else ((), ())
    return Matches(
        scores=np.linspace(1, 0.1, len(kinds)) if scores is None else np.array(scores),
        images=np.zeros(len(kinds), int),
        hits=np.array(hits, int),
        false_positive=np.array(false, bool),
        lesions_per_image=np.array([lesions]),
        lesion_scores=(np.zeros(lesions),),
    )


def test_the_best_precision_at_a_recall_or_beyond_counts():
    # Precision 1, 1/2, 2/3, 2/4, 3/5 at recall 1/4, 1/4, 2/4, 2/4, 3/4; the last quarter is never reached.
    found = of([HIT, FALSE, HIT, FALSE, HIT], 4)
    assert average_precision(found) == pytest.approx((1 + 2 / 3 + 3 / 5) / 4)


def test_what_comes_later_and_is_more_precise_lifts_what_comes_before():
    # Precision 0, 1/2, 2/3 at recall 0, 1/2, 1: the first half counts with 2/3 too.
    assert average_precision(of([FALSE, HIT, HIT], 2)) == pytest.approx(2 / 3)


def test_a_second_hit_on_a_lesion_is_a_false_positive():
    # Recall 1/2 at precision 1, then 1 at 2/3.
    assert average_precision(of([HIT, REPEAT, HIT], 2)) == pytest.approx((1 + 2 / 3) / 2)
    assert average_precision(of([HIT, REPEAT, HIT], 2)) == average_precision(of([HIT, FALSE, HIT], 2))


def test_a_detection_of_two_lesions_raises_recall_twice_and_precision_once():
    # Precision 0, 1/2, 2/3 at recall 0, 2/3, 1.
    assert average_precision(of([FALSE, TWO, HIT], 3)) == pytest.approx(2 / 3)
    # Precision 0, 1/2 at recall 0, 1: counted twice it would be 2/3.
    assert average_precision(of([FALSE, TWO], 2)) == pytest.approx(1 / 2)


def test_detections_of_equal_score_enter_together():
    # One point: precision 1/2 at recall 1, whichever of the two stands first.
    for kinds in ([HIT, FALSE], [FALSE, HIT]):
        assert average_precision(of(kinds, 1, scores=[0.5, 0.5])) == pytest.approx(1 / 2)


@pytest.mark.parametrize(("kinds", "lesions"), [([], 2), ([FALSE, FALSE], 2), ([FALSE], 0), ([], 0)])
def test_nothing_hit_gives_0(kinds, lesions):
    assert average_precision(of(kinds, lesions)) == 0


def test_all_lesions_before_any_false_positive_give_1():
    assert average_precision(of([HIT, TWO, HIT, FALSE, FALSE], 4)) == pytest.approx(1)


def test_detections_are_ranked_over_all_images():
    # Best first: a hit on image 1, a repeat of it, a false positive on image 0, the hit on image 0; one is missed.
    lesion, near, far = [1.0], [0.8], [0.0]
    found = match(
        [np.array([far, lesion]), np.array([lesion, near]), np.zeros((0, 1))],
        [np.array([0.7, 0.6]), np.array([0.9, 0.8]), np.zeros(0)],
        threshold=0.5,
    )
    assert average_precision(found) == pytest.approx((1 + 2 / 4) / 3)


kinds = st.lists(st.sampled_from([HIT, FALSE, REPEAT, TWO]), max_size=12)


def hits_of(some):
    return sum(hits for hits, _ in some)


@given(kinds, st.integers(0, 3))
def test_it_lies_between_0_and_the_recall_reached(some, missed):
    lesions = hits_of(some) + missed
    assert 0 <= average_precision(of(some, lesions)) <= hits_of(some) / max(lesions, 1) + 1e-12


@given(kinds, st.integers(0, 3), st.sampled_from([FALSE, REPEAT]))
def test_a_false_positive_before_all_others_never_helps(some, missed, kind):
    lesions = hits_of(some) + missed
    assert average_precision(of([kind, *some], lesions)) <= average_precision(of(some, lesions)) + 1e-12


@given(kinds, st.integers(0, 3))
def test_false_positives_after_all_others_change_nothing(some, missed):
    lesions = hits_of(some) + missed
    assert average_precision(of([*some, FALSE, FALSE], lesions)) == pytest.approx(average_precision(of(some, lesions)))
