"""What an untrained head says."""

import math

from torch import nn

# Of every anchor and pixel: the loss of so many negatives must not drown the rest.
PRIOR = 0.01


def expect_little(conv: nn.Conv2d | nn.Conv3d | nn.Linear) -> None:
    """Make a convolution, or what is one of single places, whose sigmoid is a probability say `PRIOR` everywhere."""
    nn.init.normal_(conv.weight, std=0.01)
    nn.init.constant_(conv.bias, math.log(PRIOR / (1 - PRIOR)))  # type: ignore[arg-type]
