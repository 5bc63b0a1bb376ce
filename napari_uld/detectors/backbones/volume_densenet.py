"""The truncated DenseNet on volumes: two blocks slice by slice, the third in pseudo 3D."""

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from napari_uld.detectors.backbones.densenet import DenseNet, named_as_here
from napari_uld.detectors.backbones.pseudo_3d import FirstOfPlanes, Operator, fold, from_2d, to_3d, unfold

# In the names of weights that no network of images has.
NEW = ".temporal."


class VolumeDenseNet(DenseNet):
    """`DenseNet` whose last block sees along z, too; its names and, but for ST-3D, its weights are the 2D network's.

    Cai et al., "Deep Volumetric Universal Lesion Detection", section 2.1.

    Parameters
    ----------
    in_channels
        Channels of the input: phases of a study.
    blocks, growth
        As in `DenseNet`.
    operator
        What the last block's convolutions become.
    """

    def __init__(self, *, in_channels: int, blocks: Sequence[int], growth: int, operator: Operator) -> None:
        super().__init__(in_channels=in_channels, blocks=blocks, growth=growth)
        layers: Any = self.features
        layers.conv0 = FirstOfPlanes(in_channels, 2 * growth, 7, stride=2, padding=3, bias=False)
        nn.init.kaiming_normal_(layers.conv0.weight)
        to_3d(layers.denseblock3, operator)

    def forward(self, volumes: Tensor) -> list[Tensor]:
        """(N, C, D, H, W) -> the stem's output and the dense blocks', (N, c, D, h, w) at `strides` in the planes."""
        depth = volumes.shape[2]
        *stages, before_last = (unfold(stage, depth) for stage in self.first_blocks(fold(volumes)))
        return [*stages, self.last_block(before_last)]

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take torchvision's weights over; False where their shapes differ."""
        return self._take(from_2d(self, named_as_here(state)), new=NEW)
