"""DenseNet without its last transition and block: MULAN's backbone, and of those that came after it."""

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torchvision.models import DenseNet as TorchvisionDenseNet

# Input pixels per cell of the stem's output, and of each dense block's.
STRIDES = (2, 4, 8, 16)
# Weights in torchvision's cache by (the blocks that are used, growth).
IMAGENET_FILES: dict[tuple[tuple[int, ...], int], tuple[str, ...]] = {
    ((6, 12, 24), 32): ("densenet121-a639ec97.pth",),
}
# Layers of the published network that are left out: a transition, a block, and the norm and classifier behind it.
LEFT_OUT = ("features.transition3.", "features.denseblock4.", "features.norm5.", "classifier.")
# Old files write "norm.1" where the network has "norm1".
OLD_NAME = re.compile(r"(?<=\.)(norm|conv)\.([12])(?=\.)")


class DenseNet(nn.Module):
    """A stem and three dense blocks with a transition between them, named as torchvision's so that its weights fit.

    Parameters
    ----------
    in_channels
        Channels of the input.
    blocks
        Layers of each dense block; DenseNet-121 has (6, 12, 24), and a fourth that is left out.
    growth
        Channels that a layer adds; the stem has twice as many.
    """

    def __init__(self, *, in_channels: int, blocks: Sequence[int], growth: int) -> None:
        super().__init__()
        self.imagenet_files: tuple[str, ...] = IMAGENET_FILES.get((tuple(blocks), growth), ())
        self.strides: tuple[int, ...] = STRIDES
        first, second, third = blocks
        # torchvision's type says that there are four; it builds as many as it is given.
        given: Any = (first, second, third)
        layers: Any = TorchvisionDenseNet(growth_rate=growth, block_config=given, num_init_features=2 * growth).features
        layers.conv0 = nn.Conv2d(in_channels, 2 * growth, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(layers.conv0.weight)
        # torchvision puts a norm behind the last block, whichever that is; MULAN takes the block's output as it is.
        del layers.norm5
        self.features = layers
        self.out_channels: list[int] = [2 * growth]
        channels = 2 * growth
        for depth in blocks:
            self.out_channels.append(channels + depth * growth)
            channels = self.out_channels[-1] // 2

    def forward(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> the stem's output and the dense blocks', at `strides`."""
        *stages, before_last = self.first_blocks(images)
        return [*stages, self.last_block(before_last)]

    def first_blocks(self, images: Tensor) -> list[Tensor]:
        """(N, C, H, W) -> the stem's output, the first two dense blocks', and what the last block goes on from."""
        layers: Any = self.features
        stem = layers.relu0(layers.norm0(layers.conv0(images)))
        first = layers.denseblock1(layers.pool0(stem))
        second = layers.denseblock2(layers.transition1(first))
        return [stem, first, second, layers.transition2(second)]

    def last_block(self, before: Tensor) -> Tensor:
        """The last dense block's output, from the transition before it."""
        layers: Any = self.features
        last: Tensor = layers.denseblock3(before)
        return last

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take torchvision's weights over; False where their shapes differ."""
        return self._take(named_as_here(state))

    def _take(self, offered: dict[str, Tensor], new: str = "") -> bool:
        """Take weights over, unless something lacks that is not `new` by its name, or some are of another network."""
        current = self.state_dict()
        if any(name not in current or current[name].shape != value.shape for name, value in offered.items()):
            return False
        # Old files lack the batch norms' counters.
        left = [name for name in current if name not in offered and not name.endswith("num_batches_tracked")]
        if any(not new or new not in name for name in left):
            return False
        self.load_state_dict(offered, strict=False)
        return True


def named_as_here(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give those of torchvision's weights that a truncated network has, under their names here."""
    named = {OLD_NAME.sub(r"\1\2", name): value for name, value in state.items()}
    return {name: value for name, value in named.items() if not name.startswith(LEFT_OUT)}
