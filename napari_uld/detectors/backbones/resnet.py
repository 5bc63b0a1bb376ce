"""ResNet by stages: the backbone of Mask R-CNN and of some one-stage networks."""

from collections.abc import Sequence

from torch import Tensor, nn
from torchvision.models.resnet import Bottleneck

# Channels of a bottleneck's 3x3 convolution in each stage of a ResNet.
STAGE_CHANNELS = (64, 128, 256, 512)
# Input pixels per cell of C2 to C5.
STRIDES = (4, 8, 16, 32)
# Weights in torchvision's cache by ResNet's blocks.
IMAGENET_FILES: dict[tuple[int, ...], tuple[str, ...]] = {
    (3, 4, 6, 3): ("resnet50-0676ba61.pth", "resnet50-11ad3fa6.pth"),
    (3, 4, 23, 3): ("resnet101-cd907fc2.pth", "resnet101-63fe2227.pth"),
}


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
    zero_init
        Whether the last norm of each block begins at 0.
    stem_pool
        Whether the stem ends with a max pooling, as published; without it every stride is half as large.
    """

    def __init__(
        self, *, in_channels: int, blocks: Sequence[int], width: float, stem_pool: bool, zero_init: bool = False
    ) -> None:
        super().__init__()
        self.imagenet_files = IMAGENET_FILES.get(tuple(blocks), ())
        self.strides = STRIDES if stem_pool else tuple(stride // 2 for stride in STRIDES)
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
            elif isinstance(module, Bottleneck) and zero_init:
                nn.init.zeros_(module.bn3.weight)

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> C2 to C5 at `strides`."""
        features = self.maxpool(self.relu(self.bn1(self.conv1(images))))
        levels = []
        for number in range(1, len(STAGE_CHANNELS) + 1):
            features = getattr(self, f"layer{number}")(features)
            levels.append(features)
        return levels

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take torchvision's weights over; False where their shapes differ."""
        current = self.state_dict()
        offered = {name: value for name, value in state.items() if not name.startswith("fc.")}
        # Old files lack the batch norms' counters.
        if any(name not in current or current[name].shape != value.shape for name, value in offered.items()):
            return False
        if any(name not in offered and not name.endswith("num_batches_tracked") for name in current):
            return False
        self.load_state_dict(offered, strict=False)
        return True


def _stage(channels: int, planes: int, depth: int, *, stride: int) -> nn.Sequential:
    out = planes * Bottleneck.expansion
    shortcut = None
    if stride != 1 or channels != out:
        shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
    first = Bottleneck(channels, planes, stride=stride, downsample=shortcut)
    return nn.Sequential(first, *(Bottleneck(out, planes) for _ in range(depth - 1)))
