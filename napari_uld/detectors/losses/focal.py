"""What a RetinaNet learns: its anchors, and the pixels of its segmentation path."""

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import sigmoid_focal_loss

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.losses.iou import DOUBTFUL, IouAssigner
from napari_uld.detectors.parts import Target

# Smooth L1 with sigma 3, as in the code base that "Improving RetinaNet for CT lesion detection" builds on.
BETA = 1 / 9


class Assigner(Protocol):
    """Says which guesses are positive."""

    def match(self, grid: Grid, target: Target) -> Tensor:
        """Index of each guess's lesion, (guesses,); -1 for background and -2 for neither."""


def focal_of(logits: Tensor, matched: Tensor, *, alpha: float, gamma: float) -> Tensor:
    """Sum of the focal loss over all of an image's guesses (n,) but those that are neither (see `Assigner`)."""
    certain = matched != DOUBTFUL
    labels = (matched >= 0).to(logits)
    return sigmoid_focal_loss(logits[certain], labels[certain], alpha, gamma, reduction="sum")


class AnchorLoss:
    """Focal loss on all anchors but the doubtful ones, smooth L1 on the positive ones.

    A lesion that no anchor overlaps enough teaches nothing: unlike in two-stage detectors none is forced on it.

    Parameters
    ----------
    assigner
        Which anchors are positive.
    coder
        Boxes to deltas.
    alpha, gamma
        Of the focal loss.
    """

    def __init__(self, assigner: IouAssigner, coder: BoxCoder, *, alpha: float, gamma: float) -> None:
        self.assigner = assigner
        self.coder = coder
        self.alpha = alpha
        self.gamma = gamma

    def __call__(
        self, grid: Grid, logits: Tensor, deltas: Tensor, targets: list[Target]
    ) -> tuple[dict[str, Tensor], Tensor]:
        """Losses of (N, anchors) logits and (N, anchors, 4) deltas, and (N, levels) positive anchors.

        Both sums are divided by the number of positive anchors of the batch.
        """
        classification, boxes, counts = [], [], []
        for image_logits, image_deltas, target in zip(logits, deltas, targets, strict=True):
            matched = self.assigner.match(grid, target)
            positive = torch.nonzero(matched >= 0)[:, 0]
            focal = focal_of(image_logits, matched, alpha=self.alpha, gamma=self.gamma)
            wanted = self.coder.encode([target["boxes"][matched[positive]]], [grid.anchors[positive]])[0]
            classification.append(focal)
            boxes.append(F.smooth_l1_loss(image_deltas[positive], wanted, beta=BETA, reduction="sum"))
            counts.append(grid.per_level(positive))
        per_level = torch.stack(counts)
        total = per_level.sum().clamp(min=1)
        summed = {"classification": classification, "boxes": boxes}
        return {name: torch.stack(parts).sum() / total for name, parts in summed.items()}, per_level


class PixelLoss:
    """Focal loss of a map of lesions, divided by the number of lesion pixels.

    Parameters
    ----------
    alpha, gamma
        Of the focal loss.
    weight
        Beside the other losses.
    """

    def __init__(self, *, alpha: float, gamma: float, weight: float) -> None:
        self.alpha = alpha
        self.gamma = gamma
        self.weight = weight

    def __call__(self, logits: Tensor, masks: Tensor, left_out: Tensor | None = None) -> Tensor:
        """Loss of (N, H, W) logits with masks of 0 and 1; pixels `left_out` (N, H, W) bool teach nothing."""
        if left_out is None:
            summed = sigmoid_focal_loss(logits, masks, self.alpha, self.gamma, reduction="sum")
        else:
            each = sigmoid_focal_loss(logits, masks, self.alpha, self.gamma, reduction="none")
            summed = torch.where(left_out, 0.0, each).sum()
        return self.weight * summed / masks.sum().clamp(min=1)
