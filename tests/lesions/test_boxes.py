import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import BoxError
from napari_uld.lesions.boxes import area, as_boxes, intersection, to_centres, to_edges

# Quarters are exact in binary.
coordinate = st.integers(-400, 400).map(lambda v: v / 4)


@settings(max_examples=50)
@given(st.lists(st.tuples(*[coordinate] * 2)))
def test_edges_and_centres_are_one_anothers_inverse(corners: list[tuple[float, float]]) -> None:
    boxes = as_boxes([(x, y, x + 3.5, y + 2.25) for x, y in corners])
    np.testing.assert_array_equal(to_centres(to_edges(boxes)), boxes)


def test_areas_by_hand() -> None:
    a, b = as_boxes([[0, 0, 4, 2]]), as_boxes([[2, 1, 5, 3], [4, 0, 6, 2], [1, 0.5, 3, 1.5]])
    assert intersection(a, b).tolist() == [[2, 0, 2]]
    assert area(b).tolist() == [6, 4, 2]
    # 5 x 3 and 4 x 3 pixels share 3 x 2.
    assert area(a, pixel_inclusive=True).tolist() == [15]
    assert intersection(a, b[:1], pixel_inclusive=True).tolist() == [[6]]


def test_volumes_by_hand() -> None:
    # 2 x 2 x 4 and 2 x 2 x 4 share 1 x 2 x 2.
    a, b = as_boxes([[0, 0, 0, 2, 2, 4]], 3), as_boxes([[1, 0, 2, 3, 2, 6], [0, 0, 4, 2, 2, 8]], 3)
    assert area(a).tolist() == [16]
    assert intersection(a, b).tolist() == [[4, 0]]


def test_no_boxes_have_the_shape_of_boxes() -> None:
    assert as_boxes([]).shape == (0, 4)
    assert as_boxes([], 3).shape == (0, 6)


@pytest.mark.parametrize(
    "bad",
    [[[0, 0, 1]], [0, 0, 1, 1], [[2, 0, 1, 1]], [[0, 2, 1, 1]], [[0, 0, np.nan, 1]], [[0, 0, np.inf, 1]],
     [["a", 0, 1, 1]], [[0, 0, 1, 1], [0, 0, 1]]],
)  # fmt: skip
def test_a_malformed_box_is_refused(bad: object) -> None:
    with pytest.raises(BoxError):
        as_boxes(bad)
