"""VGG: without its last pooling layers for the 3DCE family, and by stages for a feature pyramid."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Channels of VGG's groups of convolutions; a pooling layer follows each group but the last.
VGG_CHANNELS = (64, 128, 256, 512, 512)


class Vgg(nn.Module):
    """Groups of 3x3 convolutions with max pooling between them, up to the last convolution.

    Parameters
    ----------
    in_channels
        Channels of an image: its number of slices.
    convolutions
        Convolutions in each of the five groups; VGG-16 has (2, 2, 3, 3, 3).
    width
        Share of the published number of channels.
    without_pools
        Which of the poolings 1 to 4 are left out; each leaves the stride half as large.
    norm
        "batch" puts a batch norm behind every convolution (for training from scratch); "none" is VGG-16.
    """

    # Weights for inputs in [0, 255] less a mean, which is what this family feeds; the usual ones want unit variance.
    imagenet_files: tuple[str, ...] = ("vgg16_features-amdegroot-88682ab5.pth",)

    def __init__(
        self,
        *,
        in_channels: int,
        convolutions: Sequence[int],
        width: float,
        without_pools: Sequence[int],
        norm: str,
    ) -> None:
        super().__init__()
        groups = _groups(in_channels, convolutions, width, norm)
        layers: list[nn.Module] = []
        for number, group in enumerate(groups, start=1):
            layers += group
            if number < len(groups) and number not in without_pools:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.out_channels = _width(VGG_CHANNELS[-1], width)
        self.strides: tuple[int, ...] = (2 ** (len(VGG_CHANNELS) - 1 - len(set(without_pools))),)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> one level of features (N, out_channels, h, w)."""
        return {"0": self.features(images)}

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take VGG-16's weights over; False where their shapes differ."""
        return _take_convolutions(self, state)


class VggStages(nn.Module):
    """VGG with a pooling after each group of convolutions; the poolings' outputs are what a pyramid is built on.

    Parameters
    ----------
    in_channels, convolutions, width, norm
        As in `Vgg`; VGG-19 has (2, 2, 4, 4, 4) convolutions.
    without_pools
        Which of the poolings 1 to 5 are left out; each leaves the stride from there on half as large.
    """

    imagenet_files: tuple[str, ...] = ("vgg19-dcbb9e9d.pth",)

    def __init__(
        self,
        *,
        in_channels: int,
        convolutions: Sequence[int],
        width: float,
        without_pools: Sequence[int],
        norm: str,
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList()
        strides = []
        stride = 1
        for number, group in enumerate(_groups(in_channels, convolutions, width, norm), start=1):
            pools = number not in without_pools
            self.stages.append(nn.Sequential(*group, *([nn.MaxPool2d(2)] if pools else [])))
            stride *= 2 if pools else 1
            strides.append(stride)
        self.out_channels = [_width(full, width) for full in VGG_CHANNELS]
        self.strides = tuple(strides)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> C1 to C5 at `strides`."""
        levels = []
        for stage in self.stages:
            images = stage(images)
            levels.append(images)
        return levels

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take VGG-19's weights over; False where their shapes differ."""
        return _take_convolutions(self, state)


def _groups(in_channels: int, convolutions: Sequence[int], width: float, norm: str) -> list[list[nn.Module]]:
    """The layers of each of VGG's five groups, poolings left out."""
    groups: list[list[nn.Module]] = []
    channels = in_channels
    for full, depth in zip(VGG_CHANNELS, convolutions, strict=True):
        group: list[nn.Module] = []
        for _ in range(depth):
            conv = nn.Conv2d(channels, _width(full, width), 3, padding=1, bias=norm == "none")
            nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
            channels = conv.out_channels
            group += [conv, *([nn.BatchNorm2d(channels)] if norm == "batch" else []), nn.ReLU(inplace=True)]
        groups.append(group)
    return groups


def _width(full: int, width: float) -> int:
    return max(8, round(full * width))


def _take_convolutions(model: nn.Module, state: dict[str, Tensor]) -> bool:
    """Take over the convolutions of torchvision's VGG in their order; False where their shapes differ."""
    numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
    convolutions = [layer for layer in model.modules() if isinstance(layer, nn.Conv2d)]
    if [state[f"features.{number}.weight"].shape for number in numbers] != [c.weight.shape for c in convolutions]:
        return False
    with torch.no_grad():
        for conv, number in zip(convolutions, numbers, strict=True):
            conv.weight.copy_(state[f"features.{number}.weight"])
            if conv.bias is not None:
                conv.bias.copy_(state[f"features.{number}.bias"])
    return True
