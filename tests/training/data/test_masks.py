"""Pseudo masks of key slices, and their way into a slab."""

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_uld.errors import RecistError
from napari_uld.inference.slabs import Slab
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import decode, encode
from napari_uld.masks import MaskKind
from napari_uld.masks.ellipse import quarter_ellipse_mask
from napari_uld.training.data.key_slices import KeySlice
from napari_uld.training.data.mask_store import KINDS, MaskStore, Origin
from napari_uld.training.data.masks import lesion_masks, make_masks, to_slab

SERIES = "000001_01_01"
# A box of 41 x 31 px about (50, 40): its lesion's diameters are 30 and 20 px long.
BOX = np.array([30.0, 25, 70, 55])
MEASURED = Recist.from_points([35, 40, 65, 40, 50, 30, 50, 50])
PARALLEL = Recist.from_points([35, 40, 65, 40, 35, 41, 65, 41])


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


@pytest.mark.parametrize("kind", [MaskKind.ELLIPSE, MaskKind.GRABCUT])
def test_without_a_measurement_that_spans_an_area_the_mask_is_the_ellipse_in_the_box(
    root: Path, kind: MaskKind
) -> None:
    with pytest.raises(RecistError):
        quarter_ellipse_mask(PARALLEL, (80, 100))
    missing, degenerate = lesion_masks(root, key(None, PARALLEL), MaskStore(root, kind))
    y, x = np.mgrid[:80, :100]
    # Half axes of 15 and 10: what the box's margin of 5 px leaves. It would be MEASURED's own mask.
    ellipse = ((x - 50) / 15) ** 2 + ((y - 40) / 10) ** 2 <= 1 + 1e-6
    assert np.array_equal(decode(degenerate), ellipse)
    if kind is MaskKind.ELLIPSE:
        assert np.array_equal(decode(missing), ellipse)


def test_the_margin_of_a_small_box_is_a_quarter_of_its_shorter_side(root: Path) -> None:
    small = KeySlice(SERIES, 5, (2.0, 0.8, 0.8), np.array([[10.0, 10, 18, 14]]), (None,), (-160.0, 240.0))
    (mask,) = lesion_masks(root, small, MaskStore(root, MaskKind.ELLIPSE))
    rows, columns = np.nonzero(decode(mask))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (11, 17, 11, 13)


def test_grabcut_finds_the_bright_rectangle_that_the_ellipse_rounds_off(root: Path) -> None:
    (grabcut,) = lesion_masks(root, key(MEASURED), MaskStore(root, MaskKind.GRABCUT))
    bright = np.zeros((80, 100), bool)
    bright[30:51, 35:66] = True
    found, ellipse = decode(grabcut), quarter_ellipse_mask(MEASURED, (80, 100))

    def iou(mask: np.ndarray) -> float:
        return (mask & bright).sum() / (mask | bright).sum()

    assert iou(ellipse) < 0.8
    assert iou(found) > 0.95


HU = np.random.default_rng(0).normal(0, 40, (80, 100)).astype(np.int16)
WINDOW = (-160.0, 240.0)


