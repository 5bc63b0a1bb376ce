"""Anchors centred on their feature cells."""

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torchvision.models.detection.anchor_utils import AnchorGenerator

from napari_uld.detectors.parts import GridSize

# Sides (px) below it count as it: their logarithm exists.
LEAST_SIDE = 1e-3


class CentredAnchorGenerator(AnchorGenerator):
    """torchvision's generator, its anchors moved from each cell's corner to its centre.

    A bounding map resized to the feature map speaks of cell centres; anchors that stand half a
    stride beside them would be labelled with their neighbour's value.

    Parameters
    ----------
    sizes, ratios
        Of each level's anchors; a ratio is height / width at one area.
    rounded
        Whether half sides are rounded to whole pixels, as torchvision's and the two-stage family's are; anchors
        that a search found for small lesions are too small for it.
    """

    def __init__(
        self, sizes: tuple[tuple[float, ...], ...], ratios: tuple[tuple[float, ...], ...], *, rounded: bool = True
    ) -> None:
        # The base class makes its anchors at once.
        self.rounded = rounded
        super().__init__(sizes, ratios)

    def generate_anchors(
        self,
        scales: list[int],
        aspect_ratios: list[float],
        dtype: torch.dtype = torch.float32,
        device: torch.device = torch.device("cpu"),  # noqa: B008
    ) -> Tensor:
        """Give a cell's anchors about (0, 0), ratio by ratio, (ratios * sizes, 4)."""
        if self.rounded:
            return super().generate_anchors(scales, aspect_ratios, dtype, device)
        sizes = torch.as_tensor(scales, dtype=dtype, device=device)
        root = torch.as_tensor(aspect_ratios, dtype=dtype, device=device).sqrt()[:, None]
        half = torch.stack([(sizes / root).flatten(), (sizes * root).flatten()], dim=1) / 2
        return torch.cat([-half, half], dim=1)

    def grid_anchors(self, grid_sizes: list[list[int]], strides: list[list[Tensor]]) -> list[Tensor]:
        """Give one (h * w * anchors, 4) tensor of edge-based boxes for each level."""
        corner = super().grid_anchors(grid_sizes, strides)
        moved = []
        for boxes, (stride_y, stride_x) in zip(corner, strides, strict=True):
            half = torch.stack([stride_x, stride_y, stride_x, stride_y]).to(boxes) / 2
            moved.append(boxes + half)
        return moved


class Grid(NamedTuple):
    """The anchors of one image.

    Parameters
    ----------
    anchors
        (n, 4) edge-based boxes, level by level, row by row, all anchors of a cell together.
    levels
        (height, width) in cells of each level.
    per_cell
        Anchors on a cell.
    strides
        Input pixels per cell of each level.
    """

    anchors: Tensor
    levels: tuple[tuple[int, int], ...]
    per_cell: int
    strides: tuple[float, ...]

    def of_cells(self, cells: Tensor) -> Tensor:
        """Indices (k * per_cell,) of all anchors on `cells` (indices over all levels' cells)."""
        offsets = torch.arange(self.per_cell, device=cells.device)
        return (cells[:, None] * self.per_cell + offsets).reshape(-1)

    @property
    def centres(self) -> Tensor:
        """(x, y) of every cell's centre in input pixels, (cells, 2)."""
        first_of_cell = self.anchors[:: self.per_cell]
        return (first_of_cell[:, :2] + first_of_cell[:, 2:]) / 2

    def level_for(self, boxes: Tensor) -> Tensor:
        """Index of the level whose anchors are nearest in size to each of `boxes` (n, 4), by ratio."""
        firsts = [0, *itertools.accumulate(height * width * self.per_cell for height, width in self.levels)][:-1]
        of_cell = torch.stack([self.anchors[first : first + self.per_cell] for first in firsts])
        sides = _log_areas(of_cell).mean(dim=1)
        return (_log_areas(boxes)[:, None] - sides).abs().argmin(dim=1)

    def level_of(self, anchors: Tensor) -> Tensor:
        """Index of the level that each of `anchors` (indices) lies on."""
        ends = torch.tensor([height * width for height, width in self.levels], device=anchors.device).cumsum(0)
        return torch.bucketize(anchors, ends * self.per_cell, right=True)

    def per_level(self, anchors: Tensor) -> Tensor:
        """How many of `anchors` (indices) lie on each level, (levels,)."""
        return torch.bincount(self.level_of(anchors), minlength=len(self.levels))

    @property
    def grid_size(self) -> GridSize:
        """How many cells there are, and anchors on each."""
        return GridSize(len(self.anchors) // self.per_cell, self.per_cell)


def _log_areas(boxes: Tensor) -> Tensor:
    return (boxes[..., 2:] - boxes[..., :2]).clamp(min=LEAST_SIDE).log().sum(dim=-1)


def make_grid(
    generator: CentredAnchorGenerator, strides: Sequence[int], size: tuple[int, int], like: Tensor | None = None
) -> Grid:
    """Give the anchors of an image.

    Parameters
    ----------
    generator
        Sizes and ratios on each level.
    strides
        Input pixels per cell of each level, finest first.
    size
        (height, width) of the padded image; a level that they do not divide has a last cell beyond it.
    like
        A tensor on the device that the anchors are wanted on; default the CPU.
    """
    like = torch.zeros(0) if like is None else like
    levels = tuple((-(-size[0] // stride), -(-size[1] // stride)) for stride in strides)
    generator.set_cell_anchors(torch.float32, like.device)
    steps = [[torch.tensor(stride, device=like.device)] * 2 for stride in strides]
    anchors = torch.cat(generator.grid_anchors([list(level) for level in levels], steps))
    return Grid(anchors, levels, generator.num_anchors_per_location()[0], tuple(float(s) for s in strides))
