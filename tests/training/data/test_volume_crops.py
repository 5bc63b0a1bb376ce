"""A crop of a scan and its boxes move together, however it is turned, grown and flipped."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.training.data.augment import Affine
from napari_uld.training.data.volume_crops import Placement

AIR = -1024


def test_a_crop_is_the_scan_from_its_first_voxel_on() -> None:
    whole = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    crop = Placement((1, 2, 3), (2, 2, 2)).cut(whole)
    assert crop.dtype == np.float32
    assert crop.tolist() == whole[1:3, 2:4, 3:5].tolist()


def test_air_lies_beyond_the_scan() -> None:
    whole = np.zeros((2, 2, 2), np.int16)
    crop = Placement((-1, 1, 0), (3, 2, 2)).cut(whole)
    assert crop[0].tolist() == [[AIR, AIR], [AIR, AIR]]
    assert crop[1].tolist() == [[0, 0], [AIR, AIR]]


def test_a_crop_beside_the_scan_is_all_air() -> None:
    whole = np.zeros((2, 2, 2), np.int16)
    for affine in (None, Affine()):
        assert (Placement((5, -9, 7), (2, 3, 2), affine).cut(whole) == AIR).all()


def test_an_affine_map_that_does_nothing_changes_nothing() -> None:
    whole = np.random.default_rng(0).integers(-1000, 1000, (8, 12, 14)).astype(np.int16)
    plain, sampled = (Placement((2, 3, 4), (4, 6, 6), affine).cut(whole) for affine in (None, Affine()))
    assert np.abs(plain - sampled).max() < 0.01


def test_a_quarter_turn_swaps_the_planes_axes() -> None:
    whole = np.random.default_rng(0).integers(-1000, 1000, (3, 8, 8)).astype(np.int16)
    turned = Placement((0, 0, 0), (3, 8, 8), Affine(rotation=np.pi / 2)).cut(whole)
    # From x towards y: what was on the right is below.
    assert np.abs(turned - np.rot90(whole, -1, axes=(1, 2))).max() < 0.01


def test_growth_along_z_spreads_slices_about_the_middle() -> None:
    whole = np.repeat(np.arange(8, dtype=np.int16)[:, None, None] * 100, 4, axis=1).repeat(4, axis=2)
    grown = Placement((0, 0, 0), (8, 4, 4), Affine(), growth=2.0).cut(whole)
    # Voxel k's centre, at k + .5, comes from 4 + (k - 3.5) / 2.
    assert grown[:, 2, 2] == pytest.approx((np.arange(8) - 3.5) * 50 + 350, abs=0.1)


@given(
    st.floats(-0.6, 0.6),
    st.floats(0.7, 1.4),
    st.floats(0.7, 1.4),
    st.booleans(),
    st.booleans(),
    st.tuples(st.integers(8, 16), st.integers(14, 26), st.integers(14, 26)),
)
def test_a_balls_box_is_about_the_moved_ball(
    rotation: float, scale: float, growth: float, horizontal: bool, vertical: bool, centre: tuple[int, int, int]
) -> None:
    radius = 5
    z, y, x = np.ogrid[:24, :40, :40]
    ball = (z + 0.5 - centre[0]) ** 2 + (y + 0.5 - centre[1]) ** 2 + (x + 0.5 - centre[2]) ** 2 <= radius**2
    whole = np.where(ball, 1000, AIR).astype(np.int16)
    cz, cy, cx = centre
    box = np.array([[cx - radius, cy - radius, cz - radius, cx + radius, cy + radius, cz + radius]], float)
    affine = Affine(rotation, (0, 0), (scale, scale))
    placed = Placement((-8, -12, -12), (40, 64, 64), affine, growth, horizontal, vertical)
    shown = placed.cut(whole) > 0
    (moved,) = placed.move(box)
    found = [np.flatnonzero(shown.any(axis=axes)) for axes in ((0, 1), (0, 2), (1, 2))]
    low, high = [each[0] for each in found], [each[-1] + 1 for each in found]
    # A digital ball is up to half a voxel smaller than the ball, and interpolation rounds by another one.
    assert moved == pytest.approx(np.array([*low, *high]), abs=1.6)
