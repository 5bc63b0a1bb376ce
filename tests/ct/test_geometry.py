from itertools import permutations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.ct.geometry import Slice, Stack, stack_slices, to_lps, to_volume
from napari_uld.errors import (
    DuplicateSlicesError,
    GeometryError,
    MissingSlicesError,
    MixedSlicesError,
    UnevenSpacingError,
)

AXIAL = np.array([1.0, 0, 0, 0, 1, 0])
SOURCE = Path("series")


def slices_at(along, *, orientation=AXIAL, sideways=0.0, hu=None, spacing=(0.75, 0.5)):
    """Slices at distances `along` the normal, shifted `sideways` along a column per mm."""
    normal = np.cross(orientation[:3], orientation[3:])
    return [
        Slice(
            hu=np.full((4, 6), i, np.int16) if hu is None else hu[i],
            position=distance * (normal + sideways * orientation[3:]),
            orientation=orientation,
            spacing=spacing,
            number=i + 1,
            file=Path(f"{i}.dcm"),
        )
        for i, distance in enumerate(along)
    ]


def stacked(slices):
    return stack_slices(slices, source=SOURCE)


def world(stack, z, y, x):
    dz, dy, dx = stack.spacing
    return np.array(stack.origin) + stack.direction @ (np.array([x, y, z]) * [dx, dy, dz])


def test_slices_are_sorted_along_their_normal():
    stack = stacked([slices_at([0, 2, 4])[i] for i in (2, 0, 1)])
    assert stack.hu[:, 0, 0].tolist() == [0, 1, 2]
    assert stack.slice_numbers.tolist() == [1, 2, 3]
    assert stack.spacing == (2.0, 0.75, 0.5)
    assert stack.corrections == ()


def test_a_missing_slice_is_refused_by_name():
    with pytest.raises(MissingSlicesError, match=r"1 between slice 3 and slice 4 \(\[0.0, 0.0, 4.0\] to"):
        stacked(slices_at([0, 2, 4, 8, 10]))


def test_every_gap_is_named():
    with pytest.raises(MissingSlicesError, match="1 between slice 1 and slice 2.*3 between slice 3 and slice 4"):
        stacked(slices_at([0, 4, 6, 14]))


def test_missing_slices_are_seen_even_where_most_are_missing():
    with pytest.raises(MissingSlicesError):
        stacked(slices_at([0, 1, 3, 5, 7, 9]))


def test_uneven_spacing_is_refused():
    with pytest.raises(UnevenSpacingError, match="from 2 to 2.8 mm"):
        stacked(slices_at([0, 2, 4, 6.8]))


def test_a_spacing_that_changes_half_way_is_refused():
    with pytest.raises(UnevenSpacingError):
        stacked(slices_at([0, 1, 2, 3, 4, 5.25, 6.5, 7.75, 9]))


def test_positions_rounded_to_a_tenth_of_a_millimetre_are_even():
    stack = stacked(slices_at(np.round(np.arange(40) * 0.625, 1)))
    assert stack.spacing[0] == pytest.approx(0.625, abs=0.003)


def test_identical_slices_at_one_position_are_dropped_and_said():
    same = np.zeros((4, 6), np.int16)
    stack = stacked(slices_at([0, 2, 2, 4], hu=[same, same, same, same]))
    assert stack.hu.shape[0] == 3
    assert stack.slice_numbers.tolist() == [1, 2, 4]
    assert stack.corrections == ("1 duplicate slice(s) with identical pixels left out: 2.dcm",)


def test_different_slices_at_one_position_are_refused_by_name():
    with pytest.raises(DuplicateSlicesError, match=r"1\.dcm.*2\.dcm"):
        stacked(slices_at([0, 2, 2, 4]))


def test_mixed_sizes_are_refused():
    hu = [np.zeros((4, 6), np.int16), np.zeros((6, 4), np.int16)]
    with pytest.raises(MixedSlicesError, match=r"size \(6, 4\) against \(4, 6\)"):
        stacked(slices_at([0, 2], hu=hu))


def test_mixed_pixel_spacings_are_refused():
    with pytest.raises(MixedSlicesError, match="pixel spacing"):
        stacked([*slices_at([0]), *slices_at([2], spacing=(0.75, 0.6))])


def test_mixed_orientations_are_refused():
    with pytest.raises(MixedSlicesError, match="orientation"):
        stacked([*slices_at([0]), *slices_at([2], orientation=np.array([0, 1.0, 0, 1, 0, 0]))])


