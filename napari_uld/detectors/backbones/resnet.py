"""ResNet with a feature pyramid: Mask R-CNN's backbone."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck
from torchvision.ops import FeaturePyramidNetwork
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool

# Channels of a bottleneck's 3x3 convolution in each stage of a ResNet.
STAGE_CHANNELS = (64, 128, 256, 512)
# Input pixels per cell of P2 to P6.
STRIDES = (4, 8, 16, 32, 64)


class ResNet(nn.Module):
    """The four stages of a ResNet, named as torchvision's so that its weights fit.

    Parameters
    ----------
    in_channels
        Channels of the input.
    blocks
        Bottleneck blocks in each stage; ResNet-101 has (3, 4, 23, 3).
    width
        Share of the published number of channels.
    stem_pool
        Whether the stem ends with a max pooling, as published; without it every stride is half as large.
    """

    def __init__(self, *, in_channels: int, blocks: Sequence[int], width: float, stem_pool: bool) -> None:
        super().__init__()
        planes = [max(8, round(channels * width)) for channels in STAGE_CHANNELS]
        self.conv1 = nn.Conv2d(in_channels, planes[0], 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(planes[0])
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1) if stem_pool else nn.Identity()
        channels = planes[0]
        self.out_channels: list[int] = []
        for number, (depth, plane) in enumerate(zip(blocks, planes, strict=True), start=1):
            setattr(self, f"layer{number}", _stage(channels, plane, depth, stride=1 if number == 1 else 2))
            channels = plane * Bottleneck.expansion
            self.out_channels.append(channels)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> the stages' outputs "0" to "3", each at twice the stride of the one before."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        levels = {}
        for number in range(len(STAGE_CHANNELS)):
            x = getattr(self, f"layer{number + 1}")(x)
            levels[str(number)] = x
        return levels


class ResNetFpn(nn.Module):
    """A ResNet and its pyramid P2 to P6.

    Parameters
    ----------
    in_channels, blocks, width, stem_pool
        As in `ResNet`.
    channels
        Channels of every level of the pyramid.
    """

    imagenet_files: tuple[str, ...] = ("resnet101-cd907fc2.pth", "resnet101-63fe2227.pth")

    def __init__(
        self, *, in_channels: int, blocks: Sequence[int], width: float, stem_pool: bool, channels: int
    ) -> None:
        super().__init__()
        self.body = ResNet(in_channels=in_channels, blocks=blocks, width=width, stem_pool=stem_pool)
        self.fpn = FeaturePyramidNetwork(self.body.out_channels, channels, extra_blocks=LastLevelMaxPool())
        self.out_channels = channels
        self.strides: tuple[int, ...] = STRIDES if stem_pool else tuple(stride // 2 for stride in STRIDES)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> levels "0", "1", "2", "3" and "pool" at `strides`, finest first."""
        return self.fpn(self.body(images))

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take torchvision's weights over; False where their shapes differ."""
        own = self.body.state_dict()
        offered = {name: value for name, value in state.items() if not name.startswith("fc.")}
        # Old files lack the batch norms' counters.
        if any(name not in own or own[name].shape != value.shape for name, value in offered.items()):
            return False
        if any(name not in offered and not name.endswith("num_batches_tracked") for name in own):
            return False
        self.body.load_state_dict(offered, strict=False)
        return True


def _stage(channels: int, planes: int, depth: int, *, stride: int) -> nn.Sequential:
    out = planes * Bottleneck.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
    first = Bottleneck(channels, planes, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(Bottleneck(out, planes) for _ in range(depth - 1)))
