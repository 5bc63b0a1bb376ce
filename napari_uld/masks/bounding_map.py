"""Bounding maps (BM) and size-adaptive bounding maps (ABM): soft masks made from boxes alone.

Equations are those of "BM-based conditional training with size-adaptive bounding maps"
(1-5 the BM, 10-12 the ABM). Read where the paper leaves a choice:

- The map is 1 at a box's centre and .5 at its border (eqs. 1-3), and "2 sqrt" in eq. 5 is the
  square root: the geometric mean of the two axis maps. So it is >= .5 everywhere inside a BM's box.
- A pixel lies in a box when its centre does, borders included. A box with no extent along an
  axis has its centre there, value 1; one that lies between pixel centres leaves an empty map.
- ``min(sum, 1)`` (eq. 4) makes a false centre where the borders of two boxes touch
  (.5 + .5 = 1); ``combine="max"`` does not.
"""

from typing import Literal

import numpy as np

from napari_uld.lesions.boxes import area, as_boxes

Combine = Literal["sum", "max"]

# Eq. 12's thresholds: area of the padded box in px^2 of the paper's input, whose pixels are .8 mm wide. A lesion is as
# small in every image, whatever its pixels measure.
SMALL_AREA = 250.0
MEDIUM_AREA = 1000.0
AREA_UNIT = 0.8**2


def lesion_maps(boxes: object, shape: tuple[int, int], alpha: float | np.ndarray = 1.0) -> np.ndarray:
    """Give each lesion's own map, sqrt(BM_x^(n) BM_y^(n)) (eqs. 1-3 and 5, or 10-11).

    Parameters
    ----------
    boxes
        (n, 4) pixel-centre boxes; parts outside the image are cut off.
    shape
        (height, width) of the map.
    alpha
        Ratio of the slope to the BM's, below 2, one for all or (n,): 0 is flat, 1 the BM.

    Returns
    -------
    float32 array (n, height, width).

    Raises
    ------
    BoxError
        If a box is malformed.
    """
    rows = as_boxes(boxes)
    across, down = _profiles(rows, shape, alpha)
    maps = np.zeros((len(rows), *shape), dtype=np.float32)
    for n, (y, x) in enumerate(_windows(rows, shape)):
        maps[n, y, x] = np.sqrt(down[n, y])[:, None] * np.sqrt(across[n, x])
    return maps


def bounding_map(boxes: object, shape: tuple[int, int], *, combine: Combine = "sum") -> np.ndarray:
    """Give the BM of all lesions on a slice (eqs. 1-5).

    Parameters
    ----------
    boxes
        (n, 4) pixel-centre boxes.
    shape
        (height, width) of the map.
    combine
        "sum": eq. 4, min(sum, 1) of each axis map; "max": their maximum.

    Returns
    -------
    float32 array (height, width), 0 outside the boxes.

    Raises
    ------
    BoxError
        If a box is malformed.
    """
    return _combined(as_boxes(boxes), shape, 1.0, combine)


def size_adaptive_alpha(
    boxes: object, pixel_area: float, small: float = SMALL_AREA, medium: float = MEDIUM_AREA
) -> np.ndarray:
    """Give eq. 12's alpha for each box, (n,): 0 below an area of `small`, 1 below `medium`, 1.4 from there on.

    Parameters
    ----------
    boxes
        (n, 4) pixel-centre boxes.
    pixel_area
        Area of a pixel in mm^2.
    small, medium
        Area thresholds A_s and A_m, in px^2 of .8 mm.
    """
    areas = area(as_boxes(boxes)) * (pixel_area / AREA_UNIT)
    return np.where(areas < small, 0.0, np.where(areas < medium, 1.0, 1.4))


def adaptive_bounding_map(
    boxes: object,
    shape: tuple[int, int],
    *,
    pixel_area: float,
    small: float = SMALL_AREA,
    medium: float = MEDIUM_AREA,
    combine: Combine = "sum",
) -> np.ndarray:
    """Give the ABM of all lesions on a slice (eqs. 10-12, put together as the BM is).

    Parameters
    ----------
    boxes
        (n, 4) pixel-centre boxes.
    shape
        (height, width) of the map.
    pixel_area, small, medium
        As for `size_adaptive_alpha`.
    combine
        As for `bounding_map`.

    Returns
    -------
    float32 array (height, width), 0 outside the boxes.

    Raises
    ------
    BoxError
        If a box is malformed.
    """
    rows = as_boxes(boxes)
    return _combined(rows, shape, size_adaptive_alpha(rows, pixel_area, small, medium), combine)


def _combined(rows: np.ndarray, shape: tuple[int, int], alpha: float | np.ndarray, combine: Combine) -> np.ndarray:
    across, down = _profiles(rows, shape, alpha)
    in_x, in_y = (across > 0).astype(np.float32), (down > 0).astype(np.float32)
    result = np.zeros(shape, dtype=np.float32)
    # Only the boxes' own windows are worked on: a lesion covers about a thousandth of a slice.
    for y, x in _windows(rows, shape):
        map_x = _aggregate(in_y[:, y], across[:, x], combine)
        map_y = _aggregate(down[:, y], in_x[:, x], combine)
        result[y, x] = np.sqrt(map_x * map_y)
    return result


def _aggregate(down: np.ndarray, across: np.ndarray, combine: Combine) -> np.ndarray:
    """Eq. 4 over lesions given as profiles (n, height) and (n, width) whose outer products are their axis maps."""
    if combine == "sum":
        return np.minimum(down.T @ across, 1.0)
    return (down[:, :, None] * across[:, None, :]).max(axis=0)


def _profiles(rows: np.ndarray, shape: tuple[int, int], alpha: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Eqs. 1-3 along x (n, width) and along y (n, height), float32, 0 outside the box."""
    slopes = np.broadcast_to(alpha, len(rows))
    return _profile(rows[:, 0], rows[:, 2], shape[1], slopes), _profile(rows[:, 1], rows[:, 3], shape[0], slopes)


def _profile(low: np.ndarray, high: np.ndarray, length: int, alpha: np.ndarray) -> np.ndarray:
    extent = high - low
    k = np.divide(alpha, extent, out=np.zeros(len(low)), where=extent > 0)[:, None]
    place = np.arange(length)
    inside = (place >= low[:, None]) & (place <= high[:, None])
    return np.where(inside, 1 - k * np.abs(place - ((low + high) / 2)[:, None]), 0).astype(np.float32)


def _windows(rows: np.ndarray, shape: tuple[int, int]) -> list[tuple[slice, slice]]:
    """Give, for each box, the (y, x) slices of the pixels whose centres lie in it."""
    height, width = shape
    limits = [width, height, width, height]
    first_last = np.clip(np.concatenate([np.ceil(rows[:, :2]), np.floor(rows[:, 2:]) + 1], axis=1), 0, limits)
    return [(slice(y1, y2), slice(x1, x2)) for x1, y1, x2, y2 in first_last.astype(int).tolist()]
