"""A two-stage detector: backbone -> proposals -> regions."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.proposals import ProposalNetwork
from napari_uld.detectors.roi import RoiStage
from napari_uld.detectors.supervision import Target

# Images of a batch are padded to one size, a multiple of this, so that strides divide it.
SIZE_DIVISIBLE = 32
MAPS = ("bm", "abm", "lesion_bms")


class TwoStageDetector(nn.Module):
    """Composes injected parts and keeps torchvision's detection contract.

    In training ``(images, targets) -> dict of losses``, in evaluation ``images -> list of dicts``
    with ``boxes`` (edge-based), ``scores``, ``labels`` and, where there is a branch, ``masks``.

    Parameters
    ----------
    backbone
        Images (N, C, H, W) to a dict of feature levels.
    proposals
        First stage.
    regions
        Second stage.
    """

    regions: RoiStage

    def __init__(self, backbone: nn.Module, proposals: ProposalNetwork, regions: RoiStage) -> None:
        super().__init__()
        self.backbone = backbone
        self.proposals = proposals
        self.regions = regions

    def forward(
        self, images: list[Tensor], targets: list[Target] | None = None
    ) -> dict[str, Tensor] | list[dict[str, Tensor]]:
        """Run on images [C, H, W] that may differ in size."""
        batch = pad_images(images)
        features = self.backbone(batch.tensors)
        if not self.training:
            targets = None
        elif targets is not None:
            targets = [pad_maps(t, batch.tensors.shape[-2:]) for t in targets]
        boxes, losses = self.proposals(batch, features, targets)
        detections, region_losses = self.regions(features, boxes, batch.image_sizes, targets)
        return {**losses, **region_losses} if self.training else detections


def pad_images(images: list[Tensor]) -> ImageList:
    """Stack images on their top left corners, zeros to the right and below."""
    sizes = [(int(i.shape[-2]), int(i.shape[-1])) for i in images]
    height, width = (-(-max(s) // SIZE_DIVISIBLE) * SIZE_DIVISIBLE for s in zip(*sizes, strict=True))
    padded = [F.pad(i, (0, width - w, 0, height - h)) for i, (h, w) in zip(images, sizes, strict=True)]
    return ImageList(torch.stack(padded).contiguous(memory_format=torch.channels_last), sizes)


def pad_maps(target: Target, size: torch.Size) -> Target:
    """Pad a target's full-resolution maps like its image."""
    height, width = size
    return {
        key: F.pad(value, (0, width - value.shape[-1], 0, height - value.shape[-2])) if key in MAPS else value
        for key, value in target.items()
    }
