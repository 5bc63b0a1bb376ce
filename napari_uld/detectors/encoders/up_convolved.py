"""A backbone's last stage brought up again to a fine level by transposed convolutions."""

from torch import Tensor, nn

from napari_uld.detectors.encoders.key_image import LEVEL, Unfused
from napari_uld.detectors.parts import Backbone, Features

# Each doubles the resolution: from stride 32 to 4.
UPS = 3


class UpConvolved(Unfused):
    """The last stage alone through three transposed convolutions, each with batch norm and ReLU.

    Zhou et al., "Objects as Points", section 5 (ResNet, without the deformable convolutions that it may have there).

    Parameters
    ----------
    backbone
        Features of single images.
    channels
        Of every transposed convolution, and of the level.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone, *, channels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = channels
        self.strides: tuple[int, ...] = (backbone.strides[-1] // 2**UPS,)
        parts: list[nn.Module] = []
        below = backbone.out_channels[-1]
        for _ in range(UPS):
            up = nn.ConvTranspose2d(below, channels, 4, stride=2, padding=1, bias=False)
            nn.init.normal_(up.weight, std=0.001)
            parts += [up, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
            below = channels
        self.up = nn.Sequential(*parts)

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W) -> the level (N, channels, h, w)."""
        return {LEVEL: self.up(self.backbone(images)[-1])}
