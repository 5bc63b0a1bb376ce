"""Random flips and affine maps of a training image, its boxes and its masks, and how its HU are shown.

Section 3.1 of "Improving RetinaNet for CT Lesion Detection with Dense Masks from Weak RECIST Labels": flips,
rotation, shearing, scaling and translation. Noise and the window's shift are ours.
"""

from dataclasses import dataclass

import cv2
import numpy as np

from napari_uld.detectors.specs.inputs import InputSpec, Window
from napari_uld.detectors.specs.recipe import TrainingSpec
from napari_uld.inference.slabs import normalize
from napari_uld.masks import INSIDE


@dataclass(frozen=True)
class Affine:
    """An affine map about an image's centre: scaled first, then sheared, turned and moved.

    Parameters
    ----------
    rotation
        Radians, from the x axis towards the y axis.
    shear
        Radians that (x, y) lean by as the other grows.
    scale
        Factors along (x, y).
    translation
        Shares of the image's (width, height).
    """

    rotation: float = 0.0
    shear: tuple[float, float] = (0.0, 0.0)
    scale: tuple[float, float] = (1.0, 1.0)
    translation: tuple[float, float] = (0.0, 0.0)

    @property
    def linear(self) -> np.ndarray:
        """(2, 2) what it does to a vector (x, y)."""
        cos, sin = np.cos(self.rotation), np.sin(self.rotation)
        lean_x, lean_y = np.tan(self.shear)
        return np.array([[cos, -sin], [sin, cos]]) @ np.array([[1, lean_x], [lean_y, 1]]) @ np.diag(self.scale)

    def matrix(self, shape: tuple[int, ...]) -> np.ndarray:
        """(2, 3) what it does to a point (x, y, 1) of an image of (height, width); pixel i covers [i, i + 1]."""
        size = np.array(shape[::-1])
        moved = size / 2 + size * self.translation
        return np.column_stack([self.linear, moved - self.linear @ (size / 2)])


@dataclass(frozen=True)
class Exposure:
    """How an image's HU are shown otherwise than they are.

    Parameters
    ----------
    noise_hu
        Standard deviation of white noise on the slab's pixels.
    shift
        How far the window's (low, high) bounds move, in shares of its width.
    seed
        The noise is drawn from it.
    """

    noise_hu: float
    shift: tuple[float, float]
    seed: int

    def normalize(self, hu: np.ndarray, inputs: InputSpec) -> np.ndarray:
        """Show HU (slices, H, W) as a network's input (see `napari_uld.inference.slabs.normalize`)."""
        noise = np.random.default_rng(self.seed).standard_normal(hu.shape, np.float32)
        moved = [self._moved(window) for window in inputs.windows]
        shown = inputs.model_copy(update={"window": moved[0], "more_windows": tuple(moved[1:])})
        return normalize(hu + np.float32(self.noise_hu) * noise, shown)

    def _moved(self, window: Window) -> Window:
        low, high = (bound + share * (window[1] - window[0]) for bound, share in zip(window, self.shift, strict=True))
        return low, high


