"""What is measured in a scan beside its lesions: distances, and the grey values and the area of a region."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

Place = Sequence[float] | np.ndarray


class Outline(StrEnum):
    """How a region is bounded; the values are their names."""

    ELLIPSE = "ellipse"
    RECTANGLE = "rectangle"


@dataclass(frozen=True)
class Statistics:
    """Grey values in a region, in HU, and its area in mm^2; `sd` is that of the region's own pixels."""

    mean: float
    sd: float
    low: int
    high: int
    area: float
    pixels: int


def distance(start: Place, end: Place, spacing: Sequence[float]) -> float:
    """Give the distance in mm of two places in voxels, where voxels are `spacing` mm large, in the same order."""
    return float(np.linalg.norm(np.subtract(end, start) * spacing))


def statistics(
    image: np.ndarray,
    corners: tuple[Sequence[float], Sequence[float]],
    pixel: tuple[float, float],
    outline: Outline = Outline.ELLIPSE,
) -> Statistics | None:
    """Measure the pixels of an image whose centres lie in a region.

    Parameters
    ----------
    image
        (rows, columns) HU.
    corners
        Two opposite corners (row, column) of the region, or of the rectangle about it, in pixels whose centres lie at
        integers.
    pixel
        Size (row, column) of a pixel in mm.
    outline
        How the region is bounded.

    Returns
    -------
    Statistics or None
        None where no pixel's centre lies in it. The area is the region's pixels'.
    """
    low, high = np.minimum(*corners), np.maximum(*corners)
    first = np.maximum(np.ceil(low), 0).astype(int)
    last = np.minimum(np.floor(high), np.array(image.shape) - 1).astype(int)
    if (first > last).any():
        return None
    part = image[first[0] : last[0] + 1, first[1] : last[1] + 1]
    if outline is Outline.ELLIPSE:
        middle, half = (low + high) / 2, np.maximum((high - low) / 2, 1e-9)
        rows, columns = np.ogrid[first[0] : last[0] + 1, first[1] : last[1] + 1]
        part = part[((rows - middle[0]) / half[0]) ** 2 + ((columns - middle[1]) / half[1]) ** 2 <= 1]
    if not part.size:
        return None
    values = part.astype(np.float64)
    return Statistics(
        mean=float(values.mean()),
        sd=float(values.std()),
        low=int(part.min()),
        high=int(part.max()),
        area=part.size * pixel[0] * pixel[1],
        pixels=part.size,
    )
