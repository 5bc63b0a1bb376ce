import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import RecistError
from napari_uld.lesions.recist import Recist, from_mask


def ellipse(half_long: float, half_short: float, degrees: float, centre: tuple[float, float]) -> np.ndarray:
    ys, xs = np.mgrid[:81, :81]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    u = (xs - centre[0]) * cos + (ys - centre[1]) * sin
    v = (ys - centre[1]) * cos - (xs - centre[0]) * sin
    return (u / half_long) ** 2 + (v / half_short) ** 2 <= 1


def test_diameters_and_box_of_a_measurement() -> None:
    recist = Recist.from_points([0, 0, 3, 4, 1, 3, 2, 3])
    assert recist.long == ((0.0, 0.0), (3.0, 4.0))
    assert recist.diameters == (5.0, 1.0)
    assert recist.box() == (-5.0, -5.0, 8.0, 9.0)
    assert recist.box(margin=0) == (0.0, 0.0, 3.0, 4.0)


@pytest.mark.parametrize("points", [[1, 2, 3], [0] * 7 + [math.nan], [0] * 7 + [math.inf], [0] * 9])
def test_anything_but_eight_finite_numbers_is_refused(points: list[float]) -> None:
    with pytest.raises(RecistError):
        Recist.from_points(points)


def test_one_pixel_measures_one_by_one() -> None:
    mask = np.zeros((5, 7), bool)
    mask[2, 4] = True
    recist = from_mask(mask)
    assert recist.diameters == (1.0, 1.0)
    assert recist.points.mean(axis=0).tolist() == [4.0, 2.0]


def test_a_bar_is_as_long_and_as_wide_as_it_has_pixels() -> None:
    mask = np.zeros((9, 20), bool)
    mask[4, 3:13] = True
    recist = from_mask(mask)
    assert recist.diameters == (10.0, 1.0)
    assert sorted(recist.long) == [(2.5, 4.0), (12.5, 4.0)]
    # Every column is equally wide: the short diameter crosses in the middle.
    assert np.abs(recist.points[2:, 0] - 7.5).max() <= 0.5


@pytest.mark.parametrize("pixel", [(0.5, 1.0), (1.0, 0.5), (0.8, 0.8)])
@pytest.mark.parametrize("degrees", [0, 35, 90, 120])
def test_where_pixels_are_not_square_lengths_and_right_angles_are_those_in_millimetres(
    pixel: tuple[float, float], degrees: float
) -> None:
    dy, dx = pixel
    ys, xs = np.mgrid[:120, :120] * np.array([dy, dx])[:, None, None] - np.array([60 * dy, 60 * dx])[:, None, None]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    mask = ((xs * cos + ys * sin) / 14) ** 2 + ((ys * cos - xs * sin) / 9) ** 2 <= 1
    recist = from_mask(mask, pixel)
    np.testing.assert_allclose(recist.millimetres((5.0, *pixel)), (28, 18), atol=1.2)
    long, short = (np.subtract(*ends[::-1]) * (dx, dy) for ends in (recist.long, recist.short))
    assert abs(long @ short) / np.linalg.norm(long) / np.linalg.norm(short) < 1e-6


@given(
    centre=st.tuples(st.floats(0, 80), st.floats(0, 80)),
    half=st.floats(2, 30),
    ratio=st.floats(0.2, 1),
    degrees=st.floats(0, 180),
)
def test_ends_are_on_the_image_also_of_a_lesion_at_its_edge(
    centre: tuple[float, float], half: float, ratio: float, degrees: float
) -> None:
    mask = ellipse(half, ratio * half, degrees, centre)
    if mask.any():
        points = from_mask(mask).points
        assert (points >= -0.5).all()
        assert (points <= 80.5).all()


def test_an_empty_mask_is_refused() -> None:
    with pytest.raises(RecistError, match="empty"):
        from_mask(np.zeros((4, 4)))


@settings(max_examples=40)
@given(
    # The tips' radius of curvature, half_long * ratio^2, is at least a pixel: sharper ones fall between the pixels.
    half_long=st.floats(4, 30),
    ratio=st.floats(0.5, 0.85),
    degrees=st.floats(0, 180),
    shift=st.tuples(st.floats(-0.5, 0.5), st.floats(-0.5, 0.5)),
)
def test_a_rotated_ellipse_is_measured_along_its_axes(
    half_long: float, ratio: float, degrees: float, shift: tuple[float, float]
) -> None:
    centre = (40 + shift[0], 40 + shift[1])
    mask = ellipse(half_long, ratio * half_long, degrees, centre)
    recist = from_mask(mask)
    long, short = recist.diameters
    # A chord's end may lie anywhere between two pixels: a pixel at each end is what a mask can tell.
    assert abs(long - 2 * half_long) < 1.5
    assert abs(short - 2 * ratio * half_long) < 2.0
    p1, p2, p3, p4 = recist.points
    assert abs((p2 - p1) @ (p4 - p3)) < 1e-6 * long * short
    # An end lies on the outline, half a pixel from a pixel of the mask; the short diameter's ends are
    # moved along the long one by at most half a bin.
    pixels = np.stack(np.nonzero(mask)[::-1], axis=1)
    for end, most in ((p1, 0.5), (p2, 0.5), (p3, 1.0), (p4, 1.0)):
        assert np.linalg.norm(pixels - end, axis=1).min() <= most + 1e-6
    # No chord between pixels is longer than the long diameter.
    assert long >= max(np.linalg.norm(pixels - pixel, axis=1).max() for pixel in pixels)


@pytest.mark.parametrize("half", [1.5, 3.0, 5.0, 10.0, 25.0])
def test_diameters_of_ellipses_are_not_biased_by_more_than_half_a_pixel(half: float) -> None:
    generator = np.random.default_rng(0)
    errors = []
    for _ in range(60):
        centre = tuple(40 + generator.uniform(-0.5, 0.5, 2))
        long, short = from_mask(ellipse(half, 0.7 * half, generator.uniform(0, 180), centre)).diameters
        errors.append((long - 2 * half, short - 1.4 * half))
    assert np.abs(np.mean(errors, axis=0)).max() < 0.55
