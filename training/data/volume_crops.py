"""Where a training crop lies in a scan at the network's spacing, and how it is turned, grown and flipped there."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F

from napari_uld.inference.volumes import AIR_HU

from .augment import Affine, flip_boxes, move_boxes

# Columns of a box (x1, y1, z1, x2, y2, z2) in the axial plane, and along z.
IN_PLANE, ALONG_Z = [0, 1, 3, 4], [2, 5]


@dataclass(frozen=True)
class Placement:
    """A crop of a scan; positions are edge-based voxels.

    Parameters
    ----------
    first
        Its first voxel (z, y, x) in the scan; it may lie beyond.
    size
        Its (D, H, W).
    affine
        What is done to its axial planes, about their middle.
    growth
        How much longer things become along z, about its middle; read with `affine` alone.
    horizontal, vertical
        Whether left and right, and top and bottom, are swapped at last.
    """

    first: tuple[int, int, int]
    size: tuple[int, int, int]
    affine: Affine | None = None
    growth: float = 1.0
    horizontal: bool = False
    vertical: bool = False

    def cut(self, whole: np.ndarray) -> np.ndarray:
        """The crop (D, H, W) float32 of a scan (z, y, x) of HU, or of its phases; air lies beyond the scan."""
        if whole.ndim > 3:
            return np.stack([self.cut(phase) for phase in whole])
        hu = self._straight(whole) if self.affine is None else self._sampled(whole, self.affine)
        flipped = tuple(axis for axis, swap in ((2, self.horizontal), (1, self.vertical)) if swap)
        return np.flip(hu, flipped)

    def move(self, boxes: np.ndarray) -> np.ndarray:
        """The scan's boxes (n, 6) in the crop; they may reach beyond it."""
        moved = boxes - np.tile(self.first[::-1], 2)
        shape = self.size[1:]
        if self.affine is not None:
            moved[:, IN_PLANE] = move_boxes(moved[:, IN_PLANE], self.affine.matrix(shape))
            middle = self.size[0] / 2
            moved[:, ALONG_Z] = (moved[:, ALONG_Z] - middle) * self.growth + middle
        moved[:, IN_PLANE] = flip_boxes(moved[:, IN_PLANE], shape, self.horizontal, self.vertical)
        return moved

    def _straight(self, whole: np.ndarray) -> np.ndarray:
        first, size = np.array(self.first), np.array(self.size)
        hu = np.full(self.size, AIR_HU, np.float32)
        low, high = np.clip(first, 0, whole.shape), np.clip(first + size, 0, whole.shape)
        inside = tuple(slice(a, b) for a, b in zip(low - first, high - first, strict=True))
        hu[inside] = whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))]
        return hu

    def _sampled(self, whole: np.ndarray, affine: Affine) -> np.ndarray:
        """Every voxel of the crop from where it comes from, trilinearly and once."""
        depth, height, width = self.size
        matrix = affine.matrix((height, width))
        x, y = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
        inverse = np.linalg.inv(matrix[:, :2])
        # (H, W, 2) and (D,): positions in the scan.
        plane = (np.stack([x, y], axis=-1) - matrix[:, 2]) @ inverse.T + self.first[:0:-1]
        along = (np.arange(depth) + 0.5 - depth / 2) / self.growth + depth / 2 + self.first[0]
        reach = [(along.min(), along.max()), *((plane[..., k].min(), plane[..., k].max()) for k in (1, 0))]
        # The part that is read, and one voxel about it to interpolate with.
        low = [int(np.clip(np.floor(a) - 1, 0, n - 1)) for (a, _), n in zip(reach, whole.shape, strict=True)]
        high = [int(np.clip(np.ceil(b) + 1, a + 1, n)) for (_, b), a, n in zip(reach, low, whole.shape, strict=True)]
        part = whole[tuple(slice(a, b) for a, b in zip(low, high, strict=True))].astype(np.float32)
        grid = np.empty((*self.size, 3), np.float32)
        for column, (values, axis) in enumerate(((plane[..., 0], 2), (plane[..., 1], 1), (along[:, None, None], 0))):
            grid[..., column] = 2 * (values - low[axis]) / part.shape[axis] - 1
        # What grid_sample finds beyond is 0: air.
        above_air = torch.from_numpy(part - np.float32(AIR_HU))[None, None]
        sampled = F.grid_sample(above_air, torch.from_numpy(grid)[None], mode="bilinear", align_corners=False)
        return sampled[0, 0].numpy() + np.float32(AIR_HU)
