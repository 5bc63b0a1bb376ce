"""Pseudo masks of key slices, and their way into a slab."""

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_uld.inference.slabs import Slab
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import decode, encode
from napari_uld.masks import MaskKind
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.masks.lesion_mask import Origin
from napari_uld.training.data.key_slices import KeySlice
from napari_uld.training.data.mask_store import MaskStore
from napari_uld.training.data.masks import lesion_masks, make_masks, to_slab

SERIES = "000001_01_01"
# A box of 41 x 31 px about (50, 40): its lesion's diameters are 30 and 20 px long.
BOX = np.array([30.0, 25, 70, 55])
MEASURED = Recist.from_points([35, 40, 65, 40, 50, 30, 50, 50])


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """One slice of 100 x 80 px: a bright rectangle that the diameters span, in fat."""
    hu = np.full((80, 100), -100, np.int32)
    hu[30:51, 35:66] = 100
    folder = tmp_path / "Images_png" / SERIES
    folder.mkdir(parents=True)
    cv2.imwrite(str(folder / "005.png"), (hu + 32768).astype(np.uint16))
    (tmp_path / "DL_info.csv").write_text(
        "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
        "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,"
        "Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test\n"
        f'{SERIES}_005.png,1,1,1,5,"36, 41, 66, 41, 51, 31, 51, 51","31, 26, 71, 56","30, 20","0.5, 0.5, 0.5",3,0,'
        '"4, 6","0.8, 0.8, 2","100, 80","-160, 240",F,62.0,1\n'
    )
    return tmp_path


def key(*recists: Recist | None) -> KeySlice:
    boxes = np.tile(BOX, (len(recists), 1))
    return KeySlice(SERIES, 5, (2.0, 0.8, 0.8), boxes, recists, (-160.0, 240.0))


def test_each_lesion_has_the_quarter_ellipse_of_its_own_measurement(root: Path) -> None:
    other = Recist.from_points([5, 10, 15, 10, 10, 6, 10, 14])
    masks = lesion_masks(root, key(MEASURED, other), MaskStore(root, MaskKind.ELLIPSE))
    for mask, recist in zip(masks, (MEASURED, other), strict=True):
        assert np.array_equal(decode(mask), quarter_ellipse_mask(recist, (80, 100)))


def test_grabcut_finds_the_bright_rectangle_that_the_ellipse_rounds_off(root: Path) -> None:
    (grabcut,) = lesion_masks(root, key(MEASURED), MaskStore(root, MaskKind.GRABCUT))
    bright = np.zeros((80, 100), bool)
    bright[30:51, 35:66] = True
    found, ellipse = decode(grabcut), quarter_ellipse_mask(MEASURED, (80, 100))

    def iou(mask: np.ndarray) -> float:
        return (mask & bright).sum() / (mask | bright).sum()

    assert iou(ellipse) < 0.8
    assert iou(found) > 0.95


def test_each_mask_tells_how_it_came_about_and_an_odd_row_stops_no_other() -> None:
    hu = np.random.default_rng(0).normal(0, 40, (80, 100)).astype(np.int16)
    made = make_masks(hu, replace(key(None, MEASURED), boxes=np.array([np.full(4, np.nan), BOX])), MaskKind.ELLIPSE)
    assert [(lesion.origin, lesion.reason) for lesion in made] == [
        (Origin.NONE, "no measurement, and no ellipse in the box"),
        (Origin.ELLIPSE, ""),
    ]
    nothing, ellipse = (decode(lesion.mask) for lesion in made)
    assert nothing.shape == (80, 100)
    assert not nothing.any()
    assert np.array_equal(ellipse, quarter_ellipse_mask(MEASURED, (80, 100)))


def test_grabcut_is_given_the_window_of_its_own_slice() -> None:
    hu = np.random.default_rng(0).normal(0, 40, (80, 100)).astype(np.int16)
    (blind,) = make_masks(hu, replace(key(MEASURED), window=(40.0, 40.0)), MaskKind.GRABCUT)
    assert (blind.origin, blind.reason) == (Origin.ELLIPSE, "window without extent")


@given(
    scale=st.floats(0.25, 0.95) | st.floats(1.05, 2.5),
    offset=st.tuples(st.integers(0, 40), st.integers(0, 40)),
    corner=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    extent=st.tuples(st.integers(12, 50), st.integers(12, 50)),
)
def test_a_mask_in_a_slab_ends_where_its_box_does(
    scale: float, offset: tuple[int, int], corner: tuple[int, int], extent: tuple[int, int]
) -> None:
    shape, crop = (180, 200), (110, 120)
    height, width = (round(side * scale) for side in crop)
    axes = AxisMap(offset, (width / crop[1], height / crop[0]))
    slab = Slab(np.zeros((1, height, width), np.float32), axes, (1.0, 1.0, 1.0), ())
    x, y = offset[0] + corner[0], offset[1] + corner[1]
    mask = np.zeros(shape, bool)
    mask[y : y + extent[1], x : x + extent[0]] = True
    (brought,) = to_slab((encode(mask),), slab)
    assert brought.shape == (height, width)
    # The box of the mask's pixels, each of them half a pixel wide to either side of its centre.
    ((x1, y1, x2, y2),) = slab.axes.to_network(
        np.array([[x, y, x + extent[0] - 1, y + extent[1] - 1]]) + [-0.5, -0.5, 0.5, 0.5]
    )
    rows, columns = np.flatnonzero(brought.any(axis=1)), np.flatnonzero(brought.any(axis=0))
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    expected = np.clip([x1, y1, x2, y2], 0, [width, height, width, height])
    assert edges == pytest.approx(expected, abs=0.51)
    if scale > 1:
        # A corner may be covered by less than a half where its row and its column are not; about a native pixel goes.
        assert brought.sum() >= len(rows) * len(columns) - 4 * scale**2
        return
    covered = np.outer(
        covered_share(height, crop[0], corner[1], extent[1]), covered_share(width, crop[1], corner[0], extent[0])
    )
    # Half a pixel to within rounding may go either way.
    told = np.abs(covered - 0.5) > 1e-4
    assert np.array_equal(brought[told] == 1, covered[told] > 0.5)


def covered_share(cells: int, pixels: int, first: int, count: int) -> np.ndarray:
    """Share of each of `cells` along `pixels` that pixels `first` to `first + count` cover, (cells,)."""
    edges = np.arange(cells + 1) * pixels / cells
    shared = np.minimum(edges[1:], first + count) - np.maximum(edges[:-1], first)
    return np.clip(shared, 0, None) * cells / pixels


def test_a_slab_without_masks_has_none() -> None:
    slab = Slab(np.zeros((3, 5, 6), np.float32), AxisMap((0, 0), (1.0, 1.0)), (1.0, 1.0, 1.0), ())
    assert to_slab((), slab).shape == (0, 5, 6)
