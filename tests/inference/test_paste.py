"""Maps over boxes, back on their slices; expected values are computed by hand."""

import numpy as np
from numpy.testing import assert_allclose

from napari_uld.inference.paste import paste_map


def test_a_map_with_a_cell_for_each_pixel_is_pasted_unchanged() -> None:
    values = np.arange(12.0).reshape(3, 4)
    # Pixels 2-5 and 1-3 reach from their first edge at 1.5 and .5 to their last at 5.5 and 3.5.
    pasted = paste_map(values, np.array([1.5, 0.5, 5.5, 3.5]), (6, 8))
    assert_allclose(pasted[1:4, 2:6], values)
    assert pasted.sum() == values.sum()
    assert pasted.dtype == np.float32
    assert pasted.shape == (6, 8)


def test_between_the_centres_of_cells_it_is_linear_and_beyond_them_it_stays() -> None:
    # Two cells, each 4 px wide: their centres lie at x = 2 and x = 6 of the box from 0 to 8.
    pasted = paste_map(np.array([[0.0, 1.0]]), np.array([0, 0, 8, 2]), (5, 10))
    expected = [0, 0, 0, 0.25, 0.5, 0.75, 1, 1, 1, 0]
    assert_allclose(pasted[:3], [expected] * 3)
    assert not pasted[3:].any()


def test_rows_are_interpolated_as_columns_are() -> None:
    values = np.array([[0.0, 1.0], [2.0, 3.0]])
    pasted = paste_map(values, np.array([0, 0, 8, 8]), (9, 9))
    # In the box's middle each of the four cells weighs a quarter.
    assert pasted[4, 4] == 1.5
    assert_allclose(pasted[[0, 0, 8, 8], [0, 8, 0, 8]], [0, 1, 2, 3])
    assert_allclose(pasted.T, paste_map(values.T, np.array([0, 0, 8, 8]), (9, 9)))


def test_a_pixel_belongs_to_the_box_if_its_centre_does() -> None:
    pasted = paste_map(np.ones((28, 28)), np.array([2.4, 3.0, 4.6, 5.0]), (8, 8))
    assert np.argwhere(pasted).tolist() == [[y, x] for y in (3, 4, 5) for x in (3, 4)]
    assert_allclose(pasted[3:6, 3:5], 1)


def test_a_box_that_reaches_beyond_the_slice_is_cut_off_not_squeezed() -> None:
    whole = paste_map(np.arange(8.0)[None], np.array([0, 0, 8, 8]), (10, 10))
    moved = paste_map(np.arange(8.0)[None], np.array([-3, -2, 5, 6]), (10, 10))
    assert_allclose(moved[:7, :6], whole[2:9, 3:9])
    assert not moved[7:].any()


def test_nothing_is_pasted_of_an_empty_box_or_beside_the_slice() -> None:
    for box in ([3, 3, 3, 6], [3.2, 3.2, 3.8, 3.8], [20, 20, 30, 30], [-9, -9, -1, -1]):
        assert not paste_map(np.ones((28, 28)), np.array(box, dtype=float), (10, 10)).any()
