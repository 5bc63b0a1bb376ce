"""RECIST measurements: the long and the short diameter of a lesion on one slice."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from napari_uld.errors import RecistError
from napari_uld.lesions.boxes import RECIST_MARGIN

Point = tuple[float, float]


@dataclass(frozen=True)
class Recist:
    """Two diameters on a slice, their end points as (x, y) pixel centres.

    Parameters
    ----------
    long
        End points p1, p2 of the long diameter.
    short
        End points p3, p4 of the short diameter.

    Raises
    ------
    RecistError
        If a coordinate is not finite.
    """

    long: tuple[Point, Point]
    short: tuple[Point, Point]

    def __post_init__(self) -> None:
        if self.points.shape != (4, 2) or not np.isfinite(self.points).all():
            raise RecistError(f"A RECIST needs four finite (x, y) end points; found {self.long} and {self.short}")

    @classmethod
    def from_points(cls, points: object) -> "Recist":
        """Make one from p1, p2, p3, p4 as an array-like of 8 numbers or shape (4, 2).

        Raises
        ------
        RecistError
            If there are not eight finite numbers.
        """
        array = np.asarray(points, dtype=np.float64)
        if array.size != 8:
            raise RecistError(f"A RECIST needs eight numbers (p1, p2, p3, p4 as x, y); found {array.size}")
        p1, p2, p3, p4 = ((float(x), float(y)) for x, y in array.reshape(4, 2))
        return cls((p1, p2), (p3, p4))

    @property
    def points(self) -> np.ndarray:
        """(4, 2) array p1, p2 (long), p3, p4 (short)."""
        return np.asarray([*self.long, *self.short], dtype=np.float64)

    @property
    def diameters(self) -> tuple[float, float]:
        """Lengths of the long and the short diameter in pixels."""
        p1, p2, p3, p4 = self.points
        return float(np.hypot(*(p2 - p1))), float(np.hypot(*(p4 - p3)))

    def millimetres(self, spacing: Sequence[float]) -> tuple[float, float]:
        """Lengths of the long and the short diameter in mm; `spacing` is a scan's (z, y, x)."""
        p1, p2, p3, p4 = self.points * (spacing[2], spacing[1])
        return float(np.hypot(*(p2 - p1))), float(np.hypot(*(p4 - p3)))

    def require_within(self, shape: Sequence[int]) -> None:
        """Refuse diameters that leave the slice; `shape` is a scan's (z, y, x).

        Raises
        ------
        RecistError
            If an end of a diameter lies outside the slice.
        """
        _, height, width = shape
        if ((self.points < -0.5) | (self.points > (width - 0.5, height - 0.5))).any():
            raise RecistError(f"A diameter ends outside the slice of {width} x {height} pixels: measure it within")

    def box(self, margin: float = RECIST_MARGIN) -> tuple[float, float, float, float]:
        """DeepLesion's box: the end points' extremes, `margin` pixels wider on each side."""
        (x1, y1), (x2, y2) = self.points.min(axis=0) - margin, self.points.max(axis=0) + margin
        return float(x1), float(y1), float(x2), float(y2)


def from_mask(mask: np.ndarray, pixel: tuple[float, float] = (1.0, 1.0)) -> Recist:
    """Measure a 2D mask: its longest chord, and the longest chord at a right angle to it.

    Length and right angles are those of pixels that are `pixel` (dy, dx) mm large; end points stay on the image.

    End points lie on the mask's outline, half-way between a pixel inside and its neighbour outside:
    one pixel measures 1 x 1. On rotated ellipses with half axes of 1 to 30 pixels the diameters come
    out .0 to .5 pixels too long on average (between pixel centres they are .4 to .8 too short). The
    short diameter is right to half a pixel in where it crosses the long one.

    Raises
    ------
    RecistError
        If the mask is empty.
    """
    ys, xs = np.nonzero(mask)
    if xs.size == 0:
        raise RecistError("An empty mask has no diameters")
    halves = np.array([[1, 0], [-1, 0], [0, 1], [0, -1]])
    doubled = (2 * np.stack([xs, ys], axis=1)[:, None] + halves).reshape(-1, 2)
    outline = doubled / 2
    hull = cv2.convexHull(doubled.astype(np.int32))[:, 0] / 2
    scale = np.array(pixel[::-1])
    outline, hull, unit = outline * scale, hull * scale, float(scale.max())
    distance = np.hypot(*(hull[:, None] - hull[None]).transpose(2, 0, 1))
    i, j = np.unravel_index(int(distance.argmax()), distance.shape)
    p1, p2 = hull[i], hull[j]
    along = (p2 - p1) / distance[i, j]
    across = np.array([-along[1], along[0]])
    # Points that share a pixel-wide bin along the long diameter lie on one chord across it.
    bins = np.floor((outline - p1) @ along / unit + 1e-6).astype(int)
    offset = (outline - p1) @ across
    low = np.full(bins.max() + 1, np.inf)
    high = np.full_like(low, -np.inf)
    np.minimum.at(low, bins, offset)
    np.maximum.at(high, bins, offset)
    width = high - low
    # Of chords equally long (a bar has many) the one nearest the middle.
    widest = np.flatnonzero(width > width.max() - 1e-6)
    chord = int(widest[np.argmin(np.abs(widest + 0.5 - distance[i, j] / unit / 2))])
    foot = p1 + (chord + 0.5) * unit * along
    points = np.stack([p1, p2, foot + low[chord] * across, foot + high[chord] * across]) / scale
    return Recist.from_points(np.clip(points, -0.5, np.array(mask.shape[::-1]) - 0.5))
