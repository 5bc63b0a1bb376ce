"""Anchors conditioned on bounding maps.

Targets hold ``boxes`` (n, 4), edge-based, ``bm`` (H, W) and ``lesion_bms`` (n, H, W) at the input's resolution.

"The BMC paper" is Li et al., "Conditional Training with Bounding Map for Universal Lesion Detection".
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.losses.iou import IouObjectness, paired_iou
from napari_uld.detectors.losses.samples import (
    Matched,
    ObjectnessSample,
    RegressionSample,
    centres_within,
    draw_background,
)
from napari_uld.detectors.parts import Target

# Floating-point slack: a border pixel's value is .5 up to rounding.
EPSILON = 1e-6
# A cell belongs to a lesion from this value of its map on (eq. 6).
FOREGROUND = 0.5
# BM's IoU for positive anchors: its paper says only that it is lower than the usual one.
BM_POSITIVE_IOU = 0.5
# Background cells to learn from where an image has no foreground.
BACKGROUND_WITHOUT_LESION = 64


class BmObjectness:
    """Bounding maps as soft labels of anchors picked by IoU ("BM", the BMC paper's reference [11]).

    A positive anchor's label is the map's value at its centre: the paper only names the idea, so where
    the value is read is ours. A forced match whose centre lies outside its box has the map's 0 there.
    """

    def __init__(self, samples: int) -> None:
        self.hard = IouObjectness(samples)

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> ObjectnessSample:
        """Pick anchors of one image."""
        picked = self.hard(grid, target, matched)
        return picked._replace(labels=picked.labels * values_at_centres(target["bm"], grid.anchors[picked.anchors]))


class BmcObjectness:
    """The bounding map itself is the objectness map's target (eqs. 6 and 7 of the BMC paper).

    Foreground cells have a value of at least .5; at most twice as many background cells are drawn. Cells whose centre
    lies in an ignored box are no background.

    Parameters
    ----------
    by_size
        A lesion's map stands on the level of its size alone (see `Grid.level_for`), instead of on every one.
    """

    def __init__(self, *, by_size: bool = False) -> None:
        self.by_size = by_size

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> ObjectnessSample:
        """Pick anchors of one image, all anchors of a cell alike."""
        values = level_values(target, grid) if self.by_size else grid_values(target["bm"], grid)
        foreground = torch.nonzero(values >= FOREGROUND - EPSILON)[:, 0]
        below = values < FOREGROUND - EPSILON
        if "ignored" in target:
            below &= ~centres_within(grid.centres, target["ignored"])
        background = torch.nonzero(below)[:, 0]
        wanted = 2 * len(foreground) if len(foreground) else BACKGROUND_WITHOUT_LESION
        first = centres_within(grid.centres, target["negatives"]) if "negatives" in target else None
        cells = torch.cat([foreground, draw_background(background, first, wanted)])
        labels = values[cells].repeat_interleave(grid.per_cell)
        return ObjectnessSample(grid.of_cells(cells), labels, grid.of_cells(foreground))


class BmcRegression:
    """Boxes on every anchor whose cell lies well inside a lesion's bounding map (eqs. 8 and 9 of the same paper).

    Parameters
    ----------
    boundary
        B: a cell counts for a lesion from this value on.
    small_area
        Lesions smaller than this need .5 instead.
    area_in_cells
        Whether `small_area` is counted in cells of the level, or in input pixels.
    anchor_iou
        Anchors that overlap their lesion less than this are left out; 0 takes all, as eq. 8 does.
    by_size
        A lesion teaches the level of its size alone, instead of every one.
    """

    def __init__(
        self, *, boundary: float, small_area: float, area_in_cells: bool, anchor_iou: float, by_size: bool = False
    ) -> None:
        self.boundary = boundary
        self.small_area = small_area
        self.area_in_cells = area_in_cells
        self.anchor_iou = anchor_iou
        self.by_size = by_size

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> RegressionSample:
        """Pick anchors of one image: each cell goes to the lesion of highest value, the smaller one in a tie."""
        levels: list[Tensor | None] = [None] * len(grid.levels)
        if self.by_size:
            level_for = grid.level_for(target["boxes"])
            levels = [level_for == number for number in range(len(grid.levels))]
        owner = torch.cat([self.owners(target, *each) for each in zip(grid.levels, grid.strides, levels, strict=True)])
        cells = torch.nonzero(owner >= 0)[:, 0]
        lesions = owner[cells].repeat_interleave(grid.per_cell)
        anchors = grid.of_cells(cells)
        if self.anchor_iou > 0:
            overlapping = paired_iou(target["boxes"][lesions], grid.anchors[anchors]) >= self.anchor_iou
            anchors, lesions = anchors[overlapping], lesions[overlapping]
        return RegressionSample(anchors, lesions, float(max(len(anchors), 1)))

    def owners(self, target: Target, level: tuple[int, int], stride: float, taught: Tensor | None = None) -> Tensor:
        """Index of the lesion that owns each cell of a level, (h * w,), -1 where none does.

        Parameters
        ----------
        taught
            (n,) bool: the lesions that teach this level; default all.
        """
        boxes = target["boxes"]
        if not len(boxes):
            return torch.full((level[0] * level[1],), -1, device=boxes.device)
        values = cell_values(target["lesion_bms"], level)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        size = area / stride**2 if self.area_in_cells else area
        threshold = torch.where(size >= self.small_area, self.boundary, FOREGROUND)
        inside = values >= threshold[:, None] - EPSILON
        # A lesion that no cell belongs to gets the cell its centre lies in.
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
        column = centre[:, 0].long().clamp(0, level[1] - 1)
        row = centre[:, 1].long().clamp(0, level[0] - 1)
        missing = ~inside.any(dim=1)
        if taught is not None:
            inside &= taught[:, None]
            missing &= taught
        missed = torch.nonzero(missing)[:, 0]
        nearest = (row * level[1] + column)[missed]
        inside[missed, nearest] = True
        values[missed, nearest] = 1.0
        # argmax takes the first of equals: with the smallest lesion first, ties go to it.
        smallest_first = torch.argsort(area, stable=True)
        best = torch.where(inside, values, -1.0)[smallest_first].max(dim=0)
        return torch.where(best.values >= 0, smallest_first[best.indices], -1)


def cell_values(maps: Tensor, level: tuple[int, int]) -> Tensor:
    """Resize maps (n, H, W) to a level's cells by averaging over each cell, (n, h * w)."""
    if not len(maps):
        return maps.new_zeros((0, level[0] * level[1]))
    resized = F.interpolate(maps[:, None], size=level, mode="bilinear", align_corners=False, antialias=True)
    return resized[:, 0].flatten(1)


def grid_values(values: Tensor, grid: Grid) -> Tensor:
    """Value of a map (H, W) at each cell of all levels, (cells,)."""
    return torch.cat([cell_values(values[None], level)[0] for level in grid.levels])


def level_values(target: Target, grid: Grid) -> Tensor:
    """Value of the lesions' maps at each cell, each on its size's level alone, of several the highest, (cells,)."""
    level_for = grid.level_for(target["boxes"])
    maps = target["lesion_bms"]
    joined = [
        maps[level_for == number].amax(dim=0) if (level_for == number).any() else torch.zeros_like(target["bm"])
        for number in range(len(grid.levels))
    ]
    return torch.cat([cell_values(each[None], level)[0] for each, level in zip(joined, grid.levels, strict=True)])


def values_at_centres(values: Tensor, boxes: Tensor) -> Tensor:
    """Value of a map (H, W) at the pixel that holds each box's centre, (n,)."""
    height, width = values.shape
    x = ((boxes[:, 0] + boxes[:, 2]) / 2).long().clamp(0, width - 1)
    y = ((boxes[:, 1] + boxes[:, 3]) / 2).long().clamp(0, height - 1)
    return values[y, x]
