"""From a scan to a network's input and back: neighbouring slices on a fixed grid, cropped to the body."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.lesions.axis_map import AxisMap

# Rows and columns (top, bottom, left, right; ends excluded).
Box = tuple[int, int, int, int]
# Air is -1000 HU, fat about -100: everything above belongs to the body, its clothes or the table.
BODY_HU = -400
# Objects thinner than this on the search grid (table tops, tubes) do not count as body.
BODY_OPENING_MM = 12.0
BODY_SEARCH_MM = 3.0
BODY_MARGIN_MM = 8.0
# Parts with at least this share of the largest one's area belong to the body too.
BODY_PART_SHARE = 0.05


@dataclass(frozen=True, eq=False)
class Slab:
    """Neighbouring slices of one key slice, in HU, and where they lie in the scan.

    Parameters
    ----------
    hu
        (slices, H, W) float32, the key slice in the middle.
    axes
        Where the crop lies in the slice, along (x, y).
    spacing
        Millimetres along (z, y, x) of the scan itself.
    """

    hu: np.ndarray
    axes: AxisMap
    spacing: tuple[float, float, float]

    @property
    def thickness(self) -> float:
        """Millimetres between the scan's own slices."""
        return self.spacing[0]

    @property
    def pixel_area(self) -> float:
        """Area of the slab's pixels in mm^2."""
        return self.spacing[1] * self.spacing[2] / math.prod(self.axes.scale)


def extract_slab(hu: np.ndarray, spacing: tuple[float, float, float], z: int, spec: InputSpec) -> Slab:
    """Sample the slices that a network wants to see around slice `z`.

    Slices between the scan's own are interpolated linearly, each with its own weights; a
    neighbour beyond the scan's end is replaced by the end slice.

    Parameters
    ----------
    hu
        (z, y, x) scan, or the part of it around `z`.
    spacing
        Millimetres along (z, y, x).
    z
        Index of the key slice.
    """
    steps = np.arange(spec.slices) - spec.slices // 2
    positions = np.clip(z + steps * spec.step_mm(spacing[0]) / spacing[0], 0, len(hu) - 1)
    crop = body_crop(hu[z : z + 1], spacing, spec)
    return _slab(hu, spacing, positions, crop, spec)


