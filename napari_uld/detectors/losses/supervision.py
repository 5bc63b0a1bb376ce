"""Which anchors teach the proposal network, and what: by IoU, or conditioned on bounding maps.

Each part is called with an image's `Grid` and target and picks anchors on its own, so that any
objectness part goes with any regression part. Targets hold ``boxes`` (n, 4), edge-based; the
bounding-map parts also read ``bm`` (H, W) and ``lesion_bms`` (n, H, W) at the input's resolution.

"The BMC paper" is Li et al., "Conditional Training with Bounding Map for Universal Lesion Detection".
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from napari_uld.detectors.heads.anchors import Grid

Target = dict[str, Tensor]

# Floating-point slack: a border pixel's value is .5 up to rounding.
EPSILON = 1e-6
# BM's IoU for positive anchors: its paper says only that it is lower than the usual one.
BM_POSITIVE_IOU = 0.5
# Background cells to learn from where an image has no foreground.
BACKGROUND_WITHOUT_LESION = 64


class ObjectnessSample(NamedTuple):
    """Anchors (k,) to learn objectness on, their (k,) labels in [0, 1], and all positive anchors, drawn or not."""

    anchors: Tensor
    labels: Tensor
    positives: Tensor


class RegressionSample(NamedTuple):
    """Anchors (k,) to learn boxes on, their (k, 4) boxes, and what to divide the summed loss by."""

    anchors: Tensor
    boxes: Tensor
    normalizer: float


class Objectness(Protocol):
    """Picks anchors to learn objectness on."""

    def __call__(self, grid: Grid, target: Target) -> ObjectnessSample:
        """Pick anchors of one image."""


class Regression(Protocol):
    """Picks anchors to learn boxes on."""

    def __call__(self, grid: Grid, target: Target) -> RegressionSample:
        """Pick anchors of one image."""


class IouMatching:
    """Faster R-CNN's rule: positive above one IoU or best for a box, negative below another.

    Parameters
    ----------
    positive, negative
        IoU thresholds.
    samples
        Anchors taken from an image, at most half of them positive.
    """

    def __init__(self, *, positive: float, negative: float, samples: int) -> None:
        self.matcher = Matcher(positive, negative, allow_low_quality_matches=True)
        self.samples = samples

    def match(self, grid: Grid, target: Target) -> Tensor:
        """Index of each anchor's box, -1 for background and -2 for neither."""
        if not len(target["boxes"]):
            return torch.full((len(grid.anchors),), Matcher.BELOW_LOW_THRESHOLD, device=grid.anchors.device)
        overlap = box_iou(target["boxes"], grid.anchors)
        matched = self.matcher(overlap)
        # A box that no anchor overlaps would force all of them: each is its best match, at 0.
        return torch.where(overlap.max(dim=0).values > 0, matched, Matcher.BELOW_LOW_THRESHOLD)

    def positives(self, matched: Tensor) -> Tensor:
        """Up to half of the samples, drawn from the positive anchors."""
        return _draw(torch.nonzero(matched >= 0)[:, 0], self.samples // 2)


class IouObjectness:
    """Objectness 1 on positive and 0 on negative anchors, balanced (see `IouMatching`)."""

    def __init__(self, matching: IouMatching) -> None:
        self.matching = matching

    def __call__(self, grid: Grid, target: Target) -> ObjectnessSample:
        """Pick anchors of one image."""
        matched = self.matching.match(grid, target)
        positive = self.matching.positives(matched)
        background = torch.nonzero(matched == Matcher.BELOW_LOW_THRESHOLD)[:, 0]
        negative = _draw(background, self.matching.samples - len(positive))
        labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).to(grid.anchors.device)
        return ObjectnessSample(torch.cat([positive, negative]), labels, torch.nonzero(matched >= 0)[:, 0])


class BmObjectness:
    """Bounding maps as soft labels of anchors picked by IoU ("BM", the BMC paper's reference [11]).

    A positive anchor's label is the map's value at its centre: the paper only names the idea, so where
    the value is read is ours. A forced match whose centre lies outside its box has the map's 0 there.
    """

    def __init__(self, matching: IouMatching) -> None:
        self.hard = IouObjectness(matching)

    def __call__(self, grid: Grid, target: Target) -> ObjectnessSample:
        """Pick anchors of one image."""
        picked = self.hard(grid, target)
        return picked._replace(labels=picked.labels * values_at_centres(target["bm"], grid.anchors[picked.anchors]))


