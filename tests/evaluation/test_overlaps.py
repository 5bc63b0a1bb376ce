import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.evaluation.overlaps import iobb, iou, p3d_iou
from napari_uld.lesions.boxes import area, as_boxes
from napari_uld.lesions.same_lesion import traced_iou

# Quarters are exact in binary: sums and products of them are too.
coordinate = st.integers(-400, 400).map(lambda v: v / 4)


@st.composite
def boxes(draw: st.DrawFn, dims: int) -> np.ndarray:
    rows = draw(st.lists(st.lists(st.tuples(coordinate, coordinate), min_size=dims, max_size=dims), max_size=4))
    return as_boxes([[*map(min, row), *map(max, row)] for row in rows], dims)


@pytest.mark.parametrize("dims", [2, 3])
@settings(max_examples=50)
@given(data=st.data())
def test_iou_is_symmetric_bounded_and_one_on_itself(dims: int, data: st.DataObject) -> None:
    a, b = data.draw(boxes(dims)), data.draw(boxes(dims))
    overlap = iou(a, b)
    assert overlap.shape == (len(a), len(b))
    np.testing.assert_array_equal(overlap, iou(b, a).T)
    assert ((overlap >= 0) & (overlap <= 1)).all()
    np.testing.assert_array_equal(np.diag(iou(a, a)), (area(a) > 0).astype(float))


@pytest.mark.parametrize("dims", [2, 3])
@settings(max_examples=50)
@given(data=st.data())
def test_iobb_is_bounded_and_at_least_the_iou(dims: int, data: st.DataObject) -> None:
    a, b = data.draw(boxes(dims)), data.draw(boxes(dims))
    part = iobb(a, b)
    assert ((part >= iou(a, b)) & (part <= 1)).all()


@settings(max_examples=50)
@given(a=boxes(2), b=boxes(2), shift=st.tuples(coordinate, coordinate))
def test_iou_does_not_depend_on_where_the_boxes_lie(a: np.ndarray, b: np.ndarray, shift: tuple[float, float]) -> None:
    moved = np.array([*shift, *shift])
    np.testing.assert_array_equal(iou(a + moved, b + moved), iou(a, b))


def test_boxes_by_hand() -> None:
    a, b = as_boxes([[0, 0, 4, 2]]), as_boxes([[2, 1, 5, 3], [4, 0, 6, 2], [1, 0.5, 3, 1.5]])
    assert iou(a, b).tolist() == [[2 / 12, 0, 2 / 8]]
    assert iobb(a, b).tolist() == [[2 / 8, 0, 2 / 8]]
    assert iobb(b, a).tolist() == [[2 / 6], [0], [1]]


def test_boxes_by_hand_with_one_pixel_more() -> None:
    # 5 x 3 and 4 x 3 pixels share 3 x 2.
    a, b = as_boxes([[0, 0, 4, 2]]), as_boxes([[2, 1, 5, 3]])
    assert iou(a, b, pixel_inclusive=True).tolist() == [[6 / (15 + 12 - 6)]]
    assert iobb(a, b, pixel_inclusive=True).tolist() == [[6 / 15]]


def test_boxes_in_3d_by_hand() -> None:
    # 2 x 2 x 4 and 2 x 2 x 4 share 1 x 2 x 2.
    a, b = as_boxes([[0, 0, 0, 2, 2, 4]], 3), as_boxes([[1, 0, 2, 3, 2, 6], [0, 0, 4, 2, 2, 8]], 3)
    assert iou(a, b).tolist() == [[4 / 28, 0]]
    assert iobb(a, b).tolist() == [[4 / 16, 0]]


def test_no_boxes_are_no_pairs() -> None:
    assert iou(as_boxes([]), as_boxes([[0, 0, 1, 1]])).shape == (0, 1)


def test_a_traced_detection_overlaps_a_lesion_on_that_lesions_slice_alone() -> None:
    # On slice 7 the box covers half of the first lesion; the second lies on slice 9, where it was not seen.
    grown = {6: (0.0, 0.0, 1.0, 1.0), 7: (0.0, 0.0, 10.0, 5.0), 8: (0.0, 0.0, 10.0, 10.0)}
    elsewhere = {7: (50.0, 50.0, 60.0, 60.0)}
    truth = as_boxes([[0, 0, 10, 10], [0, 0, 10, 10], [0, 0, 10, 10]])
    assert p3d_iou([grown, elsewhere], truth, np.array([7, 9, 8])).tolist() == [[0.5, 0, 1], [0, 0, 0]]


def test_no_traced_detections_and_no_lesions_are_no_pairs() -> None:
    assert p3d_iou([], as_boxes([[0, 0, 1, 1]]), np.array([3])).shape == (0, 1)
    assert p3d_iou([{3: (0.0, 0.0, 1.0, 1.0)}], as_boxes([]), np.array([], int)).shape == (1, 0)


tracklets = st.lists(
    st.dictionaries(
        st.integers(0, 3),
        st.lists(st.tuples(coordinate, coordinate), min_size=2, max_size=2).map(
            lambda sides: tuple(float(v) for v in (*map(min, sides), *map(max, sides)))
        ),
        min_size=1,
    ),
    max_size=4,
)


@settings(max_examples=50)
@given(a=tracklets, b=tracklets, least=st.sampled_from([0.05, 0.3, 0.9]))
def test_traced_iou_is_the_highest_on_any_slice_that_both_lie_on(
    a: list[dict[int, tuple[float, ...]]], b: list[dict[int, tuple[float, ...]]], least: float
) -> None:
    expected = {}
    for j, boxes in enumerate(b):
        truth = as_boxes(list(boxes.values()))
        for i, best in enumerate(p3d_iou(a, truth, np.array(list(boxes))).max(axis=1)):
            if best >= least:
                expected[i, j] = best
    assert traced_iou(a, b, least) == pytest.approx(expected)


def test_what_shares_no_slice_never_overlaps() -> None:
    box = (0.0, 0.0, 10.0, 10.0)
    assert traced_iou([{1: box}], [{2: box}], 0.1) == {}
    assert traced_iou([{1: box, 2: box}], [{2: box}], 0.1) == {(0, 0): 1.0}
