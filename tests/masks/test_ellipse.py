import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from napari_uld.errors import NoMaskError, RecistError
from napari_uld.lesions.recist import Recist
from napari_uld.masks.ellipse import ellipse_in_box, quarter_ellipse_mask, quarter_ellipse_masks

SHAPE = (100, 120)


def mask_of(*points, shape=SHAPE):
    return quarter_ellipse_mask(Recist.from_points(points), shape)


def test_an_axis_aligned_ellipse_has_area_pi_a_b():
    mask = mask_of((20, 50), (100, 50), (60, 25), (60, 75))
    assert mask.sum() == pytest.approx(np.pi * 40 * 25, rel=0.01)
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    assert (mask == (((x - 60) / 40) ** 2 + ((y - 50) / 25) ** 2 <= 1)).all()


def test_four_unequal_arms_give_four_different_quarter_ellipses():
    # Arms from the crossing (50, 50): 30 left, 50 right, 10 up, 20 down.
    mask = mask_of((20, 50), (100, 50), (50, 40), (50, 70))
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    a = np.where(x < 50, 30, 50)
    b = np.where(y < 50, 10, 20)
    assert (mask == (((x - 50) / a) ** 2 + ((y - 50) / b) ** 2 <= 1)).all()
    quarters = [mask[:50, :50].sum(), mask[:50, 51:].sum(), mask[51:, :50].sum(), mask[51:, 51:].sum()]
    assert len(set(quarters)) == 4


def test_all_four_end_points_lie_on_the_outline_when_the_diameters_are_oblique():
    points = [(20, 30), (90, 60), (40, 70), (60, 20)]
    mask = mask_of(*points)
    crossing = np.array([52.6, 44.0])
    for point in np.array(points):
        assert mask[point[1], point[0]]
        # Two pixels farther out along the same arm lie outside.
        x, y = np.rint(point + 2 * (point - crossing) / np.hypot(*(point - crossing))).astype(int)
        assert not mask[y, x]


def test_a_short_diameter_that_ends_on_the_long_one_gives_half_an_ellipse():
    mask = mask_of((20, 50), (100, 50), (60, 50), (60, 80))
    assert not mask[:50].any()
    assert mask.sum() == pytest.approx(np.pi * 40 * 30 / 2 + 40, rel=0.02)


def test_the_ellipse_in_a_box_leaves_out_deeplesions_margin_of_five_pixels():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = ellipse_in_box((10, 20, 70, 60), SHAPE)
    assert (mask == (((x - 40) / 25) ** 2 + ((y - 40) / 15) ** 2 <= 1)).all()


def test_the_margin_in_a_small_box_is_a_quarter_of_its_short_side():
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    mask = ellipse_in_box((30, 30, 38, 42), SHAPE)
    assert (mask == (((x - 34) / 2) ** 2 + ((y - 36) / 4) ** 2 <= 1)).all()


def test_a_box_beyond_the_image_holds_no_ellipse():
    with pytest.raises(NoMaskError):
        ellipse_in_box((200, 200, 240, 240), SHAPE)


def test_diameters_that_do_not_cross_give_the_hull_and_the_middle_ellipse():
    # The short diameter stands above the long one: its own points and all between belong to the mask.
    mask = mask_of((20, 60), (100, 60), (60, 20), (60, 50))
    assert mask[[60, 60, 20, 50], [20, 100, 60, 60]].all()
    assert mask[40, 60]
    # The ellipse about (60, 60) with half axes 40 and 15 reaches below the long diameter.
    assert mask[75, 60]
    assert not mask[76, 60]


def test_what_lies_outside_the_image_is_cut_off():
    mask = mask_of((-20, 50), (20, 50), (0, 40), (0, 60))
    assert mask[:, :21].sum() == mask.sum() > 0
    assert mask[50, 0]


def test_a_lesion_without_a_pixel_centre_gets_the_nearest_pixel():
    mask = mask_of((10.2, 20.4), (10.7, 20.4), (10.4, 20.2), (10.4, 20.45))
    assert np.argwhere(mask).tolist() == [[20, 10]]


def test_a_recist_outside_the_image_is_refused():
    with pytest.raises(RecistError, match="outside its image of 120 x 100"):
        mask_of((300, 50), (340, 50), (320, 40), (320, 60))


@pytest.mark.parametrize(
    ("points", "found"),
    [
        (((10, 10), (10, 10), (5, 10), (15, 10)), "a diameter without length"),
        (((10, 10), (30, 10), (20, 10), (20, 10)), "a diameter without length"),
        (((10, 10), (30, 10), (12, 10), (20, 10)), "parallel diameters"),
        (((10, 10), (30, 10), (12, 15), (20, 15)), "parallel diameters"),
    ],
)
def test_diameters_that_span_no_area_are_refused(points, found):
    with pytest.raises(RecistError, match=found):
        mask_of(*points)


def test_several_masks_are_the_single_ones():
    points = np.array([[(20, 50), (100, 50), (60, 25), (60, 75)], [(20, 30), (90, 60), (40, 70), (60, 20)]], float)
    masks = quarter_ellipse_masks(points, SHAPE)
    assert masks.shape == (2, *SHAPE)
    for mask, four in zip(masks, points, strict=True):
        assert (mask == mask_of(*four)).all()


def test_no_recists_give_no_masks():
    assert quarter_ellipse_masks(np.zeros((0, 4, 2)), SHAPE).shape == (0, *SHAPE)


place = st.integers(30, 70)


@given(st.lists(st.tuples(place, place), min_size=4, max_size=4))
def test_end_points_at_pixel_centres_belong_and_a_half_turn_turns_the_mask(points):
    p1, p2, p3, p4 = np.array(points)
    along, across = p2 - p1, p4 - p3
    assume(along.any() and across.any() and along[0] * across[1] != along[1] * across[0])
    mask = mask_of(p1, p2, p3, p4, shape=(101, 101))
    assert mask[[p[1] for p in points], [p[0] for p in points]].all()
    turned = mask_of(*(100 - np.array(points)), shape=(101, 101))
    assert (turned == mask[::-1, ::-1]).mean() > 0.999
