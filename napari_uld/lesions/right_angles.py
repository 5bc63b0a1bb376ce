"""Diameters as a person draws them: the short one at a right angle to the long one, in millimetres.

Points are (x, y) pixel centres, `spacing` is a scan's (z, y, x) in mm: pixels need not be square.
"""

from collections.abc import Sequence

import numpy as np

from napari_uld.lesions.recist import Point, Recist


def square_to(line: tuple[Point, Point], start: Point, end: Point, spacing: Sequence[float]) -> Point:
    """Give where a line from `start` ends that runs at a right angle to another, as near to `end` as it may.

    Of a line without length, every direction is at a right angle.
    """
    size = np.array([spacing[2], spacing[1]])
    along = np.subtract(line[1], line[0]) * size
    towards = np.subtract(end, start) * size
    length = float(along @ along)
    square = towards - along * (towards @ along) / length if length else towards
    x, y = np.asarray(start) + square / size
    return float(x), float(y)


def long_first(recist: Recist, spacing: Sequence[float]) -> Recist:
    """Give the same measurement with its longer diameter, in mm, as the long one."""
    long, short = recist.millimetres(spacing)
    return recist if long >= short else Recist(recist.short, recist.long)


def with_end(recist: Recist, end: int, at: Point, spacing: Sequence[float], *, free: bool = False) -> Recist:
    """Move one end of a measurement; unless it is to be `free`, the diameters meet at a right angle then.

    Parameters
    ----------
    recist
        The measurement.
    end
        0 and 1 are the ends of the long diameter, 2 and 3 those of the short one. The long one takes the short one
        along: it stays as long and crosses at the same share of the long one's length.
    at
        Where the end is moved to.
    spacing
        The scan's voxel size (z, y, x) in mm.
    free
        Whether the other diameter stays as it is, and the short one turns freely.
    """
    points = recist.points
    if end >= 2:
        other = 5 - end
        fixed = (float(points[other, 0]), float(points[other, 1]))
        points[end] = at if free else square_to(recist.long, fixed, at, spacing)
        return Recist.from_points(points)
    points[end] = at
    if not free:
        points[2:] = _carried(recist, points[:2], np.array([spacing[2], spacing[1]]))
    return Recist.from_points(points)


def _carried(recist: Recist, long: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Ends (2, 2) of the short diameter once the long one, (2, 2), lies elsewhere."""
    p1, p2, p3, p4 = recist.points * size
    q1, q2 = long * size
    before, after = p2 - p1, q2 - q1
    was, now = float(np.hypot(*before)), float(np.hypot(*after))
    if not was or not now:
        return np.stack([p3, p4]) / size
    across = np.array([-before[1], before[0]]) / was
    # How far its ends lie beside the long diameter, and where along it: the middle, should it not be square yet.
    low, high = float((p3 - p1) @ across), float((p4 - p1) @ across)
    middle, half = (low + high) / 2, float(np.hypot(*(p4 - p3))) / 2
    side = 1.0 if high >= low else -1.0
    share = float(((p3 + p4) / 2 - p1) @ before) / was**2
    foot, turned = q1 + share * after, np.array([-after[1], after[0]]) / now
    return np.stack([foot + (middle - side * half) * turned, foot + (middle + side * half) * turned]) / size
