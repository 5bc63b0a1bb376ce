"""What SORT joins along z is cut into bodies, each of a plausible length and of boxes that go on from one another."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.errors import DataError
from napari_uld.inference.one_body import ALWAYS, LONGEST, SCORED, body_score, trace_bodies
from napari_uld.inference.tracing import trace
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import encode

SLICES = list(range(100, 160))
THIN, THICK = (1.0, 1.0, 1.0), (5.0, 0.8, 0.8)


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


def square(x, y, side=10):
    return (float(x), float(y), float(x + side), float(y + side))


def spans(traced):
    """First and last slice of each body, from the first slice on."""
    return sorted((min(boxes), max(boxes)) for boxes in traced.slice_boxes)


def test_a_lesion_as_long_as_it_is_wide_stays_one():
    rows = [(100 + i, square(50, 50), 0.5) for i in range(10)]
    traced = trace_bodies(findings(rows), SLICES, THIN)
    assert spans(traced) == [(100, 109)]
    assert traced.slice_boxes[0] == {native: box for native, box, _ in rows}


def test_two_widths_are_a_lesions_length_and_one_slice_more_is_not():
    assert LONGEST == 2
    rows = [(100 + i, square(50, 50), 0.5) for i in range(21)]
    assert len(trace_bodies(findings(rows[:20]), SLICES, THIN)) == 1
    assert len(trace_bodies(findings(rows), SLICES, THIN)) == 2
    assert len(trace(findings(rows), SLICES)) == 1, "SORT alone goes on"


def test_length_is_in_millimetres_and_the_larger_side_of_the_widest_box_counts():
    # 31 slices of 2 mm are 62 mm: of a box 31 px wide no more than twice that, of 30 px more.
    for side, count in ((31, 1), (30, 2)):
        flat = (50.0, 50.0, 50.0 + side, 58.0)
        narrow = [(100 + i, (50.0, 50.0, 64.0, 58.0), 0.5) for i in (0, 1)]
        rows = [*narrow, *((100 + i, (50.0, 50.0, 72.0, 58.0), 0.5) for i in (2, 3)), (104, flat, 0.5)]
        rows += [(100 + i, flat, 0.5) for i in range(5, 31)]
        assert len(trace_bodies(findings(rows), SLICES, (2.0, 1.0, 1.0))) == count


def test_one_or_two_slices_are_always_a_body():
    assert ALWAYS == 2
    # A box of 4 px is 3.2 mm wide, two slices are 10 mm, three 15.
    rows = [(100 + i, square(50, 50, 4), 0.5) for i in range(3)]
    assert spans(trace_bodies(findings(rows[:2]), SLICES, THICK)) == [(100, 101)]
    assert len(trace_bodies(findings(rows), SLICES, THICK)) == 2


def test_what_is_too_long_is_cut_where_it_fades_and_comes_back():
    scores = [0.2, 0.9, 0.9, 0.9, 0.9, 0.3, 0.9, 0.9, 0.9, 0.9, 0.1]
    rows = [(100 + i, square(50, 50, 3), score) for i, score in enumerate(scores)]
    # The last slice is fainter, but after it nothing comes back; of the two links at slice 105 the first is cut.
    assert spans(trace_bodies(findings(rows), SLICES, THIN)) == [(100, 104), (105, 110)]


def test_what_is_too_long_is_cut_where_its_boxes_overlap_least():
    rows = [(100 + i, square(50 if i < 8 else 53, 50), 0.5) for i in range(24)]
    assert spans(trace_bodies(findings(rows), SLICES, THIN)) == [(100, 107), (108, 123)]


def test_a_vessel_through_the_whole_scan_becomes_even_pieces_that_are_none_too_long():
    rows = [(native, square(50, 50), 0.5) for native in SLICES]
    assert spans(trace_bodies(findings(rows), SLICES, THIN)) == [(100, 114), (115, 129), (130, 144), (145, 159)]


def test_a_box_that_leaps_ends_a_body_though_the_filter_foresaw_half_the_way():
    # Of 20 px, moved by 12: detected boxes overlap by 8 / 32, with the one predicted at 8 by far more.
    rows = [(100 + i, square(x, 50, 20), 0.5) for i, x in enumerate((0, 8, 16, 24, 36, 44))]
    assert spans(trace(findings(rows), SLICES)) == [(100, 105)]
    assert spans(trace_bodies(findings(rows), SLICES, THIN)) == [(100, 103), (104, 105)]


def test_a_bridged_slice_goes_with_the_body_that_it_lies_in_and_with_none_where_that_is_cut():
    gap = [(100 + i, square(50, 50), 0.5) for i in (0, 1, 3, 4)]
    assert sorted(trace_bodies(findings(gap), SLICES, THIN).slice_boxes[0]) == [100, 101, 102, 103, 104]
    # Three px wide, 11 slices are too many, and over the missing one the boxes agree least.
    rows = [(100 + i, square(50, 50, 3), 0.5) for i in range(5)] + [(106 + i, square(51, 50, 3), 0.5) for i in range(5)]
    assert spans(trace_bodies(findings(rows), SLICES, THIN)) == [(100, 104), (106, 110)]


def test_the_key_slice_is_the_highest_and_the_score_half_way_to_the_mean_over_a_fifth_of_the_width():
    assert SCORED == 0.2
    scores = [0.3, 0.6, 0.9, 0.7, 0.5]
    rows = [(100 + i, square(50, 50, 15), score) for i, score in enumerate(scores)]
    traced = trace_bodies(findings(rows), SLICES, THIN)
    assert traced.key_slices.tolist() == [102]
    # 15 mm: the highest three of 1 mm.
    assert traced.scores == pytest.approx([(0.9 + (0.9 + 0.7 + 0.6) / 3) / 2])
    # Where slices are 5 mm thick one covers them.
    assert trace_bodies(findings(rows), SLICES, (5.0, 1.0, 1.0)).scores == pytest.approx([0.9])


def test_a_body_on_fewer_slices_than_its_width_lets_expect_is_less_sure():
    assert body_score(np.array([0.8]), 10.0, 1.0) == pytest.approx((0.8 + 0.4) / 2)
    assert body_score(np.array([0.8, 0.6, 0.1]), 10.0, 1.0) == pytest.approx((0.8 + 0.7) / 2)
    assert body_score(np.array([0.8]), 1.0, 1.0) == pytest.approx(0.8)


def test_pieces_of_what_is_too_long_are_less_sure_by_the_root_of_how_much_too_long_it_is():
    rows = [(100 + i, square(50, 50), 0.9) for i in range(60)]
    assert trace_bodies(findings(rows[:20]), SLICES, THIN).scores == pytest.approx([0.9])
    assert trace_bodies(findings(rows), SLICES, THIN).scores == pytest.approx([0.9 / np.sqrt(60 / 20)] * 4)


def test_bodies_are_ordered_by_their_own_scores():
    flicker = [(100, square(10, 10, 15), 0.6)]
    lesion = [(100 + i, square(50, 50, 15), 0.5) for i in range(6)]
    traced = trace_bodies(findings([*flicker, *lesion]), SLICES, THIN)
    assert traced.scores == pytest.approx([0.5, (0.6 + 0.2) / 2])
    assert [len(boxes) for boxes in traced.slice_boxes] == [6, 1]


def test_the_mask_of_the_key_slice_goes_with_the_body():
    mask = encode(np.ones((2, 2)))
    rows = [(100, square(50, 50), 0.5), (101, square(50, 50), 0.9)]
    assert trace_bodies(findings(rows, masks=(None, mask)), SLICES, THIN).masks == (mask,)


def test_neither_labels_nor_negatives_are_mixed():
    rows = [(100 + i, square(50, 50), 0.5) for i in range(3)]
    assert len(trace_bodies(findings(rows, labels=[1, 2, 1]), SLICES, THIN)) == 2
    assert len(trace_bodies(findings(rows, negative=[False, True, False]), SLICES, THIN)) == 2


def test_scores_of_nothing_cut_a_trace_like_any_other():
    rows = [(native, square(50, 50), 0.0) for native in SLICES]
    assert all(len(boxes) <= 20 for boxes in trace_bodies(findings(rows), SLICES, THIN).slice_boxes)


def test_no_findings_give_no_bodies():
    assert len(trace_bodies(findings([]), SLICES, THIN)) == 0


def test_a_finding_on_a_slice_that_the_scan_lacks_is_refused():
    with pytest.raises(DataError, match=r"scan lie on slices \[7\], which its 60 slices lack"):
        trace_bodies(findings([(7, square(0, 0), 0.5)]), SLICES, THIN)


@given(
    st.lists(
        st.tuples(
            st.integers(100, 115),
            st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 12)).map(lambda v: square(*v)),
            st.integers(0, 9).map(lambda s: s / 10),
        ),
        max_size=40,
        unique_by=lambda row: row[:2],
    ),
    st.sampled_from([THIN, THICK, (2.0, 0.5, 0.7)]),
    st.randoms(use_true_random=False),
)
def test_every_box_is_in_one_body_of_plausible_length_whatever_the_order(rows, spacing, random):
    traced = trace_bodies(findings(rows), SLICES, spacing)
    shuffled = list(rows)
    random.shuffle(shuffled)
    again = trace_bodies(findings(shuffled), SLICES, spacing)
    assert again.slice_boxes == traced.slice_boxes
    assert again.scores.tolist() == traced.scores.tolist()
    assert (np.diff(traced.scores) <= 0).all()
    held = [(native, box) for boxes in traced.slice_boxes for native, box in boxes.items()]
    detected = {(native, box) for native, box, _ in rows}
    # Filled gaps aside, bodies hold the detections, each once and as it was.
    assert all(held.count(each) == 1 for each in detected)
    for key, boxes in zip(traced.key_slices.tolist(), traced.slice_boxes, strict=True):
        assert (key, boxes[key]) in detected
        assert sorted(boxes) == list(range(min(boxes), max(boxes) + 1))
        assert {(n, boxes[n]) for n in (min(boxes), max(boxes))} <= detected
        corners = np.array([box for n, box in boxes.items() if (n, box) in detected])
        widest = ((corners[:, 2:] - corners[:, :2]) * (spacing[2], spacing[1])).max()
        assert len(boxes) <= 2 or len(boxes) * spacing[0] <= LONGEST * widest + 1e-9
