"""The segmentation branch on positive proposals: Mask R-CNN's, taught masks or bounding maps.

"The BMC paper" is Li et al., "Conditional Training with Bounding Map for Universal Lesion Detection".
"""

import torch
from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor

from napari_uld.detectors.losses.branch import BranchLoss, Positives
from napari_uld.detectors.parts import Features, Target


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
    loss
        What it learns.
    """

    def __init__(self, in_channels: int, channels: int, *, classes: int, pool: nn.Module, loss: BranchLoss) -> None:
        super().__init__()
        self.pool = pool
        self.criterion = loss
        self.layers = nn.Sequential(
            MaskRCNNHeads(in_channels, (channels,) * 4, dilation=1),
            MaskRCNNPredictor(channels, channels, num_classes=classes),
        )

    def forward(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> Tensor:
        """Logits (sum of n, 28, 28) over the boxes of all images, each of its own class (1 is the first)."""
        logits = self.layers(self.pool(features, boxes)).float()
        classes = torch.cat(labels) - 1
        return logits[torch.arange(len(classes), device=classes.device), classes]

    def loss(self, features: Features, positives: list[Positives], targets: list[Target]) -> Tensor:
        """Mean loss over all positive proposals; 0 where there is none."""
        if not sum(len(p.boxes) for p in positives):
            # Every weight has a gradient, if of 0: processes that train together wait for each other's.
            return torch.stack([weights.sum() for weights in self.parameters()]).sum() * 0
        logits = self(features, [p.boxes for p in positives], [p.labels for p in positives])
        wanted = [self.criterion.wanted(t, p) for t, p in zip(targets, positives, strict=True) if len(p.boxes)]
        return self.criterion(logits, torch.cat(wanted))

    def predict(self, features: Features, boxes: list[Tensor], labels: list[Tensor]) -> list[Tensor]:
        """(n, 1, 28, 28) map in [0, 1] over the boxes of each image."""
        maps = self(features, boxes, labels).sigmoid()[:, None]
        return list(maps.split([len(b) for b in boxes]))
