"""A shallow 3D U-Net: what volumes are seen by where nothing is taken over from networks of images."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# What a level is smaller by than the one before it along (z, y, x): first in the plane, where pixels are smaller.
STEPS = ((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2))
# The level that the way up ends at, at a quarter of the size in the plane, with every slice.
OUTPUT = 2


class Unet3d(nn.Module):
    """Cicek et al., "3D U-Net", down to a sixteenth of the size in the plane and up to a quarter again.

    A level is two 3x3x3 convolutions, each with a batch norm. What is coarser is spread to its neighbours' size.

    Parameters
    ----------
    in_channels
        Channels of the input.
    widths
        Channels of each level, finest first.
    """

    def __init__(self, *, in_channels: int, widths: Sequence[int]) -> None:
        super().__init__()
        self.imagenet_files: tuple[str, ...] = ()
        self.out_channels: list[int] = [widths[OUTPUT]]
        self.strides: tuple[int, ...] = (4,)
        self.down = nn.ModuleList(
            _convolutions(before, width) for before, width in zip([in_channels, *widths], widths, strict=False)
        )
        self.pools = nn.ModuleList(nn.MaxPool3d(step, ceil_mode=True) for step in STEPS)
        self.up = nn.ModuleList(
            _convolutions(coarser + width, width)
            for width, coarser in zip(widths[OUTPUT:], widths[OUTPUT + 1 :], strict=False)
        )

    def forward(self, volumes: Tensor) -> list[Tensor]:
        """(N, C, D, H, W) -> the one level (N, c, D, h, w) of `strides` in the plane."""
        levels = [self.down[0](volumes)]
        for pool, convolutions in zip(self.pools, self.down[1:], strict=True):
            levels.append(convolutions(pool(levels[-1])))
        level = levels.pop()
        for convolutions in reversed(self.up):
            finer = levels.pop()
            level = convolutions(torch.cat([finer, F.interpolate(level, size=finer.shape[2:], mode="nearest")], dim=1))
        return [level]

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """None are of a network like this."""
        return False


def _convolutions(channels: int, width: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for before in (channels, width):
        conv = nn.Conv3d(before, width, 3, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
        layers += [conv, nn.BatchNorm3d(width), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)
