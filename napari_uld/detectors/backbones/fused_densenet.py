"""The truncated DenseNet on slices that learn what to take of each other: A3D.

Yang et al., "Asymmetric 3D Context Fusion for Universal Lesion Detection".
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from napari_uld.detectors.backbones.shifted_densenet import ShiftedDenseNet

# How far a share may lie from that of a slice that keeps its own, in the beginning.
SPREAD = 0.1


class SliceFusion(nn.Module):
    """Each slice of a slab becomes a sum of all of them, with shares of its own for every channel.

    Parameters
    ----------
    slices
        Of a slab.
    channels
        Of a slice.
    """

    def __init__(self, slices: int, channels: int) -> None:
        super().__init__()
        # [given, taken, channel]: the share of the one in what becomes of the other.
        own = torch.eye(slices)[..., None].repeat(1, 1, channels)
        self.weight = nn.Parameter(own + torch.empty_like(own).uniform_(-SPREAD, SPREAD))

    def forward(self, slices: Tensor) -> Tensor:
        """(N, D, C, H, W) -> the same shape."""
        fused: Tensor = torch.einsum("ndchw,dkc->nkchw", slices, self.weight)
        return fused


class FusedDenseNet(ShiftedDenseNet):
    """`ShiftedDenseNet` with a fusion of the slices before each convolution of its dense layers, in the shift's place.

    Parameters
    ----------
    slices
        Of a slab.
    blocks, growth
        As in `DenseNet`.
    """

    def __init__(self, *, slices: int, blocks: Sequence[int], growth: int) -> None:
        super().__init__(blocks=blocks, growth=growth)
        self.fusions = nn.ModuleDict(
            {
                f"{block}_{name}_{conv}": SliceFusion(slices, getattr(layer, conv).in_channels)
                for block in ("denseblock1", "denseblock2", "denseblock3")
                for name, layer in getattr(self.features, block).items()
                for conv in ("conv1", "conv2")
            }
        )

    def exchange(self, conv: str, slices: Tensor, own: Tensor) -> Tensor:
        """What a convolution, by its name, sees of slices (N, D, C, h, w); how far apart they lie is not asked."""
        fused: Tensor = self.fusions[conv](slices)
        return fused

    def _take(self, offered: dict[str, Tensor], new: str = "fusions.") -> bool:
        """Take a 2D network's weights over, which has no fusions."""
        return super()._take(offered, new)
