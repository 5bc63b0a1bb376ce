from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import BoxError, RecistError
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import encode
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.from_box import longest_recist, mask_from_box, measured

WINDOW = (-175.0, 275.0)


def slice_with(recist: Recist, value: float = 60.0, noise: float = 8.0) -> np.ndarray:
    """A lesion in fat."""
    hu = np.random.default_rng(3).normal(-90, noise, (96, 112))
    return np.where(quarter_ellipse_mask(recist, hu.shape), hu + 90 + value, hu)


def tilted(cx: float, cy: float, long: float, short: float, degrees: float) -> Recist:
    turned = np.radians(degrees)
    along, across = np.array([np.cos(turned), np.sin(turned)]), np.array([-np.sin(turned), np.cos(turned)])
    centre = np.array([cx, cy])
    ends = [centre + s * h * d for h, d in ((long / 2, along), (short / 2, across)) for s in (-1, 1)]
    return Recist.from_points(ends)


@pytest.mark.parametrize("degrees", [0, 30, 90, 135])
@pytest.mark.parametrize(("long", "short"), [(12, 8), (24, 16), (40, 30)])
def test_a_lesion_that_stands_out_is_measured_to_a_pixel_or_two(degrees: float, long: float, short: float) -> None:
    true = tilted(55, 48, long, short, degrees)
    hu = slice_with(true)
    box = true.box()
    mask = mask_from_box(hu, box, WINDOW)
    _, found = longest_recist(volume_of([hu]), {1: box}, WINDOW)
    assert mask.any()
    np.testing.assert_allclose(found.diameters, true.diameters, atol=2.0)


def test_what_is_brighter_and_beside_it_is_no_part_of_it() -> None:
    true = tilted(55, 48, 20, 14, 20)
    hu = slice_with(true)
    # A vessel with contrast that touches the lesion's box.
    hu[:, 67:75] = 300
    found = longest_recist(volume_of([hu]), {1: true.box()}, WINDOW)[1]
    assert found.diameters[0] == pytest.approx(20, abs=3)


def volume_of(slices: list[np.ndarray]) -> CTVolume:
    return CTVolume(
        hu=np.asarray(slices, np.int16),
        spacing=(5.0, 0.8, 0.8),
        source=Path("study.nii.gz"),
        name="study",
        slice_numbers=np.arange(1, len(slices) + 1),
        series_uid="1.2",
    )


def test_a_traced_lesion_is_measured_where_it_is_longest() -> None:
    lesions = [tilted(55, 48, long, long * 0.7, 40) for long in (14, 26, 18)]
    volume = volume_of([slice_with(lesion) for lesion in lesions])
    boxes = {number: lesion.box() for number, lesion in enumerate(lesions, start=1)} | {9: lesions[0].box()}
    native, found = longest_recist(volume, boxes, WINDOW)
    assert native == 2
    assert found.diameters[0] == pytest.approx(26, abs=2)


def test_a_lesion_of_which_no_slice_is_there_is_refused() -> None:
    with pytest.raises(RecistError, match=r"study has none of the lesion's slices \[7\]"):
        longest_recist(volume_of([np.zeros((40, 40))]), {7: (1.0, 1.0, 20.0, 20.0)}, WINDOW)


def test_a_box_that_fills_the_slice_has_no_background_and_gives_its_ellipse() -> None:
    mask = mask_from_box(np.zeros((41, 61)), (-0.5, -0.5, 60.5, 40.5), WINDOW)
    # Half axes 25.5 and 15.5 without the margin of 5.
    assert mask[20].sum() == 51
    assert mask[:, 30].sum() == 31


def test_a_malformed_box_is_refused() -> None:
    with pytest.raises(BoxError):
        mask_from_box(np.zeros((40, 40)), (10.0, 10.0, 5.0, 20.0), WINDOW)


@given(
    corner=st.tuples(st.floats(-20, 60), st.floats(-20, 60)),
    size=st.tuples(st.floats(3, 80), st.floats(3, 80)),
    window=st.sampled_from([WINDOW, (0.0, 0.0), (1000.0, 2000.0)]),
    level=st.sampled_from([-1000, 0, 3000]),
)
def test_whatever_the_box_the_mask_is_one_piece_and_never_empty(
    corner: tuple[float, float], size: tuple[float, float], window: tuple[float, float], level: int
) -> None:
    hu = np.random.default_rng(0).normal(level, 10, (48, 56))
    mask = mask_from_box(hu, (*corner, corner[0] + size[0], corner[1] + size[1]), window)
    assert mask.shape == hu.shape
    assert mask.any()


def test_a_lesion_with_a_mask_is_measured_by_it_on_its_key_slice_and_others_by_their_boxes() -> None:
    hu = np.full((2, 60, 60), -50, np.int16)
    hu[1, 20:41, 20:41] = 80
    volume = CTVolume(hu, (2.0, 1.0, 1.0), Path("s"), "s", np.array([3, 4]))
    mask = np.zeros((60, 60), bool)
    mask[30, 25:31] = True
    boxes = {3: (15.0, 15.0, 30.0, 30.0), 4: (15.0, 15.0, 45.0, 45.0)}
    native, recist, by_mask = measured(volume, 3, boxes, encode(mask), (-160.0, 240.0))
    assert (native, by_mask) == (3, True)
    assert recist.diameters[0] == pytest.approx(6)
    for nothing in (None, encode(np.zeros((60, 60), bool))):
        native, recist, by_mask = measured(volume, 3, boxes, nothing, (-160.0, 240.0))
        assert (native, by_mask) == (4, False)
        assert recist.diameters[0] > 20


def test_a_tight_box_is_measured_as_the_same_one_with_its_margin() -> None:
    true = tilted(55, 48, 40, 30, 30)
    volume = volume_of([slice_with(true)])
    x1, y1, x2, y2 = true.box()
    padded = measured(volume, 1, {1: (x1, y1, x2, y2)}, None, WINDOW)
    tight = measured(volume, 1, {1: (x1 + 5, y1 + 5, x2 - 5, y2 - 5)}, None, WINDOW, tight=True)
    assert tight == padded
    assert tight[1].diameters[0] == pytest.approx(40, abs=2)
