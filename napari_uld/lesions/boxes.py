"""Boxes: (x1, y1, x2, y2) or (x1, y1, z1, x2, y2, z2), float, pixel centres at integers.

Functions take and give arrays of shape (n, 4) or (n, 6); the first half of a row is the low
corner, the second half the high one. Areas are continuous, (x2 - x1) (y2 - y1), unless
``pixel_inclusive`` asks for the public code's "+ 1" convention.
"""

import numpy as np

from napari_uld.errors import BoxError

# RECIST boxes are the end points' extremes with this margin, native pixels (DeepLesion).
RECIST_MARGIN = 5.0
# What that margin adds to a box.
PADDING = RECIST_MARGIN * np.array([-1, -1, 1, 1])
# Nobody measures a smaller lesion in a CT, pixels: a smaller box is a slip of the hand.
MIN_SIDE = 3.0

Box = tuple[float, float, float, float]


def as_boxes(boxes: object, dims: int = 2) -> np.ndarray:
    """Check `boxes` and give them as a float64 array (n, 2 * dims); an empty input gives (0, 2 * dims).

    Raises
    ------
    BoxError
        If the shape is wrong, a value is not finite or a low corner exceeds its high corner.
    """
    try:
        array = np.asarray(boxes, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise BoxError(f"Boxes must be rows of {2 * dims} numbers: {error}") from error
    if array.size == 0:
        return np.zeros((0, 2 * dims))
    if array.ndim != 2 or array.shape[1] != 2 * dims:
        raise BoxError(f"Boxes must have shape (n, {2 * dims}); found {array.shape}")
    if not np.isfinite(array).all():
        raise BoxError("Boxes must be finite; found NaN or infinity")
    if (array[:, :dims] > array[:, dims:]).any():
        row = int(np.flatnonzero((array[:, :dims] > array[:, dims:]).any(axis=1))[0])
        raise BoxError(f"A box's low corner must not exceed its high corner; box {row} is {array[row].tolist()}")
    return array


def in_image(box: Box, size: tuple[int, int], *, smallest: float = MIN_SIDE) -> Box:
    """Check a 2D box against its image, and give the part of it that lies in it.

    Parameters
    ----------
    size
        The image's width and height in pixels; it reaches half a pixel beyond its outermost centres.
    smallest
        How long both sides must be, in pixels.

    Raises
    ------
    BoxError
        If the box is malformed, too small to be a lesion's, or too little of it lies in the image.
    """
    ((x1, y1, x2, y2),) = as_boxes([box])
    width, height = size
    sides = f"[{x1:g}, {y1:g}, {x2:g}, {y2:g}]"
    if min(x2 - x1, y2 - y1) < smallest:
        raise BoxError(f"the box {sides} is {x2 - x1:g} x {y2 - y1:g} pixels; {smallest:g} or more are required")
    left, right = (min(max(float(x), -0.5), width - 0.5) for x in (x1, x2))
    top, bottom = (min(max(float(y), -0.5), height - 0.5) for y in (y1, y2))
    if (left, top, right, bottom) != (x1, y1, x2, y2) and min(right - left, bottom - top) < 1:
        raise BoxError(f"the box {sides} lies outside its image of {width} x {height} pixels")
    return left, top, right, bottom


def area(boxes: np.ndarray, *, pixel_inclusive: bool = False) -> np.ndarray:
    """Area (or volume) of each box, (n,)."""
    dims = boxes.shape[-1] // 2
    return np.prod(boxes[..., dims:] - boxes[..., :dims] + float(pixel_inclusive), axis=-1)


def intersection(a: np.ndarray, b: np.ndarray, *, pixel_inclusive: bool = False) -> np.ndarray:
    """Area of overlap of every box of `a` with every box of `b`, (len(a), len(b))."""
    dims = a.shape[1] // 2
    shared = np.ones((len(a), len(b)))
    for axis in range(dims):
        low = np.maximum(a[:, axis, None], b[None, :, axis])
        high = np.minimum(a[:, dims + axis, None], b[None, :, dims + axis])
        shared *= np.maximum(high - low + float(pixel_inclusive), 0)
    return shared


def iou(a: np.ndarray, b: np.ndarray, *, pixel_inclusive: bool = False) -> np.ndarray:
    """Intersection over union of every pair of boxes in 2D or 3D, (len(a), len(b)); 0 where the union is empty.

    Parameters
    ----------
    a, b
        (n, 4) or (n, 6) boxes.
    pixel_inclusive
        Areas with "+ 1 pixel", as DeepLesion's public evaluation code has them.
    """
    overlap = intersection(a, b, pixel_inclusive=pixel_inclusive)
    union = area(a, pixel_inclusive=pixel_inclusive)[:, None] + area(b, pixel_inclusive=pixel_inclusive)[None] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def to_edges(boxes: np.ndarray) -> np.ndarray:
    """Pixel-centre boxes -> edge-based boxes (pixel i covers [i, i + 1]), as torchvision's ops expect."""
    return boxes + 0.5


def to_centres(boxes: np.ndarray) -> np.ndarray:
    """Edge-based boxes -> pixel-centre boxes: the inverse of `to_edges`."""
    return boxes - 0.5