class IouRegression:
    """Boxes on positive anchors, the loss divided by the sample size (see `IouMatching`)."""

    def __init__(self, matching: IouMatching) -> None:
        self.matching = matching

    def __call__(self, grid: Grid, target: Target) -> RegressionSample:
        """Pick anchors of one image."""
        matched = self.matching.match(grid, target)
        positive = self.matching.positives(matched)
        return RegressionSample(positive, target["boxes"][matched[positive]], float(self.matching.samples))


class BmcObjectness:
    """The bounding map itself is the objectness map's target (eqs. 6 and 7 of the BMC paper).

    Foreground cells have a value of at least .5; at most twice as many background cells are drawn.
    """

    def __call__(self, grid: Grid, target: Target) -> ObjectnessSample:
        """Pick anchors of one image, all anchors of a cell alike."""
        values = torch.cat([cell_values(target["bm"][None], level)[0] for level in grid.levels])
        foreground = torch.nonzero(values >= 0.5 - EPSILON)[:, 0]
        background = torch.nonzero(values < 0.5 - EPSILON)[:, 0]
        wanted = 2 * len(foreground) if len(foreground) else BACKGROUND_WITHOUT_LESION
        cells = torch.cat([foreground, _draw(background, wanted)])
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
    """

    def __init__(self, *, boundary: float, small_area: float, area_in_cells: bool, anchor_iou: float) -> None:
        self.boundary = boundary
        self.small_area = small_area
        self.area_in_cells = area_in_cells
        self.anchor_iou = anchor_iou

    def __call__(self, grid: Grid, target: Target) -> RegressionSample:
        """Pick anchors of one image: each cell goes to the lesion of highest value, the smaller one in a tie."""
        boxes = target["boxes"]
        owner = torch.cat(
            [self.owners(target, level, stride) for level, stride in zip(grid.levels, grid.strides, strict=True)]
        )
        cells = torch.nonzero(owner >= 0)[:, 0]
        matched = boxes[owner[cells]].repeat_interleave(grid.per_cell, dim=0)
        anchors = grid.of_cells(cells)
        if self.anchor_iou > 0:
            overlapping = paired_iou(matched, grid.anchors[anchors]) >= self.anchor_iou
            anchors, matched = anchors[overlapping], matched[overlapping]
        return RegressionSample(anchors, matched, float(max(len(anchors), 1)))

    def owners(self, target: Target, level: tuple[int, int], stride: float) -> Tensor:
        """Index of the lesion that owns each cell of a level, (h * w,), -1 where none does."""
        boxes = target["boxes"]
        if not len(boxes):
            return torch.full((level[0] * level[1],), -1, device=boxes.device)
        values = cell_values(target["lesion_bms"], level)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        size = area / stride**2 if self.area_in_cells else area
        threshold = torch.where(size >= self.small_area, self.boundary, 0.5)
        inside = values >= threshold[:, None] - EPSILON
        # A lesion that no cell belongs to gets the cell its centre lies in.
        centre = (boxes[:, :2] + boxes[:, 2:]) / 2 / stride
        column = centre[:, 0].long().clamp(0, level[1] - 1)
        row = centre[:, 1].long().clamp(0, level[0] - 1)
        missed = torch.nonzero(~inside.any(dim=1))[:, 0]
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


def values_at_centres(values: Tensor, boxes: Tensor) -> Tensor:
    """Value of a map (H, W) at the pixel that holds each box's centre, (n,)."""
    height, width = values.shape
    x = ((boxes[:, 0] + boxes[:, 2]) / 2).long().clamp(0, width - 1)
    y = ((boxes[:, 1] + boxes[:, 3]) / 2).long().clamp(0, height - 1)
    return values[y, x]


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (n,) of row i of one (n, 4) with row i of the other."""
    size = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    shared = size.prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared)


def _draw(indices: Tensor, most: int) -> Tensor:
    """At most `most` of `indices`, drawn without replacement."""
    return indices[torch.randperm(len(indices), device=indices.device)[:most]]
