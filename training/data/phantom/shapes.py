"""What a phantom's anatomy is drawn with: contours, tubes and sheets painted slice by slice on a label canvas.

World coordinates are millimetres: x to the image's right (the patient's left), y to the back, t along the
body towards the feet; (0, 0) is the centre of the image.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

# In-plane oversampling of the label canvas: its pixels are averaged 2 x 2, which gives the partial volume in a slice.
OVERSAMPLE = 2
_FRACTION_BITS = 4
_ANGLES = np.linspace(0, 2 * np.pi, 80, endpoint=False)
_COS, _SIN = np.cos(_ANGLES), np.sin(_ANGLES)


class Canvas:
    """One slice's labels, oversampled.

    Parameters
    ----------
    size
        Width and height of the image in pixels.
    spacing
        Millimetres a pixel.
    """

    def __init__(self, size: int, spacing: float) -> None:
        self.labels = np.zeros((size * OVERSAMPLE, size * OVERSAMPLE), np.uint8)
        self.per_mm = OVERSAMPLE / spacing
        self._centre = (size * OVERSAMPLE - 1) / 2

    def polygon(self, contours: Sequence[np.ndarray], label: int) -> None:
        """Fill closed contours, each (n, 2) in mm; overlapping ones cancel (even-odd), so two make a ring."""
        cv2.fillPoly(self.labels, [self._fixed(c) for c in contours], label, shift=_FRACTION_BITS)

    def outside(self, contour: np.ndarray, label: int) -> None:
        """Fill everything outside a contour."""
        far = 2e3 * np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]])
        self.polygon([far, contour], label)

    def line(self, points: np.ndarray, width: float, label: int) -> None:
        """Draw an open line, `width` mm wide."""
        thickness = max(1, round(width * self.per_mm))
        cv2.polylines(self.labels, [self._fixed(points)], False, label, thickness, shift=_FRACTION_BITS)

    def discs(self, centres: np.ndarray, radii: np.ndarray, label: int) -> None:
        """Fill discs of `radii` mm about `centres`, (n, 2) in mm."""
        fixed = self._fixed(centres)
        scaled = np.rint(radii * self.per_mm * (1 << _FRACTION_BITS)).astype(np.int32)
        for (x, y), r in zip(fixed.tolist(), scaled.tolist(), strict=True):
            cv2.circle(self.labels, (x, y), r, label, cv2.FILLED, shift=_FRACTION_BITS)

    def _fixed(self, points: np.ndarray) -> np.ndarray:
        scaled = (points * self.per_mm + self._centre) * (1 << _FRACTION_BITS)
        return np.rint(scaled).astype(np.int32)


class Shape(Protocol):
    """Something that can paint its cross-section at t."""

    def paint(self, canvas: Canvas, t: float) -> None:
        """Paint the cross-section at `t` mm, if there is one."""


@dataclass(frozen=True)
class Wobble:
    """A smooth irregularity of a contour that changes slowly along the body.

    Parameters
    ----------
    amplitudes, phases, twists
        One entry a harmonic (2, 3, ...): its size relative to the radius, its phase, and how that turns a mm.
    """

    amplitudes: np.ndarray
    phases: np.ndarray
    twists: np.ndarray

    def radius(self, t: float) -> np.ndarray:
        """Relative radius at every contour angle."""
        orders = np.arange(2, 2 + len(self.amplitudes))
        angle = orders[:, None] * _ANGLES + (self.phases + self.twists * t)[:, None]
        return 1 + self.amplitudes @ np.cos(angle)


def wobble(rng: np.random.Generator, size: float, orders: int = 5) -> Wobble:
    """Draw a random irregularity of relative size about `size`."""
    falling = size / np.arange(1, orders + 1) ** 0.7
    return Wobble(rng.normal(0, 1, orders) * falling, rng.uniform(0, 2 * np.pi, orders), rng.normal(0, 0.02, orders))


@dataclass(frozen=True)
class Blob:
    """An organ: a superellipsoid with an irregular contour, possibly leaning and rotated.

    Parameters
    ----------
    label
        What it is made of.
    centre
        (x, y, t) mm.
    radii
        Half axes in mm: across, front to back, towards the head, towards the feet.
    wobble
        Irregularity of its contour.
    squareness
        Exponent of the contour: 1 is an ellipse, less is squarer.
    fullness
        Exponent of the profile along the body: 2 is an ellipsoid, more is closer to a cylinder.
    lean
        Shift of the centre (x, y) a mm of t.
    angle
        Rotation of the contour in radians.
    """

    label: int
    centre: tuple[float, float, float]
    radii: tuple[float, float, float, float]
    wobble: Wobble
    squareness: float = 1.0
    fullness: float = 2.0
    lean: tuple[float, float] = (0.0, 0.0)
    angle: float = 0.0

    def contour(self, t: float, grow: float = 0.0) -> np.ndarray | None:
        """(n, 2) points in mm of the cross-section at `t`, `grow` mm wider, or None where there is none."""
        along = t - self.centre[2]
        u = abs(along) / (self.radii[3] if along > 0 else self.radii[2])
        if u >= 1:
            return None
        scale = (1 - u**self.fullness) ** 0.5 * self.wobble.radius(t)
        rx, ry = self.radii[0] + grow, self.radii[1] + grow
        x = rx * scale * np.sign(_COS) * np.abs(_COS) ** self.squareness
        y = ry * scale * np.sign(_SIN) * np.abs(_SIN) ** self.squareness
        c, s = np.cos(self.angle), np.sin(self.angle)
        cx, cy = self.centre[0] + self.lean[0] * along, self.centre[1] + self.lean[1] * along
        return np.stack([cx + c * x - s * y, cy + s * x + c * y], axis=1)

    def contains(self, points: np.ndarray) -> np.ndarray:
        """Whether (n, 3) points lie inside, irregularity aside."""
        rel = points - self.centre
        x, y, t = rel[:, 0] - self.lean[0] * rel[:, 2], rel[:, 1] - self.lean[1] * rel[:, 2], rel[:, 2]
        c, s = np.cos(self.angle), np.sin(self.angle)
        u = np.where(t > 0, t / self.radii[3], -t / self.radii[2])
        return ((c * x + s * y) / self.radii[0]) ** 2 + ((c * y - s * x) / self.radii[1]) ** 2 + u**2 < 1

    def paint(self, canvas: Canvas, t: float) -> None:
        """Fill the cross-section at `t`."""
        contour = self.contour(t)
        if contour is not None:
            canvas.polygon([contour], self.label)


@dataclass(frozen=True)
class Shell:
    """A blob with a rim of another material: cortical bone about marrow, a wall about contents.

    Parameters
    ----------
    blob
        The inside.
    rim
        Label of the rim.
    width
        Its width in mm, outwards.
    """

    blob: Blob
    rim: int
    width: float

    def paint(self, canvas: Canvas, t: float) -> None:
        """Fill rim and inside at `t`."""
        outer = self.blob.contour(t, self.width)
        if outer is not None:
            canvas.polygon([outer], self.rim)
            self.blob.paint(canvas, t)


class Tube:
    """Vessels, ribs and bowel: spheres strung along paths.

    Parameters
    ----------
    label
        What it is made of.
    points
        (n, 3) mm, at least one, close enough together for the spheres to merge.
    radii
        (n,) mm.
    """

    def __init__(self, label: int, points: np.ndarray, radii: np.ndarray) -> None:
        order = np.argsort(points[:, 2], kind="stable")
        self.label, self.points, self.radii = label, points[order], radii[order]
        self._widest = float(radii.max(initial=0))
        self._span = float(self.points[0, 2]) - self._widest, float(self.points[-1, 2]) + self._widest

    def paint(self, canvas: Canvas, t: float) -> None:
        """Fill the spheres' cross-sections at `t`."""
        if not self._span[0] < t < self._span[1]:
            return
        first, last = np.searchsorted(self.points[:, 2], [t - self._widest, t + self._widest])
        points, radii = self.points[first:last], self.radii[first:last]
        square = radii**2 - (points[:, 2] - t) ** 2
        hit = square > 0
        canvas.discs(points[hit, :2], np.sqrt(square[hit]), self.label)


