import pickle

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import BoxError, NoMaskError, RecistError
from napari_uld.lesions.recist import Recist, from_mask
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.grabcut import cut, grabcut_or_ellipse, trimap

SHAPE = (96, 96)
WINDOW = (-175.0, 275.0)
CROSS = Recist.from_points([(30, 50), (60, 50), (45, 40), (45, 60)])
BOX = CROSS.box()


def disc(centre=(48, 48), radius=12, noise=10.0, inside=100, outside=0):
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    truth = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 <= radius**2
    hu = np.where(truth, inside, outside) + np.random.default_rng(0).normal(0, noise, SHAPE)
    return hu.astype(np.int16), truth


def dice(a, b):
    return 2 * (a & b).sum() / (a.sum() + b.sum())


def test_the_trimap_is_background_outside_the_box_and_foreground_in_the_quadrilateral():
    labels = trimap(CROSS, BOX, SHAPE)
    assert BOX == (25, 35, 65, 65)
    inside = np.zeros(SHAPE, bool)
    inside[35:66, 25:66] = True
    assert (labels[~inside] == cv2.GC_BGD).all()
    # The rhombus |x - 45| / 15 + |y - 50| / 10 <= 1.
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    rhombus = 2 * abs(x - 45) + 3 * abs(y - 50) <= 30
    assert (labels[rhombus] == cv2.GC_FGD).all()
    assert (labels[inside & ~rhombus] == cv2.GC_PR_FGD).all()


def test_a_quadrilateral_with_a_dent_keeps_its_dent():
    # The short diameter lies on one side of the long one; p4 is the dent.
    labels = trimap(Recist.from_points([(20, 60), (70, 60), (45, 20), (45, 50)]), (10, 10, 80, 70), SHAPE)
    foreground = labels == cv2.GC_FGD
    assert foreground[45, 45]
    assert not foreground[55, 45]


def test_a_quadrilateral_that_crosses_itself_is_replaced_by_its_hull():
    # Joining p1, p3, p2, p4 in turn makes a bow tie.
    labels = trimap(Recist.from_points([(20, 20), (60, 22), (60, 60), (20, 64)]), (10, 10, 80, 80), SHAPE)
    foreground = labels == cv2.GC_FGD
    assert foreground[[25, 58, 40, 40], [40, 40, 22, 58]].all()


def test_grabcut_finds_a_clean_disc():
    hu, truth = disc()
    recist = from_mask(truth)
    mask = grabcut_or_ellipse(hu, recist, recist.box(), WINDOW)[0]
    assert dice(mask, truth) > 0.9


def test_grabcut_finds_more_of_a_square_than_the_ellipse_does():
    truth = np.zeros(SHAPE, bool)
    truth[35:60, 30:55] = True
    hu = np.where(truth, 80, 0).astype(np.int16)
    recist = from_mask(truth)
    grabcut, ellipse = grabcut_or_ellipse(hu, recist, recist.box(), WINDOW)[0], quarter_ellipse_mask(recist, SHAPE)
    assert dice(grabcut, truth) > dice(ellipse, truth)


def test_hu_far_outside_the_window_do_not_wrap_around():
    # An air-filled lesion in bone: both ends are clipped to black and white.
    hu, truth = disc(inside=-3024, outside=3000, noise=0)
    recist = from_mask(truth)
    assert dice(grabcut_or_ellipse(hu, recist, recist.box(), WINDOW)[0], truth) > 0.9


def test_the_same_slice_gives_the_same_mask_whatever_was_drawn_before():
    # So noisy that the mixture models' random start shows in the mask.
    hu, _ = disc(noise=30)
    masks = set()
    for state in range(1, 7):
        cv2.setRNGSeed(state)
        masks.add(grabcut_or_ellipse(hu, CROSS, BOX, WINDOW)[0].tobytes())
    assert len(masks) == 1


def test_nothing_outside_the_box_becomes_lesion():
    hu, _ = disc(radius=40)
    mask = grabcut_or_ellipse(hu, CROSS, BOX, WINDOW)[0]
    y, x = np.nonzero(mask)
    assert (x.min(), y.min()) >= BOX[:2]
    assert x.max() <= BOX[2]
    assert y.max() <= BOX[3]


def test_without_background_to_learn_from_the_mask_is_the_ellipse():
    hu, _ = disc()
    mask = grabcut_or_ellipse(hu, CROSS, (0, 0, 95, 95), WINDOW)[0]
    assert (mask == quarter_ellipse_mask(CROSS, SHAPE)).all()