@pytest.mark.parametrize(
    ("box", "recist", "window", "origin", "reason"),
    [
        (BOX, MEASURED, WINDOW, Origin.GRABCUT, ""),
        (BOX, MEASURED, (40.0, 40.0), Origin.ELLIPSE, "window without extent"),
        ([-5, -5, 104, 90], MEASURED, WINDOW, Origin.ELLIPSE, "box that fills the image"),
        (BOX, None, WINDOW, Origin.ELLIPSE_IN_BOX, "no measurement"),
        (BOX, PARALLEL, WINDOW, Origin.ELLIPSE_IN_BOX, "parallel diameters"),
        (BOX, [50, 40, 50, 40, 50, 30, 50, 50], WINDOW, Origin.ELLIPSE_IN_BOX, "a diameter without length"),
        ([5, 5, 25, 20], MEASURED, WINDOW, Origin.ELLIPSE_IN_BOX, "RECIST outside its box"),
        (BOX, [1e9, 40, 0, 40, 50, 30, 50, 50], WINDOW, Origin.ELLIPSE_IN_BOX, "RECIST outside the image"),
        (
            [200, 200, 240, 230],
            MEASURED,
            WINDOW,
            Origin.NONE,
            "box without a pixel of the image, and no ellipse in the box",
        ),
        ([np.nan, 5, 25, 20], MEASURED, WINDOW, Origin.NONE, "malformed box, and no ellipse in the box"),
        ([25, 5, 5, 20], MEASURED, WINDOW, Origin.NONE, "malformed box, and no ellipse in the box"),
        ([20, 20, 20, 20], None, WINDOW, Origin.NONE, "no measurement, and no ellipse in the box"),
    ],
)
def test_a_mask_tells_how_it_came_about_and_why_it_is_no_grabcut(
    box: object, recist: object, window: tuple[float, float], origin: Origin, reason: str
) -> None:
    measured = recist if isinstance(recist, Recist | None) else Recist.from_points(recist)
    lesion = KeySlice(SERIES, 5, (2.0, 0.8, 0.8), np.array([box], float), (measured,), window)
    (made,) = make_masks(HU, lesion, MaskKind.GRABCUT)
    assert (made.origin, made.reason) == (origin, reason)
    assert made.mask.shape == (80, 100)
    mask = decode(made.mask)
    assert mask.any() == (origin is not Origin.NONE)
    if origin is Origin.ELLIPSE:
        assert np.array_equal(mask, quarter_ellipse_mask(MEASURED, (80, 100)))


coordinate = st.one_of(
    st.floats(-60, 160), st.integers(-5, 105).map(float), st.sampled_from([0.0, 79.5, 1e-300, 1e154, -1e150])
)
odd = st.sampled_from([float("nan"), float("inf"), -float("inf")])
level = st.floats(-3000, 3000) | st.sampled_from([0.0, 1e-300, 40.0]) | odd
recists = st.none() | st.lists(coordinate, min_size=8, max_size=8).map(Recist.from_points)
lesions = st.tuples(st.lists(coordinate | odd, min_size=4, max_size=4), recists)


@settings(max_examples=200, deadline=None)
@given(st.lists(lesions, max_size=3), st.tuples(level, level), st.sampled_from(KINDS))
@pytest.mark.filterwarnings("error")
def test_no_row_however_odd_stops_the_others(
    rows: list[tuple[list[float], Recist | None]], window: tuple[float, float], kind: MaskKind
) -> None:
    boxes = np.array([BOX, *(box for box, _ in rows)])
    odd_key = KeySlice(SERIES, 5, (2.0, 0.8, 0.8), boxes, (MEASURED, *(recist for _, recist in rows)), window)
    first, *rest = made = make_masks(HU, odd_key, kind)
    assert len(made) == len(boxes)
    assert decode(first.mask).any()
    for lesion in rest:
        assert lesion.mask.shape == HU.shape
        assert decode(lesion.mask).any() == (lesion.origin is not Origin.NONE)
        assert (lesion.reason == "") == (lesion.origin.value == kind.value)


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
    slab = Slab(np.zeros((1, height, width), np.float32), offset, (width / crop[1], height / crop[0]))
    x, y = offset[0] + corner[0], offset[1] + corner[1]
    mask = np.zeros(shape, bool)
    mask[y : y + extent[1], x : x + extent[0]] = True
    (brought,) = to_slab((encode(mask),), slab)
    assert brought.shape == (height, width)
    # The box of the mask's pixels, each of them half a pixel wide to either side of its centre.
    ((x1, y1, x2, y2),) = slab.to_network(
        np.array([[x, y, x + extent[0] - 1, y + extent[1] - 1]]) + [-0.5, -0.5, 0.5, 0.5]
    )
    rows, columns = np.flatnonzero(brought.any(axis=1)), np.flatnonzero(brought.any(axis=0))
    edges = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    expected = np.clip([x1, y1, x2, y2], 0, [width, height, width, height])
    assert edges == pytest.approx(expected, abs=0.51)
    # A corner may be covered by less than a half where its row and its column are not; about a native pixel goes.
    assert brought.sum() >= len(rows) * len(columns) - 4 * max(1, scale) ** 2


def test_a_slab_without_masks_has_none() -> None:
    assert to_slab((), Slab(np.zeros((3, 5, 6), np.float32), (0, 0), (1.0, 1.0))).shape == (0, 5, 6)
