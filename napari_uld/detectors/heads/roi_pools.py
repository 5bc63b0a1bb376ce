"""From a region of an image to a few cells of features."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import RoIPool, ps_roi_pool, roi_align

from napari_uld.detectors.encoders.position_sensitive import POSITION_SENSITIVE
from napari_uld.detectors.parts import Features

# Regions of this size are pooled at stride 16: half of the usual 224, as our anchors are half as large.
CANONICAL_SIZE, CANONICAL_STRIDE = 112, 16
# RoIAlign's samples in a cell, along each axis.
SAMPLES = 2


class SingleLevelRoiPool(nn.Module):
    """Fast R-CNN's max pooling of regions from a one-level backbone.

    Parameters
    ----------
    size
        Output cells on a side.
    stride
        Input pixels per feature cell.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.pool = RoIPool(size, 1 / stride)

    def forward(self, features: Features, boxes: list[Tensor]) -> Tensor:
        """Pool all boxes of all images, (sum of boxes, channels, size, size)."""
        (level,) = features.values()
        # Under autocast features are half precision, too coarse for boxes, and the op wants one type.
        return self.pool(level.float(), boxes)


class PyramidRoiAlign(nn.Module):
    """RoIAlign from the level that fits a region's size.

    torchvision's `MultiScaleRoIAlign` does the same, but guesses the strides from the first images' unpadded sizes,
    and reads half a cell beside the cell centres that anchors and targets here speak of.

    Parameters
    ----------
    size
        Output cells on a side.
    strides
        Input pixels per cell of the levels to pool from, finest first; further levels serve proposals alone.
    """

    def __init__(self, size: int, strides: Sequence[int]) -> None:
        super().__init__()
        self.size = size
        self.strides = tuple(strides)

    def level_of(self, boxes: Tensor) -> Tensor:
        """Index (n,) of the level for boxes (n, 4): regions of `CANONICAL_SIZE` belong to stride 16."""
        sides = (boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(dim=1).sqrt()
        wanted = sides * (CANONICAL_STRIDE / CANONICAL_SIZE) / self.strides[0]
        return wanted.clamp(min=1).log2().add(1e-6).long().clamp(max=len(self.strides) - 1)

    def forward(self, features: Features, boxes: list[Tensor]) -> Tensor:
        """Pool all boxes of all images, (sum of boxes, channels, size, size)."""
        # As above: boxes need single precision, and the op one type.
        levels = [level.float() for level in list(features.values())[: len(self.strides)]]
        numbers = torch.cat([b.new_full((len(b), 1), n) for n, b in enumerate(boxes)])
        regions = torch.cat([numbers, torch.cat(boxes)], dim=1)
        chosen = self.level_of(regions[:, 1:])
        pooled = levels[0].new_zeros((len(regions), levels[0].shape[1], self.size, self.size))
        for number, (level, stride) in enumerate(zip(levels, self.strides, strict=True)):
            at_level = torch.nonzero(chosen == number)[:, 0]
            pooled = pooled.index_copy(
                0, at_level, roi_align(level, regions[at_level], self.size, 1 / stride, SAMPLES, aligned=True)
            )
        return pooled


class PositionSensitiveRoiPool(nn.Module):
    """Pools each cell of a region from the maps that belong to its place in the region.

    Parameters
    ----------
    size
        Output cells on a side.
    stride
        Input pixels per feature cell.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size = size
        self.scale = 1 / stride

    def forward(self, features: Features, boxes: list[Tensor]) -> Tensor:
        """Pool all boxes of all slabs, (sum of boxes, channels, size, size)."""
        # Under autocast features are half precision, too coarse for boxes, and the op wants one type.
        maps = features[POSITION_SENSITIVE].float()
        # The op never reads a map's last row and column: one more of each makes it read all that there are.
        return ps_roi_pool(F.pad(maps, (0, 1, 0, 1)), boxes, self.size, self.scale)