def test_where_grabcut_leaves_nothing_the_mask_is_the_ellipse():
    # No pixel centre lies in the quadrilateral, and the box looks like its surroundings: nothing is foreground.
    recist = Recist.from_points([(40.3, 40.5), (40.7, 40.5), (40.5, 40.3), (40.5, 40.7)])
    hu = np.zeros(SHAPE, np.int16)
    box = (36, 36, 45, 45)
    assert not cut(hu, trimap(recist, box, SHAPE), WINDOW, 3).any()
    mask = grabcut_or_ellipse(hu, recist, box, WINDOW)[0]
    assert (mask == quarter_ellipse_mask(recist, SHAPE)).all()
    assert mask.any()


def test_a_recist_outside_its_box_is_refused():
    with pytest.raises(RecistError, match="outside its box"):
        trimap(CROSS, (70, 70, 90, 90), SHAPE)


def test_a_box_outside_the_image_is_refused():
    with pytest.raises(RecistError, match="no pixel of an image of 96 x 96"):
        trimap(CROSS, (200, 200, 220, 220), SHAPE)


@pytest.mark.parametrize(
    ("box", "window", "told"),
    [
        (BOX, WINDOW, ""),
        ((0, 0, 95, 95), WINDOW, "box that fills the image"),
        ((-40, -30, 200, 120), WINDOW, "box that fills the image"),
        (BOX, (50.0, 50.0), "window without extent"),
        (BOX, (float("nan"), 50.0), "window without extent"),
    ],
)
def test_the_ellipse_that_takes_grabcuts_place_comes_with_its_reason(box, window, told):
    hu, _ = disc(noise=30)
    mask, reason = grabcut_or_ellipse(hu, CROSS, box, window)
    assert reason == told
    assert (mask == quarter_ellipse_mask(CROSS, SHAPE)).all() == bool(told)


@pytest.mark.parametrize(
    ("points", "box", "reason"),
    [
        ([(45, 50), (45, 50), (45, 40), (45, 60)], BOX, "a diameter without length"),
        ([(30, 50), (60, 50), (30, 51), (60, 51)], BOX, "parallel diameters"),
        ([(30, 50), (60, 50), (45, 40), (45, 60)], (70, 70, 90, 90), "RECIST outside its box"),
        ([(30, 50), (60, 50), (45, 40), (45, 60)], (-50, -50, -10, -10), "box without a pixel of the image"),
        ([(30, 50), (60, 50), (45, 40), (45, 60)], (40.2, 40.2, 40.8, 40.8), "box without a pixel of the image"),
        ([(-1e200, 50), (1e200, 50), (45, -1e200), (45, 1e200)], BOX, "RECIST outside the image"),
    ],
)
def test_what_no_mask_can_be_made_from_is_refused_with_a_reason(points, box, reason):
    hu, _ = disc()
    with pytest.raises(NoMaskError) as refused:
        grabcut_or_ellipse(hu, Recist.from_points(points), box, WINDOW)[0]
    assert refused.value.reason == reason
    again = pickle.loads(pickle.dumps(refused.value))
    assert (str(again), again.reason) == (str(refused.value), reason)


@pytest.mark.parametrize("box", [(float("nan"), 35, 65, 65), (65, 35, 25, 65), (25, 35, float("inf"), 65), (1, 2, 3)])
def test_a_malformed_box_is_refused(box):
    hu, _ = disc()
    with pytest.raises(BoxError):
        grabcut_or_ellipse(hu, CROSS, box, WINDOW)[0]


place = st.floats(-40, 140, allow_nan=False)
# Beside plausible places those at the image's edges, and numbers whose squares and products are none.
anywhere = st.one_of(place, st.integers(-5, 105).map(float), st.sampled_from([95.5, 1e-300, 1e154, -1e300, 1.7e308]))


@settings(max_examples=300)
@given(st.lists(st.tuples(anywhere, anywhere), min_size=4, max_size=4), st.tuples(*[anywhere] * 4))
@pytest.mark.filterwarnings("error")
def test_no_recist_and_box_are_too_odd_for_a_mask_or_a_typed_error(points, corners):
    hu, _ = disc(noise=30)
    recist = Recist.from_points(points)
    x1, y1, x2, y2 = corners
    box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    for make in (lambda: grabcut_or_ellipse(hu, recist, box, WINDOW)[0], lambda: quarter_ellipse_mask(recist, SHAPE)):
        try:
            mask = make()
        except NoMaskError as refusal:
            assert refusal.reason  # noqa: PT017
        else:
            assert mask.shape == SHAPE
            assert mask.any()


@settings(max_examples=150)
@given(st.lists(st.tuples(place, place), min_size=4, max_size=4), st.floats(0, 30))
def test_any_recist_gives_a_mask_inside_the_image_or_a_typed_error(points, margin):
    hu, _ = disc(noise=30)
    recist = Recist.from_points(points)
    try:
        mask = grabcut_or_ellipse(hu, recist, recist.box(margin), WINDOW)[0]
    except RecistError as refusal:
        assert len(str(refusal)) > 20  # noqa: PT017
    else:
        assert mask.shape == SHAPE
        assert mask.any()