class ScanGrid:
    """A scan at positions one interval apart, in one crop, so that slabs share their images.

    The crop holds the body's box of every slice: a projection of all slices would join thin oblique
    objects (tubes, the table's ends) to something thick enough for a body.

    Parameters
    ----------
    hu
        (z, y, x) scan.
    spacing
        Millimetres along (z, y, x).
    spec
        What the network wants to see.
    """

    def __init__(self, hu: np.ndarray, spacing: tuple[float, float, float], spec: InputSpec) -> None:
        self.hu = hu
        self.spacing = spacing
        self.spec = spec
        self.crop = body_crop(hu, spacing, spec)
        self.step_mm = spec.step_mm(spacing[0])
        # The grid's position nearest to each slice: (z,), never more than half an interval away.
        self.nearest = np.rint(np.arange(len(hu)) * spacing[0] / self.step_mm).astype(int)

    def window(self, centre: int, slices: int) -> Slab:
        """Sample an odd number of `slices` around a position; beyond the grid's ends its end is repeated."""
        steps = np.arange(slices) - slices // 2
        positions = np.clip(centre + steps, 0, self.nearest[-1]) * self.step_mm / self.spacing[0]
        return _slab(self.hu, self.spacing, np.minimum(positions, len(self.hu) - 1), self.crop, self.spec)

    def image_centres(self, keys: np.ndarray) -> np.ndarray:
        """Centres (n, images) of a window's images of the slabs around `keys` (n,).

        Images wholly beyond an end are all the same: they share one centre.
        """
        width = self.spec.slices_per_image
        count = self.spec.images_per_window
        steps = (np.arange(count) - count // 2) * width
        return np.clip(keys[:, None] + steps, -(width // 2), self.nearest[-1] + width // 2)


def normalize(hu: np.ndarray, spec: InputSpec) -> np.ndarray:
    """Clip HU (slices, H, W) to each window, scale it to [0, `value_range`] and subtract the mean; float32.

    Several windows follow one another: (windows * slices, H, W).
    """
    seen = [
        (np.clip(hu, low, high) - low) * np.float32(spec.value_range / (high - low)) - np.float32(spec.mean)
        for low, high in spec.windows
    ]
    return seen[0] if len(seen) == 1 else np.concatenate(seen)


def body_box(hu: np.ndarray, spacing: tuple[float, float]) -> Box:
    """Rows and columns around the body on all slices together.

    Parameters
    ----------
    hu
        (z, y, x) slices.
    spacing
        Millimetres along (y, x).

    Returns
    -------
    Box
        The whole slice where nothing is found on any.
    """
    boxes = [box for image in hu if (box := _body_on(image, spacing)) is not None]
    if not boxes:
        return 0, hu.shape[1], 0, hu.shape[2]
    top, bottom, left, right = zip(*boxes, strict=True)
    return min(top), max(bottom), min(left), max(right)


def _body_on(hu: np.ndarray, spacing: tuple[float, float]) -> Box | None:
    height, width = hu.shape
    small = cv2.resize(
        hu.astype(np.float32),
        (max(1, round(width * spacing[1] / BODY_SEARCH_MM)), max(1, round(height * spacing[0] / BODY_SEARCH_MM))),
        interpolation=cv2.INTER_AREA,
    )
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (int(BODY_OPENING_MM / BODY_SEARCH_MM) + 1,) * 2)
    mask = cv2.morphologyEx((small > BODY_HU).astype(np.uint8), cv2.MORPH_OPEN, kernel)
    count, _, stats, _ = cv2.connectedComponentsWithStats(mask)
    if count < 2:
        return None
    parts = stats[1:]
    # Both legs, or the arms beside the trunk, are parts of one body.
    parts = parts[parts[:, cv2.CC_STAT_AREA] >= BODY_PART_SHARE * parts[:, cv2.CC_STAT_AREA].max()]
    x, y = parts[:, 0], parts[:, 1]
    left, top = (np.array([x.min(), y.min()]) * BODY_SEARCH_MM - BODY_MARGIN_MM) / spacing[::-1]
    right, bottom = (
        np.array([(x + parts[:, 2]).max(), (y + parts[:, 3]).max()]) * BODY_SEARCH_MM + BODY_MARGIN_MM
    ) / spacing[::-1]
    return max(0, int(top)), min(height, int(np.ceil(bottom))), max(0, int(left)), min(width, int(np.ceil(right)))


def body_crop(hu: np.ndarray, spacing: tuple[float, float, float], spec: InputSpec) -> Box:
    """Rows and columns that a network sees of slices (z, y, x): see `body_box`."""
    return body_box(hu, spacing[1:]) if spec.crop_to_body else (0, hu.shape[1], 0, hu.shape[2])


def _slab(
    hu: np.ndarray, spacing: tuple[float, float, float], positions: np.ndarray, crop: Box, spec: InputSpec
) -> Slab:
    top, bottom, left, right = crop
    # Both axes shrink alike when the long side is too long.
    longest = max((bottom - top) * spacing[1], (right - left) * spacing[2])
    slices, scale = sample(hu, spacing, positions, crop, pixel_mm=max(spec.spacing_mm, longest / spec.long_side))
    return Slab(slices, AxisMap((left, top), scale), spacing)


def sample(
    hu: np.ndarray, spacing: tuple[float, float, float], positions: np.ndarray, crop: Box, *, pixel_mm: float
) -> tuple[np.ndarray, tuple[float, float]]:
    """Interpolate slices at `positions`, indices of `hu` that need not be whole, within a crop.

    Returns
    -------
    slices, scale
        (positions, H, W) float32, and (x, y) pixels per native pixel: every size is at least one pixel.
    """
    top, bottom, left, right = crop
    height, width = (bottom - top) * spacing[1], (right - left) * spacing[2]
    size = (max(1, round(width / pixel_mm)), max(1, round(height / pixel_mm)))
    cropped = {int(i): _resize(hu[i, top:bottom, left:right], size) for i in _neighbours(positions)}
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, len(hu) - 1)
    slices = [
        cropped[a] if share == 0 else (1 - share) * cropped[a] + share * cropped[b]
        for a, b, share in zip(low, high, positions - low, strict=True)
    ]
    return np.stack(slices).astype(np.float32), (size[0] / (right - left), size[1] / (bottom - top))


def _neighbours(positions: np.ndarray) -> np.ndarray:
    """Slices that have a share in any of the positions."""
    return np.unique(np.concatenate([np.floor(positions), np.ceil(positions)])).astype(int)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height): averaging when shrinking, linear when growing."""
    shrinking = size[0] < image.shape[1]
    return cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