def strung(path: np.ndarray, radius: np.ndarray | float, step: float) -> tuple[np.ndarray, np.ndarray]:
    """Points every `step` mm along a path (n, 3), with their radii."""
    lengths = np.concatenate([[0], np.cumsum(np.linalg.norm(np.diff(path, axis=0), axis=1))])
    at = np.linspace(0, lengths[-1], max(2, int(lengths[-1] / step) + 1))
    points = np.stack([np.interp(at, lengths, path[:, k]) for k in range(3)], axis=1)
    return points, np.interp(at, lengths, np.broadcast_to(radius, lengths.shape))


def tree(
    rng: np.random.Generator, root: np.ndarray, targets: np.ndarray, leaf_radius: float, most: float
) -> tuple[np.ndarray, np.ndarray]:
    """Spheres of a branching vessel from `root` to every target, (n, 3) mm.

    Each target joins the part of the tree that is nearest, its way from the root counted in; a branch's
    section grows with the leaves it feeds (Murray's law), up to a radius of `most` mm.
    """
    targets = targets[np.argsort(np.linalg.norm(targets - root, axis=1), kind="stable")]
    nodes = np.vstack([root[None], targets])
    parent = np.zeros(len(nodes), int)
    way = np.zeros(len(nodes))
    for i in range(1, len(nodes)):
        distance = np.linalg.norm(nodes[:i] - nodes[i], axis=1)
        parent[i] = int(np.argmin(distance + 0.45 * way[:i]))
        way[i] = way[parent[i]] + distance[parent[i]]
    leaves = np.ones(len(nodes))
    for i in range(len(nodes) - 1, 0, -1):
        leaves[parent[i]] += leaves[i]
    radii = np.minimum(leaf_radius * leaves ** (1 / 2.7), most)
    centres, sizes = [], []
    for i in range(1, len(nodes)):
        a, b = nodes[parent[i]], nodes[i]
        bow = (a + b) / 2 + rng.normal(0, 0.08, 3) * np.linalg.norm(b - a)
        points, size = strung(np.stack([a, bow, b]), radii[i], max(0.6, 0.6 * radii[i]))
        centres.append(points)
        sizes.append(size)
    return np.vstack(centres), np.concatenate(sizes)


