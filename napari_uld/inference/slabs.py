"""From a scan to a network's input and back: a slice and its neighbours, cropped to the body."""

import math
from dataclasses import dataclass
from typing import NamedTuple

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
# Where neighbours share images, crops end on multiples of it: a body's outline then changes its crop every few
# centimetres, and the crop grows by a twelfth.
CROP_CELL_MM = 16.0
# Parts with at least this share of the largest one's area belong to the body too.
BODY_PART_SHARE = 0.05


class SlabImage(NamedTuple):
    """An image of a slab: what is the same in two slabs of a scan is the same image.

    Parameters
    ----------
    crop
        Rows and columns.
    positions
        Its slices, as indices of the scan's; they need not be whole.
    """

    crop: Box
    positions: tuple[float, ...]

    @property
    def centre(self) -> float:
        """The middle slice."""
        return self.positions[len(self.positions) // 2]


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
    images
        Its images in one window, one after the other.
    """

    hu: np.ndarray
    axes: AxisMap
    spacing: tuple[float, float, float]
    images: tuple[SlabImage, ...]

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
    # Rounded, so that what two slabs mean by one place is the same number.
    positions = np.clip(np.round(z + slab_offsets(spacing[0], spec), 6), 0, len(hu) - 1)
    crop = body_crop(hu[z : z + 1], spacing, spec)
    top, bottom, left, right = crop
    # Both axes shrink alike when the long side is too long. What cells add to it on average does not count.
    grown = CROP_CELL_MM if spec.share_images and spec.crop_to_body else 0.0
    longest = max((bottom - top) * spacing[1], (right - left) * spacing[2]) - grown
    pixel_mm = max(spec.spacing_mm, longest / spec.long_side)
    slices, scale = sample(hu, spacing, positions.ravel(), crop, pixel_mm=pixel_mm)
    images = tuple(SlabImage(crop, tuple(image)) for image in positions.tolist())
    return Slab(slices, AxisMap((left, top), scale), spacing, images)


def slab_offsets(thickness: float, spec: InputSpec) -> np.ndarray:
    """Where the slices of a slab lie, as (images, slices of an image) of a window.

    Parameters
    ----------
    thickness
        Millimetres between the scan's own slices.

    Returns
    -------
    np.ndarray
        Slices of the scan from the key slice, which need not be whole. With `InputSpec.share_images` an image's middle
        is: the slice nearest to where it should lie.
    """
    step = spec.step_mm(thickness) / thickness
    width, count = spec.slices_per_image, spec.images_per_window
    middles = (np.arange(count) - count // 2) * width * step
    if spec.share_images:
        middles = np.rint(middles)
    return middles[:, None] + (np.arange(width) - width // 2) * step


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
    """Rows and columns that a network sees of slices (z, y, x): see `body_box`.

    With `InputSpec.share_images` they end on a grid of `CROP_CELL_MM`, as those of most neighbours then do.
    """
    if not spec.crop_to_body:
        return 0, hu.shape[1], 0, hu.shape[2]
    box = body_box(hu, spacing[1:])
    return _on_cells(box, spacing[1:], (hu.shape[1], hu.shape[2])) if spec.share_images else box


def _on_cells(box: Box, spacing: tuple[float, float], shape: tuple[int, int]) -> Box:
    """Grow a box until it ends on cells counted from the slice's corner, or with the slice."""
    (rows, columns), (top, bottom, left, right) = (CROP_CELL_MM / mm for mm in spacing), box
    return (
        int(top // rows * rows),
        min(shape[0], math.ceil(-(-bottom // rows) * rows)),
        int(left // columns * columns),
        min(shape[1], math.ceil(-(-right // columns) * columns)),
    )


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
    size = sampled_size(spacing, crop, pixel_mm)
    cropped = {int(i): _resize(hu[i, top:bottom, left:right], size) for i in _neighbours(positions)}
    low = np.floor(positions).astype(int)
    high = np.minimum(low + 1, len(hu) - 1)
    slices = [
        cropped[a] if share == 0 else (1 - share) * cropped[a] + share * cropped[b]
        for a, b, share in zip(low, high, positions - low, strict=True)
    ]
    return np.stack(slices).astype(np.float32), (size[0] / (right - left), size[1] / (bottom - top))


def sampled_size(spacing: tuple[float, float, float], crop: Box, pixel_mm: float) -> tuple[int, int]:
    """(width, height) of slices that `sample` gives: at least one pixel."""
    top, bottom, left, right = crop
    height, width = (bottom - top) * spacing[1], (right - left) * spacing[2]
    return max(1, round(width / pixel_mm)), max(1, round(height / pixel_mm))


def _neighbours(positions: np.ndarray) -> np.ndarray:
    """Slices that have a share in any of the positions."""
    return np.unique(np.concatenate([np.floor(positions), np.ceil(positions)])).astype(int)


def _resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize to (width, height): averaging when shrinking, linear when growing."""
    shrinking = size[0] < image.shape[1]
    return cv2.resize(image.astype(np.float32), size, interpolation=cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR)
