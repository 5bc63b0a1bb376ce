"""MULAN: a slab's images meet twice, before the backbone's last block and behind the pyramid.

Yan et al., "MULAN: Multitask Universal Lesion Analysis Network for Joint Lesion Detection, Tagging, and Segmentation".
"""

from typing import Any

import torch
from torch import Tensor, nn

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.encoders.top_down import top_down
from napari_uld.detectors.parts import Features, Fused

# Of an image: its finer stages at the pyramid's width, and what the last block goes on from.
LATERAL, BEFORE_LAST = "lateral {}", "before last"


class Mulan(nn.Module):
    """One level at the first dense block's stride, of all images of a slab.

    Each image goes through the backbone's first blocks on its own. Then a 1x1 convolution over all images takes the
    key image's place in front of the last block; each has its pyramid, and another one joins their finest levels.

    Parameters
    ----------
    backbone
        Features of single images, which can be entered before its last block.
    images
        Images of a slab, the key image in their middle.
    channels
        Of the pyramid, and of the level that comes of it.
    """

    # A DenseNet; protocols' attributes are invariant, so that its own type would not fit `SlabEncoder`.
    backbone: Any

    def __init__(self, backbone: DenseNet, *, images: int, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.strides = backbone.strides[1:2]
        before_last = backbone.out_channels[-2] // 2
        # No convolution smooths the levels.
        self.laterals = nn.ModuleList(nn.Conv2d(stage, channels, 1) for stage in backbone.out_channels[1:])
        self.fuse_before_last = nn.Conv2d(images * before_last, before_last, 1)
        self.fuse_levels = nn.Conv2d(images * channels, channels, 1)
        for conv in (*self.laterals, self.fuse_before_last, self.fuse_levels):
            nn.init.kaiming_uniform_(conv.weight, a=1)
            nn.init.zeros_(conv.bias)

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W) -> what an image brings on its own."""
        _, *stages, before_last = self.backbone.first_blocks(images)
        return {LATERAL.format(n): self.laterals[n](stage) for n, stage in enumerate(stages)} | {
            BEFORE_LAST: before_last
        }

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Fuse the images before the last block and behind the pyramid."""
        before_last = [image[BEFORE_LAST] for image in slab]
        before_last[len(slab) // 2] = self.fuse_before_last(torch.cat(before_last, dim=1))
        # Image by image along the batch: they share what follows.
        coarsest = self.laterals[-1](self.backbone.last_block(torch.cat(before_last)))
        laterals = [
            torch.cat([image[LATERAL.format(n)] for image in slab]) for n in reversed(range(len(self.laterals) - 1))
        ]
        finest = top_down(coarsest, laterals)
        fused = {LEVEL: self.fuse_levels(torch.cat(finest.chunk(len(slab)), dim=1))}
        return Fused(fused, [fused])
