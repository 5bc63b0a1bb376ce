"""A pyramid without smoothing: what is coarser is repeated and added."""

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor


def top_down(coarsest: Tensor, laterals: Sequence[Tensor]) -> Tensor:
    """The finest of `laterals`, coarsest first, with all that is coarser added."""
    level = coarsest
    for lateral in laterals:
        level = lateral + F.interpolate(level, size=lateral.shape[-2:], mode="nearest")
    return level
