"""GrabCut masks grown from RECIST ("Improving RetinaNet for CT lesion detection with dense masks", section 2.2).

The trimap: outside the lesion's box background, inside the quadrilateral of the four RECIST end
points foreground, the rest unknown and seeded as probable foreground (the paper does not say).

GrabCut runs on a crop about the box, not on the whole slice: the background is what surrounds
the lesion, and the cost falls with the area. On 125 phantom lesions the margin hardly matters: mean
Dice with the whole slice's result .971, .973, .974, .975 and .976 at margins of 4, 8, 16, 32 and 64
pixels, and with the true masks .937, .934, .933, .932 and .932 against .923 for the whole slice
(figures of `benchmarks/bench_grabcut.py`'s phantoms, 40 patients of them). Keeping only the component
about the quadrilateral, filling holes or more iterations changes the latter by less than .001.
"""

import cv2
import numpy as np

from napari_uld.ct.windows import Window, to_uint8
from napari_uld.errors import NoMaskError
from napari_uld.lesions.boxes import as_boxes
from napari_uld.lesions.recist import Recist
from napari_uld.masks.ellipse import check_spans_area, cross, in_hull, in_triangle, pixel_grid, quarter_ellipse_mask
from napari_uld.masks.ellipse import window as pixel_window

ITERATIONS = 3
MARGIN = 16
# A window narrower than this (HU) shows nothing but black and white: HU are whole numbers.
MIN_WINDOW = 1e-3
# GrabCut starts its mixture models from k-means, which draws random numbers.
_SEED = 0


def trimap(recist: Recist, box: object, shape: tuple[int, int]) -> np.ndarray:
    """Label every pixel for GrabCut.

    Parameters
    ----------
    recist
        The lesion's diameters; where joining their end points in turn gives no simple
        quadrilateral, their convex hull is used.
    box
        Pixel-centre box (x1, y1, x2, y2).
    shape
        (height, width) of the slice.

    Returns
    -------
    uint8 array (height, width) of cv2.GC_BGD, cv2.GC_FGD and cv2.GC_PR_FGD.

    Raises
    ------
    BoxError
        If the box is malformed.
    NoMaskError
        If the diameters span no area, or the box or the quadrilateral lies outside the other or the image.
    """
    check_spans_area(recist.points[None])
    low, high = np.split(as_boxes([box])[0], 2)
    rows, columns = pixel_window(np.ceil(low), np.floor(high), shape)
    labels = np.full(shape, cv2.GC_BGD, dtype=np.uint8)
    if labels[rows, columns].size == 0:
        raise NoMaskError(
            f"The box {[*low, *high]} contains no pixel of an image of {shape[1]} x {shape[0]} pixels",
            "box without a pixel of the image",
        )
    if (recist.points.max(axis=0) < low).any() or (recist.points.min(axis=0) > high).any():
        raise NoMaskError(
            f"The RECIST {recist.points.tolist()} lies outside its box {[*low, *high]}: measure it again",
            "RECIST outside its box",
        )
    inside = _in_quadrilateral(pixel_grid(rows, columns), recist.points)
    labels[rows, columns] = np.where(inside, cv2.GC_FGD, cv2.GC_PR_FGD)
    return labels


def grabcut_or_ellipse(
    hu: np.ndarray,
    recist: Recist,
    box: object,
    window: Window,
    *,
    iterations: int = ITERATIONS,
    margin: int = MARGIN,
) -> tuple[np.ndarray, str]:
    """Segment one lesion on its key slice.

    Parameters
    ----------
    hu
        (height, width) slice in Hounsfield units.
    recist
        The lesion's diameters.
    box
        Pixel-centre box (x1, y1, x2, y2); nothing outside it becomes lesion.
    window
        (low, high) HU shown as black and white: the row's DICOM window.
    iterations
        Rounds of fitting the mixture models and cutting the graph.
    margin
        Pixels of background about the box that GrabCut gets to see.

    Returns
    -------
    mask, reason
        bool (height, width), never empty, and why it is the quarter ellipse, "" where it is GrabCut's: GrabCut
        leaves nothing, the box fills the image (there is no background to learn from), or the window shows nothing.

    Raises
    ------
    BoxError
        If the box is malformed.
    NoMaskError
        If the diameters span no area, or the box or the quadrilateral lies outside the other or the image.
    """
    shape = (hu.shape[0], hu.shape[1])
    labels = trimap(recist, box, shape)
    low, high = np.split(as_boxes([box])[0], 2)
    crop = pixel_window(low - margin, high + margin, shape)
    mask, reason = np.zeros(shape, dtype=bool), ""
    if not (np.isfinite(window).all() and window[1] - window[0] >= MIN_WINDOW):
        reason = "window without extent"
    elif not (labels[crop] == cv2.GC_BGD).any():
        reason = "box that fills the image"
    else:
        mask[crop] = cut(hu[crop], labels[crop], window, iterations)
        # The quadrilateral is hard foreground, so a result can be empty but never smaller than it.
        reason = "" if mask.any() else "nothing left by GrabCut"
    return (quarter_ellipse_mask(recist, shape) if reason else mask), reason


def cut(hu: np.ndarray, labels: np.ndarray, window: Window, iterations: int) -> np.ndarray:
    """Run GrabCut on an image with its trimap, both (height, width); the same input gives the same bool mask."""
    result = labels.copy()
    cv2.setRNGSeed(_SEED)
    background, foreground = np.zeros((1, 65)), np.zeros((1, 65))
    colour = cv2.cvtColor(to_uint8(hu, window), cv2.COLOR_GRAY2BGR)
    cv2.grabCut(colour, result, (0, 0, 0, 0), background, foreground, iterations, cv2.GC_INIT_WITH_MASK)
    return (result == cv2.GC_FGD) | (result == cv2.GC_PR_FGD)


def _in_quadrilateral(grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Tell which of the `grid` points lie in the quadrilateral p1, p3, p2, p4."""
    p1, p2, p3, p4 = points
    # A simple quadrilateral is the two triangles on either side of one of its diagonals: of the
    # diagonal that runs inside it, which where it has a dent is the one that gives the smaller area.
    splits = [np.array([[p1, p3, p4], [p2, p3, p4]]), np.array([[p3, p1, p2], [p4, p1, p2]])]
    areas = [np.abs(cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0])).sum() / 2 for t in splits]
    own_area = abs(cross(p2 - p1, p4 - p3)) / 2
    if not np.isclose(own_area, min(areas)):
        return in_hull(grid, points)
    return np.logical_or.reduce([in_triangle(grid, triangle) for triangle in splits[int(np.argmin(areas))]])
