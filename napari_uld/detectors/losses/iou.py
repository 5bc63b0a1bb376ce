"""Anchors by their IoU with lesions: Faster R-CNN's rule, and RetinaNet's."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor
from torchvision.models.detection._utils import Matcher
from torchvision.ops import box_iou

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.losses.samples import Matched, ObjectnessSample, RegressionSample, draw, draw_background
from napari_uld.detectors.parts import Target

BACKGROUND = Matcher.BELOW_LOW_THRESHOLD
DOUBTFUL = Matcher.BETWEEN_THRESHOLDS
# An anchor or a proposal is of a hard negative from this IoU on.
NEGATIVE_IOU = 0.5


def but_ignored(claimed: Callable[[Tensor], Tensor], target: Target) -> Tensor:
    """Index of each guess's lesion; background that an ignored box would claim if it were a lesion is neither.

    Parameters
    ----------
    claimed
        Gives the index of the box (n, 4) that each guess is matched with, or what it is instead.
    """
    matched = claimed(target["boxes"])
    if "ignored" in target:
        ignored = claimed(target["ignored"]) != BACKGROUND
        matched = torch.where(ignored & (matched == BACKGROUND), DOUBTFUL, matched)
    return matched


class IouAssigner:
    """Positive above one IoU, negative below another.

    Parameters
    ----------
    positive, negative
        IoU thresholds.
    forced
        Whether the best anchors of a lesion are positive whatever their IoU, as in Faster R-CNN.
    """

    def __init__(self, *, positive: float, negative: float, forced: bool) -> None:
        self.matcher = Matcher(positive, negative, allow_low_quality_matches=forced)

    def match(self, grid: Grid, target: Target) -> Tensor:
        """Index of each anchor's lesion, (anchors,); -1 for background and -2 for neither.

        Background that an ignored box would claim if it were a lesion is neither.
        """
        return but_ignored(partial(self._claimed, grid), target)

    def _claimed(self, grid: Grid, boxes: Tensor) -> Tensor:
        """Index of the box that each anchor is matched with, or what it is instead."""
        if not len(boxes):
            return torch.full((len(grid.anchors),), BACKGROUND, device=grid.anchors.device)
        overlap = box_iou(boxes, grid.anchors)
        matched = self.matcher(overlap)
        # A lesion that no anchor overlaps would force all of them: each is its best match, at 0.
        return torch.where(overlap.max(dim=0).values > 0, matched, BACKGROUND)


class IouObjectness:
    """Objectness 1 on positive and 0 on negative anchors.

    Parameters
    ----------
    samples
        Anchors taken from an image, at most half of them positive.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> ObjectnessSample:
        """Pick anchors of one image."""
        lesions = matched()
        positives = torch.nonzero(lesions >= 0)[:, 0]
        positive = draw(positives, self.samples // 2)
        background = torch.nonzero(lesions == BACKGROUND)[:, 0]
        negative = draw_background(background, of_negatives(grid.anchors, target), self.samples - len(positive))
        labels = torch.cat([torch.ones(len(positive)), torch.zeros(len(negative))]).to(grid.anchors.device)
        return ObjectnessSample(torch.cat([positive, negative]), labels, positives)


class IouRegression:
    """Boxes on positive anchors, the loss divided by the sample size.

    Parameters
    ----------
    samples
        As for `IouObjectness`.
    """

    def __init__(self, samples: int) -> None:
        self.samples = samples

    def __call__(self, grid: Grid, target: Target, matched: Matched) -> RegressionSample:
        """Pick anchors of one image."""
        lesions = matched()
        positive = draw(torch.nonzero(lesions >= 0)[:, 0], self.samples // 2)
        return RegressionSample(positive, lesions[positive], float(self.samples))


def of_negatives(boxes: Tensor, target: Target) -> Tensor | None:
    """Which boxes (n, 4) are of a hard negative: by their IoU, or as its best; (n,) bool, None where there is none."""
    negatives = target.get("negatives")
    if negatives is None or not len(negatives) or not len(boxes):
        return None
    overlap = box_iou(negatives, boxes)
    best = overlap.max(dim=1, keepdim=True).values
    return ((overlap >= NEGATIVE_IOU) | ((overlap == best) & (best > 0))).any(dim=0)


def paired_iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU (n,) of row i of one (n, 4) with row i of the other."""
    size = (torch.minimum(first[:, 2:], second[:, 2:]) - torch.maximum(first[:, :2], second[:, :2])).clamp(min=0)
    shared = size.prod(dim=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(dim=1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared)
