"""What a two-stage detector's parts promise each other: a new host is a new backbone or a new fusion."""

from typing import NamedTuple, Protocol

from torch import Tensor

# Feature levels (N, C, h, w) by name, finest first.
Features = dict[str, Tensor]
# (height, width) of each image before padding.
ImageSizes = list[tuple[int, int]]


class Fused(NamedTuple):
    """Feature levels of a batch of slabs.

    Parameters
    ----------
    key
        The key slice's: what proposals and the segmentation branch are made from.
    context
        For each image of the slab what the box head pools from.
    """

    key: Features
    context: list[Features]


class Backbone(Protocol):
    """Features of single images.

    Attributes
    ----------
    out_channels
        Channels of every level.
    strides
        Input pixels per cell of every level, finest first.
    imagenet_files
        Names in torchvision's cache of weights that `take_imagenet` may know.
    """

    out_channels: int
    strides: tuple[int, ...]
    imagenet_files: tuple[str, ...]

    def __call__(self, images: Tensor) -> Features:
        """(N, C, H, W) -> feature levels."""

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take weights over; False where they are of another network."""


class SliceFusion(Protocol):
    """Joins the images of a slab.

    `per_image` sees one image alone, so that over a whole scan its result is computed once and shared
    by all slabs that hold the image; `join` puts a slab's images together.
    """

    def per_image(self, features: Features) -> Features:
        """Go on from one image's levels."""

    def join(self, slab: list[Features]) -> Fused:
        """Join what `per_image` gave for each image of a slab, in their order along z."""
