"""Pseudo masks from RECIST alone: four quarter ellipses ("ULDor", section 2.1).

The two diameters cross at c and cut each other into four arms. Each pair of neighbouring arms
u, v spans the quarter ellipse c + u cos t + v sin t, 0 <= t <= 90 degrees. The arms are conjugate
radii, not axes, so that the outline passes through all four end points even when the diameters
are not at right angles (10% of DeepLesion's). Where the diameters do not cross (.4%), the mask
is the hull of the four end points joined with the ellipse about the long diameter's middle.

A pixel belongs to a mask when its centre lies inside or on the outline; a lesion so small that
it contains no pixel centre gets the one pixel nearest to its centre.
"""

import numpy as np

from napari_uld.errors import NoMaskError
from napari_uld.lesions.boxes import RECIST_MARGIN, as_boxes
from napari_uld.lesions.recist import Recist

# Diameters shorter than this (px), or with a smaller sine of the angle between them, span no area.
MIN_DIAMETER = 1e-3
MIN_SINE = 1e-3
# No image is this wide (px); products of coordinates beyond it may overflow.
MAX_COORDINATE = 1e6
# Slack of "on the outline", so that rounding does not drop an end point that is a pixel centre.
EPSILON = 1e-6


def quarter_ellipse_mask(recist: Recist, shape: tuple[int, int]) -> np.ndarray:
    """Give the quarter-ellipse mask of one RECIST, bool (height, width).

    Raises
    ------
    NoMaskError
        If the diameters span no area or the mask lies outside the image.
    """
    return quarter_ellipse_masks(recist.points[None], shape)[0]


