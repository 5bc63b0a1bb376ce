import numpy as np
import pytest

from napari_uld.ct.measures import Outline, Statistics, distance, statistics


def test_a_distance_is_measured_by_the_voxels_size() -> None:
    assert distance((4, 0, 0), (4, 6, 4), (5.0, 0.5, 1.0)) == 5.0
    assert distance((0, 2), (1, 2), (5.0, 0.5)) == 5.0


def test_the_grey_values_and_the_area_of_a_rectangle() -> None:
    image = np.zeros((6, 6), np.int16)
    image[1:3, 1:3] = [[2, 4], [4, 6]]
    # Four pixels: mean 4, squares of the differences 4, 0, 0, 4.
    found = statistics(image, ((2.4, 2.4), (0.6, 0.6)), (0.5, 2.0), Outline.RECTANGLE)
    assert found == Statistics(mean=4.0, sd=pytest.approx(2**0.5), low=2, high=6, area=4.0, pixels=4)


def test_an_ellipse_leaves_the_corners_out() -> None:
    image = np.full((5, 5), -1000, np.int16)
    # A circle of radius 1.2 about (2, 2): the middle and its four neighbours, not those across the corners.
    image[2, 1:4] = image[1:4, 2] = 50
    found = statistics(image, ((0.8, 0.8), (3.2, 3.2)), (1.0, 1.0))
    assert found == Statistics(mean=50.0, sd=0.0, low=50, high=50, area=5.0, pixels=5)


def test_what_lies_beside_the_image_is_left_out() -> None:
    image = np.arange(9, dtype=np.int16).reshape(3, 3)
    found = statistics(image, ((-4, -4), (0.4, 1.4)), (1.0, 1.0), Outline.RECTANGLE)
    assert found is not None
    assert (found.pixels, found.low, found.high) == (2, 0, 1)
    assert statistics(image, ((-4, -4), (-1, 1)), (1.0, 1.0)) is None


@pytest.mark.parametrize("outline", list(Outline))
def test_between_pixels_there_is_nothing_to_measure(outline: Outline) -> None:
    assert statistics(np.zeros((3, 3), np.int16), ((0.2, 0.2), (0.8, 0.8)), (1.0, 1.0), outline) is None


def test_values_at_the_ends_of_int16_are_not_wrapped() -> None:
    image = np.full((2, 2), 32767, np.int16)
    assert statistics(image, ((0, 0), (1, 1)), (1.0, 1.0), Outline.RECTANGLE).mean == 32767.0
