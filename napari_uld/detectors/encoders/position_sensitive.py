"""3DCE: every image of a slab speaks of a region's parts.

Yan, Bagheri and Summers, "3D Context Enhanced Region-based Convolutional Neural Network for
End-to-End Lesion Detection".
"""

from torch import Tensor, nn

from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.parts import Backbone, Features, Fused

POSITION_SENSITIVE = "position_sensitive"


class PositionSensitive(nn.Module):
    """Every image gives position-sensitive maps, the key image the proposals as well.

    Parameters
    ----------
    backbone
        Features of single images, of which the last stage is taken.
    channels
        Channels of a pooled region, of each image.
    size
        Cells of a pooled region on a side: each has maps of its own.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone, channels: int, size: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.out_channels[-1]
        self.strides = backbone.strides[-1:]
        self.conv = nn.Conv2d(self.channels, channels * size**2, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, 0.0)  # type: ignore[arg-type]

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W) -> one level, and position-sensitive maps."""
        level = self.backbone(images)[-1]
        # The pooling copies maps that are not contiguous, once for every slab that holds the image.
        return {LEVEL: level, POSITION_SENSITIVE: self.conv(level).contiguous()}

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Give the key image's level, and the maps of all images."""
        context = [{POSITION_SENSITIVE: image[POSITION_SENSITIVE]} for image in slab]
        return Fused({LEVEL: slab[len(slab) // 2][LEVEL]}, context)
