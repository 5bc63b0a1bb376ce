"""MVP-Net: the pyramids of all images, of several windows, stand side by side, and one gate weighs their channels.

Li et al., "MVP-Net: Multi-view FPN with Position-aware Attention for Deep Universal Lesion Detection".
"""

import torch
from torch import Tensor, nn

from napari_uld.detectors.encoders.pyramid import Pyramid, PyramidEncoder
from napari_uld.detectors.parts import Backbone, Features, Fused


class ChannelGate(nn.Module):
    """Weighs channels by their averages and their maxima over all cells: CBAM's channel part.

    Parameters
    ----------
    channels
        Of a level.
    reduction
        Of how many channels the hidden layer makes one.
    """

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        hidden = max(1, channels // reduction)
        self.layers = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, channels))

    def forward(self, level: Tensor) -> tuple[Tensor, Tensor]:
        """(N, C, h, w) -> the same, each channel times its weight; and the weights (N, C)."""
        logits: Tensor = self.layers(level.mean(dim=(2, 3))) + self.layers(level.amax(dim=(2, 3)))
        weights = logits.sigmoid()
        return level * weights[:, :, None, None], weights


class Windows(PyramidEncoder):
    """A backbone and a pyramid that all images share, and a gate that all levels share.

    Parameters
    ----------
    backbone, pyramid
        As in `PyramidEncoder`.
    images
        Images of a slab, window by window.
    reduction
        The gate's.
    """

    def __init__(self, backbone: Backbone, pyramid: Pyramid, *, images: int, reduction: int) -> None:
        super().__init__(backbone, pyramid)
        self.channels = images * pyramid.channels
        self.gate = ChannelGate(self.channels, reduction)

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Put each level's maps of all images one behind the other, and weigh them."""
        gated = {name: self.gate(torch.cat([image[name] for image in slab], dim=1)) for name in slab[0]}
        levels = {name: level for name, (level, _) in gated.items()}
        weights = torch.stack([weights for _, weights in gated.values()]).mean(dim=0)
        return Fused(levels, [levels], gate=weights.unflatten(1, (len(slab), -1)).mean(dim=2))
