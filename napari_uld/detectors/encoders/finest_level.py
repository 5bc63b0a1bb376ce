"""One level of features: a backbone's stages joined by a pyramid without smoothing, of an image or of a volume."""

from collections.abc import Callable
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.encoders.key_image import LEVEL, Unfused
from napari_uld.detectors.parts import Features


class FinestLevel(Unfused):
    """The dense blocks' outputs through 1x1 convolutions, summed at the first block's stride; z keeps its slices.

    Cai et al., "Deep Volumetric Universal Lesion Detection", section 2.1.

    Parameters
    ----------
    backbone
        Features of images or of volumes.
    channels
        Of the level.
    lateral
        Makes a 1x1 convolution of so many channels, and outputs.
    """

    # Protocols' attributes are invariant: its own type would not fit `SlabEncoder`.
    backbone: Any

    def __init__(self, backbone: DenseNet, *, channels: int, lateral: Callable[[int, int], nn.Module]) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.strides = backbone.strides[1:2]
        self.laterals = nn.ModuleList(lateral(stage, channels) for stage in backbone.out_channels[1:])

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W), or (N, C, D, H, W) -> the level (N, channels, h, w), or (N, channels, D, h, w)."""
        # What is no longer needed is let go: a tile of a scan takes no more than two levels at a time.
        stages = self.backbone(images)[1:]
        level: Tensor = self.laterals[-1](stages.pop())
        for lateral in reversed(self.laterals[:-1]):
            stage = stages.pop()
            level = F.interpolate(level, size=stage.shape[2:], mode="nearest").add_(lateral(stage))
        return {LEVEL: level}
