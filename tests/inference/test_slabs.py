"""From native slices to a network's input and back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.inference.slabs import CROP_CELL_MM, body_box, body_crop, extract_slab, normalize, slab_offsets

WHOLE = InputSpec(crop_to_body=False, spacing_mm=1.0)


def ramp(depth: int) -> np.ndarray:
    """Slice z holds the value 100 z everywhere."""
    return np.broadcast_to(np.arange(depth, dtype=np.int16)[:, None, None] * 100, (depth, 8, 8))


@pytest.mark.parametrize(
    ("dz", "expected"),
    [
        (1.0, [300, 500, 700]),  # 2 mm is two slices
        (2.0, [400, 500, 600]),
        (5.0, [460, 500, 540]),  # 2 mm is .4 of a slice
        (0.8, [250, 500, 750]),  # 2.5 slices: halfway between two
    ],
)
def test_neighbours_are_interpolated_at_two_millimetres(dz: float, expected: list[float]) -> None:
    slab = extract_slab(ramp(11), (dz, 1.0, 1.0), 5, WHOLE)
    assert slab.hu[:, 0, 0] == pytest.approx(expected)


def test_each_neighbour_has_its_own_weights_where_the_step_is_no_integer() -> None:
    spec = WHOLE.model_copy(update={"slices": 5, "slices_per_image": 5})
    slab = extract_slab(ramp(11), (1.5, 1.0, 1.0), 5, spec)
    # Steps of 4/3 of a slice: the second neighbour lies 8/3 slices off, not twice the first one's share.
    assert slab.hu[:, 0, 0] == pytest.approx([500 + 100 * k * 4 / 3 for k in (-2, -1, 0, 1, 2)], abs=1e-3)


def test_a_missing_neighbour_is_replaced_by_the_nearest_slice() -> None:
    assert extract_slab(ramp(3), (2.0, 1.0, 1.0), 0, WHOLE).hu[:, 0, 0] == pytest.approx([0, 0, 100])
    assert extract_slab(ramp(1), (5.0, 1.0, 1.0), 0, WHOLE).hu[:, 0, 0] == pytest.approx([0, 0, 0])


def test_the_image_is_resampled_to_the_spacing_asked_for() -> None:
    hu = np.zeros((1, 100, 200), np.int16)
    slab = extract_slab(hu, (5.0, 0.5, 0.5), 0, InputSpec(crop_to_body=False, spacing_mm=0.8))
    assert slab.hu.shape == (3, 62, 125)
    assert slab.axes.scale == pytest.approx((125 / 200, 62 / 100))


def test_a_long_side_beyond_the_limit_shrinks_both_axes_alike() -> None:
    hu = np.zeros((1, 256, 512), np.int16)
    slab = extract_slab(hu, (5.0, 1.0, 1.0), 0, InputSpec(crop_to_body=False, spacing_mm=0.8, long_side=256))
    assert slab.hu.shape[1:] == (128, 256)


def test_a_slab_tells_how_far_its_scans_own_slices_lie_apart() -> None:
    for dz in (1.0, 5.0):
        assert extract_slab(ramp(3), (dz, 1.0, 1.0), 1, WHOLE).thickness == dz


AS_THEY_ARE = WHOLE.model_copy(update={"interpolate_thick": False})


@pytest.mark.parametrize(
    ("dz", "expected"),
    [
        (5.0, [400, 500, 600]),  # its own slices
        (2.0, [400, 500, 600]),
        (1.0, [300, 500, 700]),  # thin ones are sampled at 2 mm all the same
        (0.8, [250, 500, 750]),
    ],
)
def test_thick_slices_that_are_not_interpolated_have_the_scans_own_ones_for_neighbours(
    dz: float, expected: list[float]
) -> None:
    assert extract_slab(ramp(11), (dz, 1.0, 1.0), 5, AS_THEY_ARE).hu[:, 0, 0] == pytest.approx(expected)


def test_a_bright_square_lies_inside_its_box_after_resizing() -> None:
    hu = np.full((1, 120, 120), -1000, np.int16)
    hu[0, 40:60, 70:90] = 1000
    slab = extract_slab(hu, (5.0, 0.8, 0.8), 0, InputSpec(crop_to_body=False, spacing_mm=1.6))
    ((x1, y1, x2, y2),) = slab.axes.to_network(np.array([[69.5, 39.5, 89.5, 59.5]]))
    assert (x1, y1, x2, y2) == pytest.approx((35, 20, 45, 30))
    assert (slab.hu[1, 20:30, 35:45] == 1000).all()
    assert (slab.hu[1] == 1000).sum() == 100


def test_the_crop_keeps_the_body_and_leaves_the_table() -> None:
    hu = np.full((200, 200), -1000, np.int16)
    yy, xx = np.mgrid[:200, :200]
    hu[(yy - 80) ** 2 / 50**2 + (xx - 100) ** 2 / 70**2 < 1] = 40
    hu[150:153, 10:190] = 200
    top, bottom, left, right = body_box(hu[None], (1.0, 1.0))
    assert top == pytest.approx(80 - 50 - 8, abs=4)
    assert bottom == pytest.approx(80 + 50 + 8, abs=4)
    assert left == pytest.approx(30 - 8, abs=4)
    assert right == pytest.approx(170 + 8, abs=4)


def test_air_alone_is_not_cropped() -> None:
    assert body_box(np.full((1, 50, 60), -1000, np.int16), (1.0, 1.0)) == (0, 50, 0, 60)


def test_normalising_clips_to_the_window_and_subtracts_the_mean() -> None:
    values = normalize(np.array([-3024.0, -1024, 3071, 9000], np.float32), InputSpec())
    assert values == pytest.approx([-50, -50, 205, 205])


def test_several_windows_follow_one_another_each_with_all_slices() -> None:
    spec = InputSpec(window=(0, 100), more_windows=((100, 300), (-50, 50)), value_range=10, mean=1)
    hu = np.array([-50.0, 50, 200], np.float32).reshape(3, 1, 1)
    values = normalize(hu, spec)
    assert values.dtype == np.float32
    assert values.shape == (9, 1, 1)
    soft, high, low = [-1, 4, 9], [-1, -1, 4], [-1, 9, 9]
    assert values.flatten().tolist() == pytest.approx([*soft, *high, *low])


def test_both_legs_are_kept() -> None:
    hu = np.full((200, 300), -1000, np.int16)
    yy, xx = np.mgrid[:200, :300]
    for centre, radius in ((80, 45), (220, 40)):
        hu[(yy - 100) ** 2 + (xx - centre) ** 2 < radius**2] = 40
    _, _, left, right = body_box(hu[None], (1.0, 1.0))
    assert left < 80 - 40
    assert right > 220 + 35


SHARING = InputSpec(slices=27, share_images=True)


@given(dz=st.floats(0.3, 12), slices=st.sampled_from([9, 27]))
def test_shared_images_stand_on_whole_slices_half_a_slice_from_their_place_at_most(dz: float, slices: int) -> None:
    spec = SHARING.model_copy(update={"slices": slices})
    offsets = slab_offsets(dz, spec)
    exact = slab_offsets(dz, spec.model_copy(update={"share_images": False}))
    assert (offsets[:, 1] == np.rint(offsets[:, 1])).all()
    assert np.abs(offsets - exact).max() <= 0.5 + 1e-9
    # The image that is detected on is not moved.
    assert offsets[slices // 6] == pytest.approx(exact[slices // 6])


@pytest.mark.parametrize("dz", [1.0, 2.0, 3.0])
def test_where_the_interval_falls_on_slices_sharing_moves_nothing(dz: float) -> None:
    exact = SHARING.model_copy(update={"share_images": False})
    assert slab_offsets(dz, SHARING) == pytest.approx(slab_offsets(dz, exact))


@given(top=st.integers(0, 60), left=st.integers(0, 60), mm=st.floats(0.5, 2))
def test_a_shared_crop_holds_the_body_and_ends_on_cells_or_with_the_slice(top: int, left: int, mm: float) -> None:
    hu = np.full((1, 120, 130), -1000, np.int16)
    hu[0, top : top + 50, left : left + 60] = 40
    spacing = (2.0, mm, mm)
    own, shared = (body_crop(hu, spacing, InputSpec(share_images=share)) for share in (False, True))
    for axis, side in enumerate(hu.shape[1:]):
        low, high, first, last = (box[2 * axis + end] for box in (own, shared) for end in (0, 1))
        assert first <= low
        assert last >= high
        assert low - first <= CROP_CELL_MM / mm + 1
        assert last - high <= CROP_CELL_MM / mm + 1
        assert last == side or abs(last * mm / CROP_CELL_MM - round(last * mm / CROP_CELL_MM)) <= mm / CROP_CELL_MM
