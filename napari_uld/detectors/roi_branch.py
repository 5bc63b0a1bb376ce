"""The segmentation branch that learns size-adaptive bounding maps.

"The BMC paper" is Li et al., "Conditional Training with Bounding Map for Universal Lesion Detection".
"""

from torch import Tensor, nn
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.ops import MultiScaleRoIAlign, roi_align

from napari_uld.detectors.roi import Features, ImageSizes
from napari_uld.detectors.supervision import Target

POOLED = 14
OUTPUT = 28


class MapBranch(nn.Module):
    """Mask R-CNN's mask branch, taught a continuous map in place of a mask.

    Section 2.3 of the BMC paper: the map is cropped to each positive
    proposal, resized to 28x28 and compared by its squared difference (eq. 13).

    Parameters
    ----------
    in_channels, channels
        Channels of the features and of the branch.
    target
        Name of the (H, W) map in the targets, "abm".
    """

    def __init__(self, in_channels: int, channels: int, target: str) -> None:
        super().__init__()
        self.target = target
        self.pool = MultiScaleRoIAlign(featmap_names=["0"], output_size=POOLED, sampling_ratio=2)
        self.layers = nn.Sequential(
            MaskRCNNHeads(in_channels, (channels,) * 4, dilation=1),
            MaskRCNNPredictor(channels, channels, num_classes=1),
            nn.Sigmoid(),
        )

    def loss(self, features: Features, boxes: list[Tensor], sizes: ImageSizes, targets: list[Target]) -> Tensor:
        """Mean squared difference over all positive proposals' maps; 0 where there is none."""
        if not sum(len(b) for b in boxes):
            return next(iter(features.values())).sum() * 0
        wanted = [
            roi_align(t[self.target][None, None], [b], OUTPUT, aligned=True)
            for t, b in zip(targets, boxes, strict=True)
        ]
        predicted = self.layers(self.pool(features, boxes, sizes)).float().split([len(b) for b in boxes])
        differences = [(p - w).square().flatten() for p, w in zip(predicted, wanted, strict=True)]
        return sum(d.sum() for d in differences) / sum(d.numel() for d in differences)

    def predict(self, features: Features, boxes: list[Tensor], sizes: ImageSizes) -> list[Tensor]:
        """(n, 1, 28, 28) map over the boxes of each image."""
        return list(self.layers(self.pool(features, boxes, sizes)).split([len(b) for b in boxes]))