@dataclass(frozen=True)
class Ring:
    """A layer of the body wall: what lies between two outlines.

    Parameters
    ----------
    label
        What it is made of.
    outer, inner
        The outlines; without an outer one, everything outside `inner` is filled.
    """

    label: int
    inner: Blob
    outer: Blob | None = None

    def paint(self, canvas: Canvas, t: float) -> None:
        """Fill the layer at `t`."""
        inner = self.inner.contour(t)
        outer = self.outer.contour(t) if self.outer is not None else None
        if inner is None:
            return
        if outer is None:
            canvas.outside(inner, self.label)
        else:
            canvas.polygon([outer, inner], self.label)


@dataclass(frozen=True)
class Below:
    """A shape of which only the part from `top` mm on towards the feet is there."""

    shape: Shape
    top: float

    def paint(self, canvas: Canvas, t: float) -> None:
        """Paint the cross-section at `t`, if it is far enough down."""
        if t >= self.top:
            self.shape.paint(canvas, t)


@dataclass(frozen=True)
class Sheet:
    """A curved plate along the body, such as an iliac wing or a fat plane: an open line in every slice.

    Parameters
    ----------
    label
        What it is made of.
    top, bottom
        (n, 3) points in mm at its upper and lower end, all of one t each; in between they are interpolated.
    width
        Thickness in mm.
    """

    label: int
    top: np.ndarray
    bottom: np.ndarray
    width: float

    def paint(self, canvas: Canvas, t: float) -> None:
        """Draw the line at `t`."""
        start, end = float(self.top[0, 2]), float(self.bottom[0, 2])
        if start <= t <= end:
            f = (t - start) / max(end - start, 1e-6)
            canvas.line(((1 - f) * self.top + f * self.bottom)[:, :2], self.width, self.label)
