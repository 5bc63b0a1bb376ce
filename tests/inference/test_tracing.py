import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from napari_uld.errors import DataError
from napari_uld.inference.tracing import trace
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import encode

SLICES = list(range(100, 130))


def findings(rows, **columns):
    """Rows of (native slice, box, score)."""
    return Findings.from_rows(
        scan_id="s",
        scan_name="scan",
        method="m",
        checkpoint="c",
        key_slices=[r[0] for r in rows],
        boxes=[r[1] for r in rows],
        scores=[r[2] for r in rows],
        **columns,
    )


def square(x, y, side=20):
    return (float(x), float(y), float(x + side), float(y + side))


def test_a_drifting_box_is_one_lesion_whose_key_slice_scores_highest():
    scores = [0.3, 0.6, 0.9, 0.7, 0.5]
    drift = [(105 + i, square(50 + 4 * i, 50 - 3 * i), score) for i, score in enumerate(scores)]
    traced = trace(findings(drift), SLICES)
    assert len(traced) == 1
    assert traced.key_slices.tolist() == [107]
    assert traced.scores.tolist() == [0.9]
    assert tuple(traced.boxes[0]) == square(58, 44)
    assert traced.slice_boxes[0] == {native: box for native, box, _ in drift}


def test_a_lesion_that_moves_faster_than_its_overlap_is_followed_by_its_speed():
    # Neighbouring boxes overlap by .33; the filter's predictions by far more.
    drift = [(100 + i, square(10 * i, 0), 0.5) for i in range(10)]
    assert len(trace(findings(drift), SLICES)) == 1


def test_two_parallel_lesions_stay_two():
    rows = [(105 + i, square(x, 40), 0.5 + x / 1000) for i in range(4) for x in (10, 25)]
    traced = trace(findings(rows), SLICES)
    assert len(traced) == 2
    assert [sorted({box[0] for box in boxes.values()}) for boxes in traced.slice_boxes] == [[25], [10]]
    assert traced.scores.tolist() == [0.525, 0.51]


def test_two_lesions_that_cross_keep_their_ways():
    ways = {
        "right": [square(6 * i, 50) for i in range(13)],
        "left": [square(75 - 6 * i, 55) for i in range(13)],
    }
    rows = [(105 + i, boxes[i], 0.5) for boxes in ways.values() for i in range(13)]
    traced = trace(findings(rows), SLICES)
    assert len(traced) == 2
    assert sorted(tuple(boxes.values()) for boxes in traced.slice_boxes) == sorted(map(tuple, ways.values()))


def test_one_missing_slice_is_bridged_with_the_predicted_box():
    rows = [(105 + i, square(50 + 2 * i, 50), 0.5) for i in (0, 1, 2, 4, 5)]
    traced = trace(findings(rows), SLICES)
    assert len(traced) == 1
    assert sorted(traced.slice_boxes[0]) == [105, 106, 107, 108, 109, 110]
    assert_allclose(traced.slice_boxes[0][108], square(56, 50), atol=0.5)


def test_two_missing_slices_make_two_lesions():
    rows = [(105 + i, square(50, 50), 0.5) for i in (0, 1, 4, 5)]
    traced = trace(findings(rows), SLICES)
    assert [sorted(boxes) for boxes in traced.slice_boxes] == [[105, 106], [109, 110]]


def test_a_lesion_seen_last_before_a_gap_ends_where_it_was_seen():
    traced = trace(findings([(105, square(50, 50), 0.5)]), SLICES)
    assert list(traced.slice_boxes[0]) == [105]


def test_slices_are_neighbours_by_their_place_along_z_not_by_their_number():
    rows = [(1, square(50, 50), 0.5), (7, square(50, 50), 0.6), (3, square(50, 50), 0.7)]
    assert len(trace(findings(rows), [9, 3, 7, 1])) == 1
    assert len(trace(findings(rows), [3, 20, 21, 7, 22, 23, 1])) == 3


def test_boxes_that_overlap_by_less_than_three_tenths_are_two_lesions():
    # Shifted by 11 of 20: 9 / 31 = .29.
    rows = [(105, square(50, 50), 0.5), (106, square(61, 50), 0.5)]
    assert len(trace(findings(rows), SLICES)) == 2
    # Shifted by 10 of 20: 1 / 3.
    rows = [(105, square(50, 50), 0.5), (106, square(60, 50), 0.5)]
    assert len(trace(findings(rows), SLICES)) == 1


def test_neither_labels_nor_negatives_are_mixed():
    rows = [(105 + i, square(50, 50), 0.5) for i in range(3)]
    assert len(trace(findings(rows, labels=[1, 2, 1]), SLICES)) == 2
    assert len(trace(findings(rows, negative=[False, True, False]), SLICES)) == 2


def test_the_mask_of_the_key_slice_goes_with_the_lesion():
    mask = encode(np.ones((2, 2)))
    rows = [(105, square(50, 50), 0.5), (106, square(50, 50), 0.9)]
    assert trace(findings(rows, masks=(None, mask)), SLICES).masks == (mask,)


def test_no_findings_give_no_lesions():
    assert len(trace(findings([]), SLICES)) == 0


def test_a_finding_on_a_slice_that_the_scan_lacks_is_refused():
    with pytest.raises(DataError, match=r"scan lie on slices \[7\], which its 30 slices lack"):
        trace(findings([(7, square(0, 0), 0.5)]), SLICES)


@given(
    st.lists(
        st.tuples(
            st.integers(100, 106),
            st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 25)).map(lambda v: square(*v)),
            st.integers(1, 9).map(lambda s: s / 10),
        ),
        max_size=12,
        unique=True,
    ),
    st.randoms(use_true_random=False),
)
def test_every_box_lies_on_one_lesion_whatever_the_order(rows, random):
    traced = trace(findings(rows), SLICES)
    shuffled = list(rows)
    random.shuffle(shuffled)
    assert trace(findings(shuffled), SLICES).slice_boxes == traced.slice_boxes
    seen = [(native, box) for boxes in traced.slice_boxes for native, box in boxes.items()]
    assert {(native, box) for native, box, _ in rows} <= set(seen)
    for boxes in traced.slice_boxes:
        # Filled gaps included, a lesion covers its slices without a hole.
        assert sorted(boxes) == list(range(min(boxes), max(boxes) + 1))
