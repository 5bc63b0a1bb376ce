"""VGG without its last pooling layers: the 3DCE family's backbone."""

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
        layers: list[nn.Module] = []
        channels = in_channels
        for number, (full, depth) in enumerate(zip(VGG_CHANNELS, convolutions, strict=True), start=1):
            out = max(8, round(full * width))
            for _ in range(depth):
                conv = nn.Conv2d(channels, out, 3, padding=1, bias=norm == "none")
                nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
                layers.append(conv)
                if norm == "batch":
                    layers.append(nn.BatchNorm2d(out))
                layers.append(nn.ReLU(inplace=True))
                channels = out
            if number < len(VGG_CHANNELS) and number not in without_pools:
                layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.out_channels = channels
        self.strides: tuple[int, ...] = (2 ** (len(VGG_CHANNELS) - 1 - len(set(without_pools))),)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """(N, C, H, W) -> one level of features (N, out_channels, h, w)."""
        return {"0": self.features(images)}

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take VGG-16's weights over; False where their shapes differ."""
        numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
        convolutions = [layer for layer in self.features if isinstance(layer, nn.Conv2d)]
        if [state[f"features.{number}.weight"].shape for number in numbers] != [c.weight.shape for c in convolutions]:
            return False
        with torch.no_grad():
            for conv, number in zip(convolutions, numbers, strict=True):
                conv.weight.copy_(state[f"features.{number}.weight"])
                if conv.bias is not None:
                    conv.bias.copy_(state[f"features.{number}.bias"])
        return True