def test_an_orientation_that_is_no_rotation_is_refused():
    with pytest.raises(GeometryError, match="right angles"):
        stacked(slices_at([0, 2], orientation=np.array([1.0, 0, 0, 1, 0, 0])))


def test_gantry_tilt_is_said_and_slices_are_kept_as_they_are():
    angle = np.radians(12.5)
    stack = stacked(slices_at([0, 2, 4], sideways=np.tan(angle)))
    assert stack.hu[:, 0, 0].tolist() == [0, 1, 2]
    assert stack.spacing == pytest.approx((2.0, 0.75, 0.5))
    assert stack.corrections[0].startswith("gantry tilt of 12.5 degrees: ")


def test_a_slice_that_jumps_sideways_is_refused():
    slices = slices_at([0, 2, 4])
    slices[1].position[0] += 3
    with pytest.raises(MixedSlicesError, match="sideways"):
        stacked(slices)


def test_a_single_slice_takes_its_thickness_and_says_so():
    stack = stack_slices(slices_at([0]), source=SOURCE, single_spacing=5.0)
    assert stack.spacing[0] == 5.0
    assert "single slice" in stack.corrections[0]


def test_a_single_slice_without_thickness_is_refused():
    with pytest.raises(GeometryError, match="single slice"):
        stacked(slices_at([0]))


def rotation(axis, degrees):
    c, s = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    one, two = (i for i in range(3) if i != axis)
    matrix = np.eye(3)
    matrix[[one, one, two, two], [one, two, one, two]] = [c, -s, s, c]
    return matrix


@given(
    order=st.permutations(range(3)),
    signs=st.tuples(*[st.sampled_from([-1.0, 1.0])] * 3),
    shape=st.tuples(*[st.integers(1, 4)] * 3),
    tilt=st.tuples(*[st.floats(-20, 20)] * 3),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
)
def test_turning_axes_keeps_every_voxel_where_it_lies_in_the_patient(order, signs, shape, tilt, origin):
    turn = rotation(0, tilt[0]) @ rotation(1, tilt[1]) @ rotation(2, tilt[2])
    direction = turn @ (np.eye(3)[:, order] * signs)
    hu = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    stack = Stack(hu, (1.5, 0.75, 0.5), np.array(origin), direction, np.arange(shape[0]))
    turned = to_lps(stack)
    assert (np.diag(turned.direction) > 0.5).all()
    assert turned.hu.flags.c_contiguous
    for index in np.ndindex(*shape):
        (found,) = np.argwhere(turned.hu == hu[index])
        np.testing.assert_allclose(world(turned, *found), world(stack, *index), atol=1e-9)


@pytest.mark.parametrize("order", permutations(range(3)))
def test_slice_numbers_follow_their_slices_or_are_counted_anew(order):
    direction = np.eye(3)[:, order] * -1
    stack = Stack(np.zeros((3, 4, 5), np.int16), (1, 1, 1), np.zeros(3), direction, np.array([7, 8, 9]))
    turned = to_lps(stack)
    if order[2] == 2:  # the slice axis runs head to feet
        assert turned.slice_numbers.tolist() == [9, 8, 7]
        assert turned.corrections == ()
    else:
        assert turned.slice_numbers.tolist() == list(range(turned.hu.shape[0]))
        plane = {0: "sagittal", 1: "coronal"}[order[2]]
        assert turned.corrections[0].startswith(plane)


def test_what_is_oblique_stays_in_the_direction_and_is_said():
    stack = Stack(np.zeros((2, 2, 2), np.int16), (1, 1, 1), np.zeros(3), rotation(0, 8.0), np.arange(2))
    turned = to_lps(stack)
    np.testing.assert_allclose(turned.direction, rotation(0, 8.0))
    assert "8.0 degrees" in turned.corrections[0]


@pytest.mark.parametrize("bad", [0.0, -1.0, float("nan"), float("inf"), 1000.0])
def test_absurd_spacing_is_refused(bad):
    stack = Stack(np.zeros((2, 2, 2), np.int16), (1.0, bad, 1.0), np.zeros(3), np.eye(3), np.arange(2))
    with pytest.raises(GeometryError, match="spacing"):
        to_volume(stack, source=SOURCE, name="x")


def test_slices_much_thinner_than_their_distance_are_said():
    stack = Stack(np.zeros((2, 2, 2), np.int16), (10.0, 1.0, 1.0), np.zeros(3), np.eye(3), np.arange(2))
    volume = to_volume(stack, source=SOURCE, name="x", thickness=1.0)
    assert volume.corrections == ("slices 1 mm thick lie 10 mm apart: what lies between was not scanned",)
