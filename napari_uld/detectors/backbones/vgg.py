"""VGG by stages, some of its poolings left out."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

# Channels of VGG's groups of convolutions.
VGG_CHANNELS = (64, 128, 256, 512, 512)
# Weights in torchvision's cache by VGG's convolutions. Those of VGG-16 are for inputs in [0, 255] less a mean, which is
# what the 3DCE family feeds; the usual ones want unit variance.
IMAGENET_FILES: dict[tuple[int, ...], tuple[str, ...]] = {
    (2, 2, 3, 3, 3): ("vgg16_features-amdegroot-88682ab5.pth",),
    (2, 2, 4, 4, 4): ("vgg19-dcbb9e9d.pth",),
}


class Vgg(nn.Module):
    """Groups of 3x3 convolutions, a max pooling behind each.

    Parameters
    ----------
    in_channels
        Channels of an image: its number of slices.
    convolutions
        Convolutions in each of the five groups; VGG-16 has (2, 2, 3, 3, 3), VGG-19 (2, 2, 4, 4, 4).
    width
        Share of the published number of channels.
    without_pools
        Which of the poolings 1 to 5 are left out; each leaves the stride from there on half as large.
    norm
        "batch" puts a batch norm behind every convolution (for training from scratch); "none" is VGG.
    """

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
        self.imagenet_files = IMAGENET_FILES.get(tuple(convolutions), ())
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
        """Take over the convolutions of torchvision's VGG in their order; False where their shapes differ."""
        numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
        convolutions = [layer for layer in self.modules() if isinstance(layer, nn.Conv2d)]
        if [state[f"features.{number}.weight"].shape for number in numbers] != [c.weight.shape for c in convolutions]:
            return False
        with torch.no_grad():
            for conv, number in zip(convolutions, numbers, strict=True):
                conv.weight.copy_(state[f"features.{number}.weight"])
                if conv.bias is not None:
                    conv.bias.copy_(state[f"features.{number}.bias"])
        return True


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
