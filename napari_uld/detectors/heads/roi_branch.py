"""The segmentation branch on positive proposals: Mask R-CNN's, taught masks or bounding maps.

"The BMC paper" is Li et al., "Conditional Training with Bounding Map for Universal Lesion Detection".
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import roi_align

from napari_uld.detectors.losses.supervision import Target
from napari_uld.detectors.parts import Features, ImageSizes

OUTPUT = 28


class Positives(NamedTuple):
    """The positive proposals of one image: boxes (n, 4), the lesion each is matched with (n,), its class (n,)."""

    boxes: Tensor
    matched: Tensor
    labels: Tensor


class Lesson(Protocol):
    """What the branch learns."""

    def wanted(self, target: Target, positives: Positives) -> Tensor:
        """Give the (n, 28, 28) map over each positive proposal of an image."""

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean loss over (n, 28, 28) logits and maps."""


class MapLesson:
    """A bounding map of all lesions, cropped to each proposal, by squared difference (eq. 13 of the BMC paper).

    Parameters
    ----------
    name
        Name of the (H, W) map in the targets, "bm" or "abm".
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def wanted(self, target: Target, positives: Positives) -> Tensor:
        """Crop the image's map to each proposal."""
        return roi_align(target[self.name][None, None], [positives.boxes], OUTPUT, aligned=True)[:, 0]

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared difference of the sigmoid."""
        return F.mse_loss(logits.sigmoid(), wanted)


class MaskLesson:
    """The matched lesion's own mask, by binary cross entropy, as in Mask R-CNN.

    Targets hold ``masks`` (n, H, W) of 0 and 1.
    """

    def wanted(self, target: Target, positives: Positives) -> Tensor:
        """Crop each proposal's lesion to it."""
        masks = target["masks"].to(positives.boxes)[:, None]
        rois = torch.cat([positives.matched[:, None].to(positives.boxes), positives.boxes], dim=1)
        return roi_align(masks, rois, OUTPUT, aligned=True)[:, 0]

    def loss(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean binary cross entropy."""
        return F.binary_cross_entropy_with_logits(logits, wanted)


class SegmentationBranch(nn.Module):
    """Mask R-CNN's mask branch beside the box head (section 2.3 of the BMC paper has the same).

    Parameters
    ----------
    in_channels, channels
        Channels of the features and of the branch.
    classes
        Lesion classes, each with maps of its own.
    pool
        Pools regions of 14x14 from the key slice's features.
    lesson
        What it learns.
    """

    def __init__(self, in_channels: int, channels: int, *, classes: int, pool: nn.Module, lesson: Lesson) -> None:
        super().__init__()
        self.pool = pool
        self.lesson = lesson
        self.layers = nn.Sequential(
            MaskRCNNHeads(in_channels, (channels,) * 4, dilation=1),
            MaskRCNNPredictor(channels, channels, num_classes=classes),
        )

    def forward(self, features: Features, boxes: list[Tensor], labels: list[Tensor], sizes: ImageSizes) -> Tensor:
        """Logits (sum of n, 28, 28) over the boxes of all images, each of its own class (1 is the first)."""
        logits = self.layers(self.pool(features, boxes, sizes)).float()
        own = torch.cat(labels) - 1
        return logits[torch.arange(len(own), device=own.device), own]

    def loss(self, features: Features, positives: list[Positives], sizes: ImageSizes, targets: list[Target]) -> Tensor:
        """Mean loss over all positive proposals; 0 where there is none."""
        if not sum(len(p.boxes) for p in positives):
            return next(iter(features.values())).sum() * 0
        logits = self(features, [p.boxes for p in positives], [p.labels for p in positives], sizes)
        wanted = [self.lesson.wanted(t, p) for t, p in zip(targets, positives, strict=True) if len(p.boxes)]
        return self.lesson.loss(logits, torch.cat(wanted))

    def predict(self, features: Features, boxes: list[Tensor], labels: list[Tensor], sizes: ImageSizes) -> list[Tensor]:
        """(n, 1, 28, 28) map in [0, 1] over the boxes of each image."""
        maps = self(features, boxes, labels, sizes).sigmoid()[:, None]
        return list(maps.split([len(b) for b in boxes]))
