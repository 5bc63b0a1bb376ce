"""What the segmentation branch on positive proposals learns: masks, or bounding maps.

"The BMC paper" is Li et al., "Conditional Training with Bounding Map for Universal Lesion Detection".
"""

from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import roi_align

from napari_uld.detectors.parts import Target

OUTPUT = 28


class Positives(NamedTuple):
    """The positive proposals of one image: boxes (n, 4), the lesion each is matched with (n,), its class (n,)."""

    boxes: Tensor
    matched: Tensor
    labels: Tensor


class BranchLoss(Protocol):
    """What the branch learns."""

    def wanted(self, target: Target, positives: Positives) -> Tensor:
        """Give the (n, 28, 28) map over each positive proposal of an image."""

    def __call__(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean loss over (n, 28, 28) logits and maps."""


class MapLoss:
    """A bounding map cropped to each proposal, by squared difference (eq. 13 of the BMC paper).

    Parameters
    ----------
    name
        Name of the map in the targets, "bm" or "abm": (H, W) of all lesions.
    matched
        Whether a proposal sees the map of its own lesion alone, from "lesion_bms" or "lesion_abms" (n, H, W).
    """

    def __init__(self, name: str, *, matched: bool = False) -> None:
        self.name = name
        self.matched = matched

    def wanted(self, target: Target, positives: Positives) -> Tensor:
        """Crop the map to each proposal."""
        if self.matched:
            return _of_matched(target[f"lesion_{self.name}s"], positives)
        return roi_align(target[self.name][None, None], [positives.boxes], OUTPUT, aligned=True)[:, 0]

    def __call__(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean squared difference of the sigmoid."""
        return F.mse_loss(logits.sigmoid(), wanted)


class MaskLoss:
    """The matched lesion's own mask, by binary cross entropy, as in Mask R-CNN.

    Targets hold ``masks`` (n, H, W) of 0 and 1.
    """

    def wanted(self, target: Target, positives: Positives) -> Tensor:
        """Crop each proposal's lesion to it."""
        return _of_matched(target["masks"], positives)

    def __call__(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean binary cross entropy."""
        return F.binary_cross_entropy_with_logits(logits, wanted)


class DiceLoss(MaskLoss):
    """The matched lesion's own mask, by Dice's overlap of each proposal, as AlignShift's released code has it.

    Parameters
    ----------
    smooth
        Added above and below, so that a proposal without any mask has an overlap, too.
    """

    def __init__(self, smooth: float = 0.01) -> None:
        self.smooth = smooth

    def __call__(self, logits: Tensor, wanted: Tensor) -> Tensor:
        """Mean of 1 - 2 |A B| / (|A| + |B|)."""
        found = logits.sigmoid()
        common, both = ((2 * found * wanted).sum(dim=(1, 2)), (found + wanted).sum(dim=(1, 2)))
        return 1 - ((common + self.smooth) / (both + self.smooth)).mean()


def _of_matched(maps: Tensor, positives: Positives) -> Tensor:
    """Crop maps (n, H, W) of single lesions to the proposals matched with them."""
    regions = torch.cat([positives.matched[:, None].to(positives.boxes), positives.boxes], dim=1)
    return roi_align(maps.to(positives.boxes)[:, None], regions, OUTPUT, aligned=True)[:, 0]
