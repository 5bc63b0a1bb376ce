"""One level of a volume's features: a backbone's dense blocks joined by a pyramid without smoothing."""

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from napari_uld.detectors.backbones.pseudo_3d import convolution
from napari_uld.detectors.backbones.volume_densenet import VolumeDenseNet
from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.parts import Features, Fused


class VolumePyramid(nn.Module):
    """The dense blocks' outputs through 1x1x1 convolutions, summed at the first block's stride; z keeps its slices.

    Cai et al., "Deep Volumetric Universal Lesion Detection", section 2.1.

    Parameters
    ----------
    backbone
        Features of volumes.
    channels
        Of the level.
    """

    # Protocols' attributes are invariant: its own type would not fit `SlabEncoder`.
    backbone: Any

    def __init__(self, backbone: VolumeDenseNet, *, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.strides = backbone.strides[1:2]
        self.laterals = nn.ModuleList(
            convolution("axial", stage, channels, 1, bias=True) for stage in backbone.out_channels[1:]
        )

    def per_image(self, images: Tensor) -> Features:
        """(N, C, D, H, W) -> the level (N, channels, D, h, w)."""
        # What is no longer needed is let go: a whole scan's tile takes no more than two levels at a time.
        stages = self.backbone(images)[1:]
        level: Tensor = self.laterals[-1](stages.pop())
        for lateral in reversed(self.laterals[:-1]):
            stage = stages.pop()
            level = F.interpolate(level, size=stage.shape[-3:], mode="nearest").add_(lateral(stage))
        return {LEVEL: level}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """A volume is whole already."""
        (features,) = slab
        return Fused(features, [features])
