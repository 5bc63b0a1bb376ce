"""Images of different sizes as one batch, and their targets' maps with them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.losses.supervision import Target

# Of a target's entries those that are as large as its image.
MAPS = ("bm", "abm", "lesion_bms", "masks")


def pad_images(images: list[Tensor], divisible: int) -> ImageList:
    """Stack images on their top left corners, zeros to the right and below up to a multiple of `divisible`."""
    sizes = [(int(i.shape[-2]), int(i.shape[-1])) for i in images]
    height, width = (-(-max(s) // divisible) * divisible for s in zip(*sizes, strict=True))
    padded = [F.pad(i, (0, width - w, 0, height - h)) for i, (h, w) in zip(images, sizes, strict=True)]
    return ImageList(torch.stack(padded), sizes)


def pad_maps(target: Target, size: Sequence[int]) -> Target:
    """Pad a target's full-resolution maps like its image."""
    height, width = size
    return {
        key: F.pad(value, (0, width - value.shape[-1], 0, height - value.shape[-2])) if key in MAPS else value
        for key, value in target.items()
    }
