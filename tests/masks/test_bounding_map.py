import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose

from napari_uld.errors import BoxError
from napari_uld.masks.bounding_map import (
    AREA_UNIT,
    adaptive_bounding_map,
    bounding_map,
    lesion_maps,
    size_adaptive_alpha,
)

SHAPE = (40, 50)


def test_a_box_is_1_at_its_centre_half_at_its_border_and_0_outside():
    bm = bounding_map([[10, 20, 18, 30]], SHAPE)
    assert bm[25, 14] == 1
    # In a corner both axis maps are .5; in the middle of a side one is .5 and the other 1.
    assert_allclose(bm[[20, 20, 30, 30], [10, 18, 10, 18]], 0.5)
    assert_allclose(bm[[20, 30, 25, 25], [14, 14, 10, 18]], np.sqrt(0.5))
    # Half-way: x at .75, y at .75.
    assert_allclose(bm[25, 12], np.sqrt(0.75))
    inside = np.zeros(SHAPE, bool)
    inside[20:31, 10:19] = True
    assert (bm[~inside] == 0).all()
    assert (bm[inside] >= 0.5 - 1e-6).all()
    assert bm.dtype == np.float32


def test_two_touching_boxes_make_a_false_centre_with_sum_and_none_with_max():
    boxes = [[0, 0, 10, 10], [10, 0, 20, 10]]
    # On the shared border, half-way up: BM_x = .5 + .5 -> 1 or .5, BM_y = 1 + 1 -> 1 or 1.
    assert bounding_map(boxes, SHAPE)[5, 10] == 1
    assert_allclose(bounding_map(boxes, SHAPE, combine="max")[5, 10], np.sqrt(0.5))


def test_overlapping_boxes_add_up_per_axis_and_stop_at_1():
    boxes = [[0, 0, 10, 10], [8, 8, 18, 18]]
    bm = bounding_map(boxes, SHAPE)
    # At x = 9, y = 8: BM_x = (1 - 4/10) + (1 - 4/10), capped at 1; BM_y = .7 + .5, capped at 1.
    assert bm[8, 9] == 1
    # In the first box alone nothing of the second is added: x = 9 gives .6, y = 5 gives 1.
    assert_allclose(bm[5, 9], np.sqrt(0.6))
    # The maximum at (9, 8): sqrt(.6 * .7).
    assert_allclose(bounding_map(boxes, SHAPE, combine="max")[8, 9], np.sqrt(0.42), rtol=1e-6)


def test_each_lesion_keeps_its_own_map():
    boxes = [[0, 0, 10, 10], [8, 8, 18, 18]]
    maps = lesion_maps(boxes, SHAPE)
    for one, box in zip(maps, boxes, strict=True):
        assert_allclose(one, bounding_map([box], SHAPE), atol=1e-6)


def test_alpha_follows_equation_12_with_the_limits_on_the_upper_side():
    boxes = [[0, 0, area / 10, 10] for area in (0, 249.9, 250, 999.9, 1000, 5000)]
    assert size_adaptive_alpha(boxes, AREA_UNIT).tolist() == [0, 0, 1, 1, 1.4, 1.4]


def test_a_small_lesion_is_flat_and_a_large_one_falls_to_three_tenths():
    small, medium, large = [2, 2, 12, 12], [2, 2, 22, 22], [2, 2, 34, 36]
    flat = adaptive_bounding_map([small], SHAPE, pixel_area=AREA_UNIT)
    assert (flat[2:13, 2:13] == 1).all()
    assert flat.sum() == 121
    assert_allclose(adaptive_bounding_map([medium], SHAPE, pixel_area=AREA_UNIT), bounding_map([medium], SHAPE))
    steep = adaptive_bounding_map([large], SHAPE, pixel_area=AREA_UNIT)
    assert_allclose(steep[2, 2], 0.3, rtol=1e-6)
    assert_allclose(steep[19, 18], 1)


def test_a_lesion_is_as_small_as_its_millimetres_say_whatever_a_pixel_measures():
    # 10 x 10 px of 2.6 mm are 676 mm^2: 1056 px^2 of .8 mm; of 2.5 mm they are 977.
    box = [2, 2, 12, 12]
    assert_allclose(adaptive_bounding_map([box], SHAPE, pixel_area=2.6**2)[2, 2], 0.3, rtol=1e-6)
    assert_allclose(adaptive_bounding_map([box], SHAPE, pixel_area=2.5**2)[2, 2], 0.5, rtol=1e-6)


def test_no_boxes_give_an_empty_map():
    assert bounding_map([], SHAPE).sum() == 0
    assert lesion_maps([], SHAPE).shape == (0, *SHAPE)


def test_a_box_of_one_pixel_is_that_pixel():
    bm = bounding_map([[7, 9, 7, 9]], SHAPE)
    assert bm[9, 7] == 1
    assert bm.sum() == 1


def test_a_malformed_box_is_refused():
    with pytest.raises(BoxError, match="low corner"):
        bounding_map([[10, 0, 5, 5]], SHAPE)


# Quarters of a pixel, so that flipping moves no border across a pixel centre by rounding.
coordinate = st.integers(-80, 280).map(lambda quarters: quarters / 4)


@st.composite
def some_boxes(draw):
    corners = np.array(draw(st.lists(st.tuples(*[coordinate] * 4), min_size=1, max_size=4)))
    return np.concatenate(
        [np.minimum(corners[:, :2], corners[:, 2:]), np.maximum(corners[:, :2], corners[:, 2:])], axis=1
    )


@given(some_boxes())
def test_a_map_is_the_equations_written_out_pixel_by_pixel(boxes):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    bm_x, bm_y = np.zeros(SHAPE), np.zeros(SHAPE)
    for x1, y1, x2, y2 in boxes:
        inside = (x >= x1) & (x <= x2) & (y >= y1) & (y <= y2)
        kx, ky = (1 / (x2 - x1) if x2 > x1 else 0), (1 / (y2 - y1) if y2 > y1 else 0)
        bm_x += np.where(inside, 1 - kx * abs(x - (x1 + x2) / 2), 0)
        bm_y += np.where(inside, 1 - ky * abs(y - (y1 + y2) / 2), 0)
    assert_allclose(bounding_map(boxes, SHAPE), np.sqrt(np.minimum(bm_x, 1) * np.minimum(bm_y, 1)), atol=1e-5)


@given(some_boxes(), st.sampled_from(["sum", "max"]))
def test_flipping_the_boxes_flips_the_map(boxes, combine):
    flipped = boxes[:, [2, 1, 0, 3]] * [-1, 1, -1, 1] + [SHAPE[1] - 1, 0, SHAPE[1] - 1, 0]
    one, other = (adaptive_bounding_map(b, SHAPE, combine=combine, pixel_area=1.0) for b in (boxes, flipped))
    assert_allclose(one[:, ::-1], other, atol=1e-5)