@dataclass(frozen=True)
class Augmentation:
    """What was drawn for one image: flips, then an affine map, and how it is shown.

    Parameters
    ----------
    horizontal, vertical
        Whether left and right, and top and bottom, are swapped.
    affine, exposure
        None where the recipe asks for none.
    along_z
        How far from the key slice its image lies, from -1 to 1 of what is the most there (see `slices_away`).
    """

    horizontal: bool = False
    vertical: bool = False
    affine: Affine | None = None
    exposure: Exposure | None = None
    along_z: float = 0.0

    def normalize(self, hu: np.ndarray, inputs: InputSpec) -> np.ndarray:
        """Show HU (slices, H, W) as a network's input."""
        return normalize(hu, inputs) if self.exposure is None else self.exposure.normalize(hu, inputs)

    def apply(
        self, image: np.ndarray, boxes: np.ndarray, masks: np.ndarray | None, fill: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray | None, np.ndarray]:
        """Augment an image and its lesions; those whose centre the affine map moves out of the image are dropped.

        Parameters
        ----------
        image
            (slices, H, W) float32.
        boxes
            (n, 4) edge-based boxes; they may reach beyond the image.
        masks
            (n, H, W) uint8 of 0 and 1, or None.
        fill
            Value of what comes in from outside the image.

        Returns
        -------
        image, boxes, masks, kept
            The same augmented, and (n,) bool: which lesions are still there.
        """
        shape = image.shape[1:]
        flipped = tuple(axis for axis, swap in ((-1, self.horizontal), (-2, self.vertical)) if swap)
        image = np.flip(image, flipped)
        masks = None if masks is None else np.flip(masks, flipped)
        boxes, kept = self.move(boxes, shape)
        if self.affine is None:
            return image, boxes, masks, kept
        matrix = self.affine.matrix(shape)
        if masks is not None:
            masks = (warp(masks[kept].astype(np.float32), matrix, 0.0) >= INSIDE).astype(np.uint8)
        return warp(image, matrix, fill), boxes, masks, kept

    def move(self, boxes: np.ndarray, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
        """Move edge-based boxes (n, 4) with their image of (height, width).

        Returns
        -------
        boxes, kept
            Those whose centres are still in the image, and (n,) bool: which they are.
        """
        boxes = flip_boxes(boxes, shape, self.horizontal, self.vertical)
        if self.affine is None:
            return boxes, np.ones(len(boxes), bool)
        boxes = move_boxes(boxes, self.affine.matrix(shape))
        centres = (boxes[:, :2] + boxes[:, 2:]) / 2
        kept = ((centres >= 0) & (centres < shape[::-1])).all(axis=1)
        return boxes[kept], kept


def draw(spec: TrainingSpec, rng: np.random.Generator) -> Augmentation:
    """Draw what a recipe asks for: the flips first, then, where any of its limits is above 0, affine map and exposure.

    Each is drawn after those that recipes asked for before it came: what they draw stays the same.
    """
    horizontal, vertical = rng.random(2) < (spec.horizontal_flip, spec.vertical_flip)
    affine, exposure = _draw_affine(spec, rng), _draw_exposure(spec, rng)
    along_z = float(rng.uniform(-1, 1)) if spec.z_shift else 0.0
    return Augmentation(bool(horizontal), bool(vertical), affine, exposure, along_z)


def _draw_affine(spec: TrainingSpec, rng: np.random.Generator) -> Affine | None:
    limits = np.array([spec.rotation, *[spec.shear] * 2, *[spec.scale] * 2, *[spec.translation] * 2])
    if not limits.any():
        return None
    turn, lean_x, lean_y, grow_x, grow_y, move_x, move_y = (float(v) for v in rng.uniform(-limits, limits))
    return Affine(turn, (lean_x, lean_y), (1 + grow_x, 1 + grow_y), (move_x, move_y))


def _draw_exposure(spec: TrainingSpec, rng: np.random.Generator) -> Exposure | None:
    if not spec.noise_hu and not spec.window_shift:
        return None
    noise = float(rng.uniform(0, spec.noise_hu))
    low, high = (float(v) for v in rng.uniform(-spec.window_shift, spec.window_shift, 2))
    return Exposure(noise, (low, high), int(rng.integers(2**63)))


def slices_away(along_z: float, most: int) -> int:
    """Slices from the key slice: of -`most` to `most` the nearer the more often, falling linearly.

    Parameters
    ----------
    along_z
        Drawn evenly from -1 to 1.
    """
    shares = np.arange(most + 1, 0, -1).cumsum() / ((most + 1) * (most + 2) / 2)
    return int(np.sign(along_z) * np.searchsorted(shares, abs(along_z)))


def flip_boxes(boxes: np.ndarray, shape: tuple[int, ...], horizontal: bool, vertical: bool) -> np.ndarray:
    """Swap left and right, top and bottom of edge-based boxes (n, 4) in an image of (height, width)."""
    height, width = shape
    if horizontal:
        boxes = np.stack([width - boxes[:, 2], boxes[:, 1], width - boxes[:, 0], boxes[:, 3]], axis=1)
    if vertical:
        boxes = np.stack([boxes[:, 0], height - boxes[:, 3], boxes[:, 2], height - boxes[:, 1]], axis=1)
    return boxes


def move_boxes(boxes: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Map edge-based boxes (n, 4) by `matrix` (2, 3): the box about the image of the ellipse inscribed in each.

    A lesion seldom reaches into the corners of its box. The box about the mapped corners would count them as
    lesion: it is a tenth longer and wider after a turn by .1 radians. The ellipse's image under the linear part
    [[a, b], [c, d]] has half extents sqrt((a w/2)^2 + (b h/2)^2) and sqrt((c w/2)^2 + (d h/2)^2).
    """
    linear, offset = matrix[:, :2], matrix[:, 2]
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 @ linear.T + offset
    halves = np.sqrt(((boxes[:, 2:] - boxes[:, :2]) / 2) ** 2 @ (linear**2).T)
    return np.concatenate([centres - halves, centres + halves], axis=1)


def warp(images: np.ndarray, matrix: np.ndarray, fill: float) -> np.ndarray:
    """Map float32 images (n, H, W) by `matrix` (2, 3), linearly interpolated; `fill` comes in from outside."""
    height, width = images.shape[1:]
    # The matrix counts from pixels' edges, OpenCV from their centres: p + .5 -> M (p + .5) - .5.
    centred = matrix.copy()
    centred[:, 2] += matrix[:, :2].sum(axis=1) / 2 - 0.5
    warped = np.empty(images.shape, np.float32)
    # One by one: of several channels OpenCV interpolates only three or four exactly, and none faster.
    for image, out in zip(images, warped, strict=True):
        cv2.warpAffine(
            np.ascontiguousarray(image),
            centred,
            (width, height),
            dst=out,
            flags=cv2.INTER_LINEAR,
            borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )
    return warped
