"""Where along the body a slab lies: it serves training and those who look inside, no detection."""

import math

import torch
from torch import Tensor, nn

from napari_uld.detectors.losses.position import PositionLoss
from napari_uld.detectors.parts import POSITION, Fused, Target

# Of a norm; fewer where the channels are no multiple of it.
GROUPS = 32


class PositionHead(nn.Module):
    """Three convolutions on the coarsest level of some of a slab's images, each on its own, and their average.

    Parameters
    ----------
    in_channels, channels
        Channels of an image's features, and of the head.
    images
        The images that it looks at, of those that stand one behind the other along the features' channels.
    loss
        What it learns.
    """

    def __init__(self, in_channels: int, channels: int, *, images: range, loss: PositionLoss) -> None:
        super().__init__()
        self.in_channels = in_channels
        self.images = images
        self.loss = loss
        self.layers = nn.Sequential(
            *_convolution(in_channels, in_channels, stride=2),
            *_convolution(in_channels, channels),
            *_convolution(channels, channels),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
        )
        self.part = nn.Linear(channels, loss.parts)
        self.position = nn.Linear(channels, 1)
        for layer in (self.part, self.position):
            nn.init.normal_(layer.weight, std=0.001)
            nn.init.zeros_(layer.bias)

    def forward(self, fused: Fused, targets: list[Target]) -> dict[str, Tensor]:
        """Losses; a target without a position teaches nothing."""
        logits, told = self.look(fused)
        unknown = told.new_tensor(math.nan)
        return self.loss(logits, told, torch.stack([target.get(POSITION, unknown) for target in targets]))

    def tell(self, fused: Fused) -> dict[str, Tensor]:
        """Positions (N,), from 0 to 1 as the training's were: the mean of what the images tell."""
        return {POSITION: self.look(fused)[1].mean(dim=1)}

    def look(self, fused: Fused) -> tuple[Tensor, Tensor]:
        """Logits (N, images, parts) of the body's parts, and positions (N, images), as each image tells them."""
        *_, coarsest = fused.key.values()
        images = coarsest.unflatten(1, (-1, self.in_channels))[:, self.images.start : self.images.stop]
        hidden = self.layers(images.flatten(0, 1))
        logits, positions = (
            layer(hidden).float().unflatten(0, images.shape[:2]) for layer in (self.part, self.position)
        )
        return logits, positions[..., 0]


def _convolution(in_channels: int, channels: int, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, channels, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    return [conv, nn.GroupNorm(math.gcd(GROUPS, channels), channels), nn.ReLU(inplace=True)]
