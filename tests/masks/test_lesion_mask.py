import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.lesions.recist import Recist
from napari_uld.masks import MaskKind
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.grabcut import grabcut_or_ellipse
from napari_uld.masks.lesion_mask import Origin, lesion_mask

SHAPE = (80, 100)
HU = np.random.default_rng(0).normal(0, 40, SHAPE).astype(np.int16)
WINDOW = (-160.0, 240.0)
# A box of 41 x 31 px about (50, 40): its lesion's diameters are 30 and 20 px long.
BOX = (30.0, 25.0, 70.0, 55.0)
MEASURED = Recist.from_points([35, 40, 65, 40, 50, 30, 50, 50])
PARALLEL = Recist.from_points([35, 40, 65, 40, 35, 41, 65, 41])
NO_LENGTH = Recist.from_points([50, 40, 50, 40, 50, 30, 50, 50])
FAR = Recist.from_points([1e9, 40, 0, 40, 50, 30, 50, 50])
# Between four pixel centres; its box looks like its surroundings where the slice is flat.
TINY = Recist.from_points([40.3, 40.5, 40.7, 40.5, 40.5, 40.3, 40.5, 40.7])
FLAT = np.zeros(SHAPE, np.int16)
SHAPES = (MaskKind.GRABCUT, MaskKind.ELLIPSE)

# Half axes of 15 and 10 px: MEASURED's arms, and what the margin of 5 px leaves of BOX.
y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
ELLIPSE = ((x - 50) / 15) ** 2 + ((y - 40) / 10) ** 2 <= 1 + 1e-6


def test_grabcut_finds_a_bright_rectangle():
    bright = np.zeros(SHAPE, bool)
    bright[30:51, 35:66] = True
    mask, origin, reason = lesion_mask(MaskKind.GRABCUT, np.where(bright, 100, -100), BOX, MEASURED, WINDOW)
    assert (mask == bright).mean() > 0.99
    assert (origin, reason) == (Origin.GRABCUT, "")


@pytest.mark.parametrize("setting", [{"iterations": 1}, {"margin": 2}])
def test_grabcut_heeds_iterations_and_margin(setting):
    # It fades outwards without an edge, into air from three pixels beyond the box: both matter.
    fading = 100 - 60 * np.maximum(np.hypot((x - 50) / 15, (y - 40) / 10) - 1, 0)
    hu = np.where((abs(x - 50) > 23) | (abs(y - 40) > 18), -1000, fading).astype(np.int16)
    default, _, _ = lesion_mask(MaskKind.GRABCUT, hu, BOX, MEASURED, WINDOW)
    other, _, _ = lesion_mask(MaskKind.GRABCUT, hu, BOX, MEASURED, WINDOW, **setting)
    assert (default == grabcut_or_ellipse(hu, MEASURED, BOX, WINDOW)[0]).all()
    assert (other == grabcut_or_ellipse(hu, MEASURED, BOX, WINDOW, **setting)[0]).all()
    assert (default != other).any()


# The ellipse asks neither the box nor the window.
@pytest.mark.parametrize("box", [BOX, (5, 5, 25, 20), (np.nan, 5, 25, 20)])
def test_the_ellipse_is_that_of_the_diameters_whatever_the_box(box):
    mask, origin, reason = lesion_mask(MaskKind.ELLIPSE, HU, box, MEASURED, (40.0, 40.0))
    assert (mask == ELLIPSE).all()
    assert (origin, reason) == (Origin.ELLIPSE, "")


@pytest.mark.parametrize(
    ("hu", "box", "recist", "window", "why"),
    [
        (HU, BOX, MEASURED, (40.0, 40.0), "window without extent"),
        (HU, (-5, -5, 104, 90), MEASURED, WINDOW, "box that fills the image"),
        (FLAT, (36, 36, 45, 45), TINY, WINDOW, "nothing left by GrabCut"),
    ],
)
def test_where_grabcut_gives_none_the_mask_is_the_quarter_ellipses(hu, box, recist, window, why):
    mask, origin, reason = lesion_mask(MaskKind.GRABCUT, hu, box, recist, window)
    assert (mask == quarter_ellipse_mask(recist, SHAPE)).all()
    assert (origin, reason) == (Origin.ELLIPSE, why)


@pytest.mark.parametrize("kind", SHAPES)
@pytest.mark.parametrize(
    ("recist", "why"),
    [
        (None, "no measurement"),
        (PARALLEL, "parallel diameters"),
        (NO_LENGTH, "a diameter without length"),
        (FAR, "RECIST outside the image"),
    ],
)
def test_without_a_measurement_that_spans_an_area_the_mask_is_the_ellipse_in_the_box(kind, recist, why):
    mask, origin, reason = lesion_mask(kind, HU, BOX, recist, WINDOW)
    assert (mask == ELLIPSE).all()
    assert (origin, reason) == (Origin.ELLIPSE_IN_BOX, why)


def test_a_measurement_of_another_place_gives_way_to_the_box_where_grabcut_is_asked_for():
    mask, origin, reason = lesion_mask(MaskKind.GRABCUT, HU, (10, 10, 30, 24), MEASURED, WINDOW)
    # The box's margin is a quarter of its short side, 3.5 px: half axes of 6.5 and 3.5.
    assert (mask == (((x - 20) / 6.5) ** 2 + ((y - 17) / 3.5) ** 2 <= 1 + 1e-6)).all()
    assert (origin, reason) == (Origin.ELLIPSE_IN_BOX, "RECIST outside its box")


@pytest.mark.parametrize(
    ("kind", "box", "recist", "why"),
    [
        (MaskKind.GRABCUT, (200, 200, 240, 230), MEASURED, "box without a pixel of the image"),
        (MaskKind.GRABCUT, (np.nan, 5, 25, 20), MEASURED, "malformed box"),
        (MaskKind.GRABCUT, (25, 5, 5, 20), MEASURED, "malformed box"),
        # Its middle is beyond all numbers.
        (MaskKind.GRABCUT, (1e308, 5, 1e308, 20), None, "no measurement"),
        (MaskKind.ELLIPSE, (20, 20, 20, 20), None, "no measurement"),
        (MaskKind.ELLIPSE, (25, 5, 5, 20), PARALLEL, "parallel diameters"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_where_the_box_holds_no_ellipse_either_the_mask_is_empty(kind, box, recist, why):
    mask, origin, reason = lesion_mask(kind, HU, box, recist, WINDOW)
    assert (mask.shape, mask.dtype, mask.any()) == (SHAPE, bool, False)
    assert (origin, reason) == (Origin.NONE, f"{why}, and no ellipse in the box")


coordinate = st.one_of(
    st.floats(-60, 160), st.integers(-5, 105).map(float), st.sampled_from([0.0, 79.5, 1e-300, 1e154, -1e150])
)
odd = st.sampled_from([float("nan"), float("inf"), -float("inf")])
level = st.floats(-3000, 3000) | st.sampled_from([0.0, 1e-300, 40.0]) | odd
recists = st.none() | st.lists(coordinate, min_size=8, max_size=8).map(Recist.from_points)


@settings(max_examples=300)
@given(st.sampled_from(SHAPES), st.lists(coordinate | odd, min_size=4, max_size=4), recists, st.tuples(level, level))
@pytest.mark.filterwarnings("error")
def test_no_lesion_is_too_odd(kind, box, recist, window):
    mask, origin, reason = lesion_mask(kind, HU, box, recist, window)
    assert (mask.shape, mask.dtype) == (SHAPE, bool)
    assert mask.any() == (origin is not Origin.NONE)
    assert (reason == "") == (origin.value == kind.value)
