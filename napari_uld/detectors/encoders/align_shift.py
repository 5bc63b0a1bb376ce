"""AlignShift: a slab is a small volume, whose slices exchange channels by how far apart the scan's lie.

Yang et al., "AlignShift: Bridging the Gap of Imaging Thickness in 3D Anisotropic Volumes".
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from napari_uld.detectors.backbones.shifted_densenet import ShiftedDenseNet, own_share
from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.encoders.top_down import top_down
from napari_uld.detectors.parts import Features, Fused
from napari_uld.detectors.specs.align_shift import Shift

STEM = "stem"
# The share of a shifted channel that a slice keeps, of the distances (N,) in mm between a scan's slices.
KEPT: dict[Shift, Callable[[Tensor], Tensor]] = {
    "by_distance": own_share,
    "whole": torch.zeros_like,
    "none": torch.ones_like,
    # Its backbone fuses slices instead, however far apart they lie.
    "learned": torch.ones_like,
}


class AlignShift(nn.Module):
    """One level at the first dense block's stride, of all slices of a slab.

    Behind each dense block a convolution over all slices, as deep as the slab, makes one image of them; the pyramid
    of the three is MULAN's, without smoothing.

    Parameters
    ----------
    backbone
        Features of neighbouring slices.
    slices
        Of a slab, each an image of its own, the key slice in their middle.
    channels
        Of the pyramid, and of the level that comes of it.
    shift
        What slices give of the channels that they exchange.
    """

    # A DenseNet; protocols' attributes are invariant, so that its own type would not fit `SlabEncoder`.
    backbone: Any

    def __init__(self, backbone: ShiftedDenseNet, *, slices: int, channels: int, shift: Shift = "by_distance") -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.kept = KEPT[shift]
        self.strides = backbone.strides[1:2]
        of_blocks = backbone.out_channels[1:]
        # A kernel (slices, 1, 1) of volumes, on slices that stand one behind the other along the channels.
        reductions = [nn.Conv2d(slices * width, width, 1, bias=False) for width in of_blocks]
        laterals = [nn.Conv2d(width, channels, 1) for width in of_blocks]
        for reduction, lateral in zip(reductions, laterals, strict=True):
            nn.init.kaiming_normal_(reduction.weight)
            nn.init.kaiming_uniform_(lateral.weight, a=1)
            nn.init.constant_(lateral.bias, 0.0)  # type: ignore[arg-type]
        self.reductions, self.laterals = nn.ModuleList(reductions), nn.ModuleList(laterals)

    def per_image(self, images: Tensor) -> Features:
        """(N, 1, H, W) -> what a slice brings before it meets its neighbours."""
        return {STEM: self.backbone.stem(images)}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Exchange channels between the slices in every dense layer, then make one of them."""
        stems = torch.stack([image[STEM] for image in slab], dim=1)
        blocks = self.backbone.dense_blocks(stems, self.kept(thickness))
        *finer, coarsest = (
            lateral(reduce(block.flatten(1, 2)))
            for lateral, reduce, block in zip(self.laterals, self.reductions, blocks, strict=True)
        )
        fused = {LEVEL: top_down(coarsest, finer[::-1])}
        return Fused(fused, [fused])
