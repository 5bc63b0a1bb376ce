"""The key image alone: what `SlabEncoder` is without fusion."""

from torch import Tensor, nn

from napari_uld.detectors.parts import Backbone, Features, Fused

LEVEL = "0"


class Unfused(nn.Module):
    """What encoders share whose images meet nowhere: of a slab they see the key image alone, or a volume."""

    def join(self, slab: list[Features], thickness: Tensor) -> Fused:
        """Give the key image's features of a slab's."""
        key = slab[len(slab) // 2]
        return Fused(key, [key])


class KeyImage(Unfused):
    """A backbone's last stage, of the key image alone.

    Parameters
    ----------
    backbone
        Features of single images.
    """

    backbone: Backbone

    def __init__(self, backbone: Backbone) -> None:
        super().__init__()
        self.backbone = backbone
        self.channels = backbone.out_channels[-1]
        self.strides = backbone.strides[-1:]

    def per_image(self, images: Tensor) -> Features:
        """(N, C, H, W) -> one level."""
        return {LEVEL: self.backbone(images)[-1]}
