"""What the position on the body teaches: in which of its parts a slab lies, and where along it.

Li et al., "MVP-Net: Multi-view FPN with Position-aware Attention for Deep Universal Lesion Detection".
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


class PositionLoss:
    """Cross entropy over the body's parts, and smooth L1 on the coordinate along it, which is from 0 to 1.

    Parameters
    ----------
    ends
        Where each part but the last ends, ascending: what lies there is of the next.
    part_weight, weight
        Of the two.
    """

    def __init__(self, ends: Sequence[float], *, part_weight: float, weight: float) -> None:
        self.ends = tuple(ends)
        self.part_weight = part_weight
        self.weight = weight

    @property
    def parts(self) -> int:
        """How many parts the body has."""
        return len(self.ends) + 1

    def __call__(self, logits: Tensor, told: Tensor, true: Tensor) -> dict[str, Tensor]:
        """Means over the images whose slabs' positions are known; 0 where none is.

        Parameters
        ----------
        logits, told
            (N, images, parts) and (N, images): what each image of a slab tells.
        true
            (N,) positions, NaN where unknown.
        """
        known = ~true.isnan()
        parts = torch.bucketize(true[known], true.new_tensor(self.ends), right=True)
        each, part_of_each = (of_slab[:, None].expand(-1, told.shape[1]) for of_slab in (true[known], parts))
        # Sums, so that without any every weight has a gradient, if of 0: processes that train together wait for it.
        count = max(each.numel(), 1)
        of_parts = F.cross_entropy(logits[known].flatten(0, 1), part_of_each.flatten(), reduction="sum")
        of_positions = F.smooth_l1_loss(told[known], each, reduction="sum")
        return {"body_part": self.part_weight * of_parts / count, "position": self.weight * of_positions / count}
