"""A lesion's mask from its box alone, to measure what nobody has measured yet.

GrabCut as in `grabcut`, seeded without a RECIST: outside the box background, the inner part of the ellipse in the
box foreground, the rest unknown. Grey levels are spread about the lesion's own: what lies farther from it is no
lesion, however bright. `benchmarks/bench_diameters.py` holds it to true diameters.
"""

from collections.abc import Mapping

import cv2
import numpy as np
from scipy import ndimage

from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import Window
from napari_uld.errors import RecistError
from napari_uld.lesions.boxes import PADDING, RECIST_MARGIN, Box, area, as_boxes
from napari_uld.lesions.findings import as_box
from napari_uld.lesions.recist import Recist, from_mask
from napari_uld.lesions.rle import Rle, decode
from napari_uld.masks.ellipse import pixel_grid
from napari_uld.masks.ellipse import window as pixel_window
from napari_uld.masks.grabcut import ITERATIONS, MARGIN, cut

# Share of the ellipse's axes within which all is lesion.
CORE = 0.7
# HU about the lesion's median that the grey levels are spread over, and the fewest that they may be.
ABOUT, NARROWEST = 150.0, 50.0
# Half axes of the ellipse are at least this long (px).
SHORTEST = 1.0
# The cost grows with the area: larger boxes (px) are looked at in every second, third, ... row and column.
LARGEST = 128.0
# Of the slices that a lesion is traced through those with its largest boxes are measured.
MEASURED = 5


def mask_from_box(hu: np.ndarray, box: object, window: Window) -> np.ndarray:
    """Segment the lesion in a box on one slice.

    Parameters
    ----------
    hu
        (height, width) slice in Hounsfield units.
    box
        Pixel-centre box (x1, y1, x2, y2) with DeepLesion's margin about the lesion, as detectors give it.
    window
        (low, high) HU that the slice is read with; grey levels are not spread beyond it where it holds the lesion.

    Returns
    -------
    bool array (height, width), one piece without holes, never empty.

    Raises
    ------
    BoxError
        If the box is malformed.
    """
    low, high = np.split(as_boxes([box])[0], 2)
    step = 1 + int((high - low).max() // LARGEST)
    if step == 1:
        return _grown(hu, low, high, RECIST_MARGIN, window)
    coarse = _grown(hu[::step, ::step], low / step, high / step, RECIST_MARGIN / step, window)
    return np.kron(coarse, np.ones((step, step), bool))[: hu.shape[0], : hu.shape[1]]


def _grown(hu: np.ndarray, low: np.ndarray, high: np.ndarray, margin: float, window: Window) -> np.ndarray:
    shape = (hu.shape[0], hu.shape[1])
    core, whole = (_ellipse(low, high, margin, share, shape) for share in (CORE, 1.0))
    labels = np.full(shape, cv2.GC_BGD, np.uint8)
    labels[pixel_window(np.ceil(low), np.floor(high), shape)] = cv2.GC_PR_FGD
    labels[core] = cv2.GC_FGD
    crop = pixel_window(low - MARGIN, high + MARGIN, shape)
    if not (labels[crop] == cv2.GC_BGD).any():
        return whole
    mask = np.zeros(shape, bool)
    mask[crop] = cut(hu[crop], labels[crop], _levels(hu[core], window), ITERATIONS)
    pieces, _ = ndimage.label(mask)
    # The core is foreground, but its pixels on a slice's edge may belong to several pieces.
    main = np.bincount(pieces[core & mask]).argmax() if (core & mask).any() else 0
    return ndimage.binary_fill_holes(pieces == main) if main else whole


def _ellipse(low: np.ndarray, high: np.ndarray, margin: float, share: float, shape: tuple[int, int]) -> np.ndarray:
    """The ellipse in a box without its margin, its axes shortened to a share; the nearest pixel at least."""
    centre = np.clip((low + high) / 2, 0, np.array(shape[::-1]) - 1)
    half = np.maximum((high - low) / 2 - margin, SHORTEST) * share
    mask = np.zeros(shape, bool)
    rows, columns = pixel_window(np.ceil(centre - half), np.floor(centre + half), shape)
    mask[rows, columns] = (((pixel_grid(rows, columns) - centre) / half) ** 2).sum(axis=-1) <= 1
    x, y = np.rint(centre).astype(int)
    mask[y, x] = True
    return mask


def _levels(lesion: np.ndarray, window: Window) -> Window:
    """The window about a lesion's values, within the one that the slice is read with where that leaves enough."""
    middle = float(np.median(lesion))
    low, high = max(window[0], middle - ABOUT), min(window[1], middle + ABOUT)
    return (low, high) if high - low >= NARROWEST else (middle - ABOUT, middle + ABOUT)


def measured(
    volume: CTVolume, native: int, boxes: Mapping[int, Box], mask: Rle | None, window: Window, *, tight: bool = False
) -> tuple[int, Recist, bool]:
    """Measure a lesion that nobody has measured: from its mask where it has one, else as `longest_recist`.

    Parameters
    ----------
    volume
        The scan.
    native
        Number of its key slice.
    boxes
        Its box on each slice, by native number.
    mask
        Its mask on the key slice.
    window
        (low, high) HU that the scan is read with.
    tight
        Whether the boxes lie about the lesion itself, without DeepLesion's margin.

    Returns
    -------
    native, recist, by_mask
        The slice's number, the diameters there, and whether they are the mask's.

    Raises
    ------
    RecistError
        If there is no mask and none of the slices is there.
    """
    drawn = None if mask is None else decode(mask)
    if drawn is not None and drawn.any():
        return native, from_mask(drawn, volume.spacing[1:]), True
    if tight:
        boxes = {number: as_box(np.add(box, PADDING)) for number, box in boxes.items()}
    return *longest_recist(volume, boxes, window), False


def longest_recist(volume: CTVolume, boxes: Mapping[int, Box], window: Window) -> tuple[int, Recist]:
    """Measure a lesion on whichever of its slices it is longest, from its boxes alone.

    Parameters
    ----------
    volume
        The scan.
    boxes
        The lesion's box on each slice, by native number; slices that the scan lacks are left out.
    window
        (low, high) HU that it is read with.

    Returns
    -------
    native, recist
        The slice's number, and the longest diameter with the longest perpendicular to it there.

    Raises
    ------
    RecistError
        If none of the slices is there.
    """
    there = sorted(boxes.keys() & set(volume.slice_numbers.tolist()))
    if not there:
        raise RecistError(f"{volume.name} has none of the lesion's slices {sorted(boxes)}: there is nothing to measure")
    largest = sorted(there, key=lambda native: -float(area(np.array([boxes[native]]))[0]))[:MEASURED]
    recists = {
        native: from_mask(mask_from_box(volume.hu[volume.z_of(native)], boxes[native], window), volume.spacing[1:])
        for native in largest
    }
    longest = max(recists, key=lambda native: recists[native].millimetres(volume.spacing)[0])
    return longest, recists[longest]
