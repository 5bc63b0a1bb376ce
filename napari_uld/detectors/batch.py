"""Images of different sizes as one batch, and their targets' maps with them."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.parts import Target

# Of a target's entries those that are as large as its image.
MAPS = ("bm", "abm", "lesion_bms", "lesion_abms", "masks")


def pad_images(images: list[Tensor], divisible: int) -> ImageList:
    """Stack images [C, H, W] or [C, D, H, W] on their first corners, zeros behind.

    Height and width become multiples of `divisible`, depth that of the deepest.
    """
    sizes = [tuple(int(side) for side in image.shape[1:]) for image in images]
    *deep, height, width = (max(sides) for sides in zip(*sizes, strict=True))
    common = (*deep, -(-height // divisible) * divisible, -(-width // divisible) * divisible)
    return ImageList(torch.stack([_pad(image, common) for image in images]), sizes)


def pad_maps(target: Target, size: Sequence[int]) -> Target:
    """Pad a target's full-resolution maps like its image."""
    return {key: _pad(value, size) if key in MAPS else value for key, value in target.items()}


def _pad(values: Tensor, size: Sequence[int]) -> Tensor:
    """Pad the last axes to `size` with zeros behind."""
    missing = [wanted - side for wanted, side in zip(size, values.shape[-len(size) :], strict=True)]
    return F.pad(values, [pad for side in reversed(missing) for pad in (0, side)])
