"""What a slab's other images tell about its key image: parts that keep `SliceFusion`'s promise."""

import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import ps_roi_pool

from napari_uld.detectors.parts import Features, Fused, ImageSizes

POSITION_SENSITIVE = "position_sensitive"


class KeyImage(nn.Module):
    """No fusion: the key image alone speaks."""

    def per_image(self, features: Features) -> Features:
        """Features of one image, as they are."""
        return features

    def join(self, slab: list[Features]) -> Fused:
        """Give the key image's features of a slab's."""
        key = slab[len(slab) // 2]
        return Fused(key, [key])


class PositionSensitive(nn.Module):
    """3DCE: every image gives position-sensitive maps, the key image the proposals as well.

    Yan, Bagheri and Summers, "3D Context Enhanced Region-based Convolutional Neural Network for
    End-to-End Lesion Detection".

    Parameters
    ----------
    in_channels
        Channels of the backbone's one level.
    channels
        Channels of a pooled region, of each image.
    size
        Cells of a pooled region on a side: each has maps of its own.
    """

    def __init__(self, in_channels: int, channels: int, size: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, channels * size**2, 1)
        nn.init.normal_(self.conv.weight, std=0.01)
        nn.init.constant_(self.conv.bias, 0.0)  # type: ignore[arg-type]

    def per_image(self, features: Features) -> Features:
        """Add an image's position-sensitive maps to its features."""
        (level,) = features.values()
        # The pooling copies maps that are not contiguous, once for every slab that holds the image.
        return {**features, POSITION_SENSITIVE: self.conv(level).contiguous()}

    def join(self, slab: list[Features]) -> Fused:
        """Give the key image's level, and the maps of all images."""
        key = {name: level for name, level in slab[len(slab) // 2].items() if name != POSITION_SENSITIVE}
        return Fused(key, [{POSITION_SENSITIVE: image[POSITION_SENSITIVE]} for image in slab])


class PositionSensitiveRoiPool(nn.Module):
    """Pools each cell of a region from the maps that belong to its place in the region.

    Parameters
    ----------
    size
        Output cells on a side.
    stride
        Input pixels per feature cell.
    """

    def __init__(self, size: int, stride: int) -> None:
        super().__init__()
        self.size = size
        self.scale = 1 / stride

    def forward(self, features: Features, boxes: list[Tensor], sizes: ImageSizes) -> Tensor:
        """Pool all boxes of all slabs, (sum of boxes, channels, size, size)."""
        # Under autocast features are half precision, too coarse for boxes, and the op wants one type.
        maps = features[POSITION_SENSITIVE].float()
        # The op never reads a map's last row and column: one more of each makes it read all that there are.
        return ps_roi_pool(F.pad(maps, (0, 1, 0, 1)), boxes, self.size, self.scale)