def quarter_ellipse_masks(points: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Give the quarter-ellipse masks of several RECISTs.

    Parameters
    ----------
    points
        (n, 4, 2) end points p1, p2 (long), p3, p4 (short) as (x, y) pixel centres.
    shape
        (height, width) of the image; parts outside it are cut off.

    Returns
    -------
    bool array (n, height, width); no mask is empty.

    Raises
    ------
    NoMaskError
        If a RECIST's diameters span no area or its mask lies outside the image.
    """
    points = np.asarray(points, dtype=np.float64).reshape(-1, 4, 2)
    check_spans_area(points)
    centres, cuts, crossing = _crossings(points)
    masks = np.zeros((len(points), *shape), dtype=bool)
    for n, four in enumerate(points):
        # No point of a quarter ellipse is farther from its centre than the two diameters together.
        reach = np.abs(four[[1, 3]] - four[[0, 2]]).sum(axis=0)
        low, high = np.minimum(four.min(axis=0), centres[n] - reach), np.maximum(four.max(axis=0), centres[n] + reach)
        rows, columns = window(low, high, shape)
        grid = pixel_grid(rows, columns)
        inside = _in_ellipse(grid, four, centres[n], cuts[n])
        if not crossing[n]:
            inside |= in_hull(grid, four)
        masks[n, rows, columns] = inside
        if not inside.any():
            _mark_nearest(masks[n], centres[n], four)
    return masks


def ellipse_in_box(box: object, shape: tuple[int, int], *, margin: float = RECIST_MARGIN) -> np.ndarray:
    """Give the ellipse about the two diameters at right angles that would be given this box, bool (height, width).

    It stands in where nobody measured the lesion. The margin (px; DeepLesion's in native pixels) is left out, of a
    small box a quarter of the short side.

    Raises
    ------
    BoxError
        If the box is malformed.
    NoMaskError
        If the box spans no area or the ellipse lies outside the image.
    """
    x1, y1, x2, y2 = as_boxes([box])[0]
    margin = min(margin, (x2 - x1) / 4, (y2 - y1) / 4)
    x, y = (x1 + x2) / 2, (y1 + y2) / 2
    diameters = Recist.from_points([x1 + margin, y, x2 - margin, y, x, y1 + margin, x, y2 - margin])
    return quarter_ellipse_mask(diameters, shape)


def check_spans_area(points: np.ndarray) -> None:
    """Refuse RECISTs (n, 4, 2) that no mask can be made from.

    Raises
    ------
    NoMaskError
        If a diameter has no length, the two are parallel, or an end point lies beyond any image.
    """
    far = np.abs(points).max(axis=(1, 2)) > MAX_COORDINATE
    if far.any():
        raise NoMaskError(
            f"The RECIST {points[int(far.argmax())].tolist()} lies farther out than {MAX_COORDINATE:g} pixels: "
            "measure the lesion again",
            "RECIST outside the image",
        )
    along, across = points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    lengths = np.stack([np.hypot(*along.T), np.hypot(*across.T)], axis=1)
    short = lengths.min(axis=1) < MIN_DIAMETER
    parallel = np.abs(cross(along, across)) < MIN_SINE * lengths.prod(axis=1)
    if (short | parallel).any():
        row = int(np.flatnonzero(short | parallel)[0])
        found = "a diameter without length" if short[row] else "parallel diameters"
        raise NoMaskError(
            f"A mask needs two diameters that span an area; found {found} in {points[row].round(3).tolist()}. "
            "Measure the lesion again, or use a mask made from its box",
            found,
        )


def in_hull(grid: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Tell which of the `grid` points (..., 2) lie in the convex hull of four points (4, 2)."""
    # Every point of a planar hull lies in a triangle of three of its points (Caratheodory).
    return np.logical_or.reduce([in_triangle(grid, np.delete(points, i, axis=0)) for i in range(4)])


def in_triangle(grid: np.ndarray, triangle: np.ndarray) -> np.ndarray:
    """Tell which of the `grid` points (..., 2) lie in or on a triangle (3, 2); none where it has no area."""
    a, b, c = triangle
    area = cross(b - a, c - a)
    if abs(area) < EPSILON:
        return np.zeros(grid.shape[:-1], dtype=bool)
    u, v = cross(grid - a, c - a) / area, cross(b - a, grid - a) / area
    return (u >= -EPSILON) & (v >= -EPSILON) & (u + v <= 1 + EPSILON)


def window(low: np.ndarray, high: np.ndarray, shape: tuple[int, int]) -> tuple[slice, slice]:
    """Give the (y, x) slices of the image's pixels whose centres lie between two corners (x, y)."""
    limits = [shape[1], shape[0]]
    x1, y1 = np.clip(np.floor(low), 0, limits).astype(int).tolist()
    x2, y2 = np.clip(np.ceil(high) + 1, 0, limits).astype(int).tolist()
    return slice(y1, y2), slice(x1, x2)


def pixel_grid(rows: slice, columns: slice) -> np.ndarray:
    """Give (x, y) of every pixel of a window, (height, width, 2)."""
    y, x = np.mgrid[rows, columns]
    return np.stack([x, y], axis=-1).astype(np.float64)


def cross(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Give the z component of the cross product of plane vectors (..., 2)."""
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _crossings(points: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Give where the diameters cross: (n, 2) points, (n, 2) fractions along each, (n,) whether they do.

    Where they do not, the point is the long diameter's middle and both fractions are one half.
    """
    start, along, across = points[:, 0], points[:, 1] - points[:, 0], points[:, 3] - points[:, 2]
    offset, det = points[:, 2] - start, cross(along, across)
    cuts = np.stack([cross(offset, across) / det, cross(offset, along) / det], axis=1)
    crossing = np.abs(cuts - 0.5).max(axis=1) <= 0.5 + EPSILON
    cuts = np.where(crossing[:, None], np.clip(cuts, 0, 1), 0.5)
    return start + cuts[:, :1] * along, cuts, crossing


def _in_ellipse(grid: np.ndarray, points: np.ndarray, centre: np.ndarray, cuts: np.ndarray) -> np.ndarray:
    """Tell which grid points lie in one of the four quarters about `centre`."""
    along, across = points[1] - points[0], points[3] - points[2]
    det = cross(along, across)
    offset = grid - centre
    # In units of the diameters; dividing by the arm on that side makes every quarter a unit quarter disc.
    s = _in_arms(cross(offset, across) / det, float(cuts[0]))
    t = _in_arms(cross(along, offset) / det, float(cuts[1]))
    return s**2 + t**2 <= 1 + EPSILON


def _in_arms(coordinate: np.ndarray, cut: float) -> np.ndarray:
    # An arm of no length (the crossing is an end point) leaves nothing on its side.
    arm = np.where(coordinate < 0, cut, 1 - cut)
    return np.abs(coordinate) / np.maximum(arm, EPSILON)


def _mark_nearest(mask: np.ndarray, centre: np.ndarray, points: np.ndarray) -> None:
    x, y = np.rint(centre).astype(int).tolist()
    if not (0 <= y < mask.shape[0] and 0 <= x < mask.shape[1]):
        raise NoMaskError(
            f"The RECIST {points.round(1).tolist()} lies outside its image of {mask.shape[1]} x {mask.shape[0]} pixels",
            "RECIST outside the image",
        )
    mask[y, x] = True
