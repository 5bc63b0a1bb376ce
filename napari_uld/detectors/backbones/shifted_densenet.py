"""The truncated DenseNet on slices that share channels with their neighbours: AlignShift.

Yang et al., "AlignShift: Bridging the Gap of Imaging Thickness in 3D Anisotropic Volumes".
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from napari_uld.detectors.backbones.densenet import DenseNet

# Slices that lie so many mm apart, or less, give their channels away whole; further ones keep a share.
REFERENCE_MM = 2.0
# One channel of so many is taken from the next slice, as many are from the one before.
FOLD = 8
# Of ImageNet's first convolution, which sees red, green and blue.
GREEN = slice(1, 2)


def own_share(thickness: Tensor) -> Tensor:
    """Share of a shifted channel that a slice keeps, where a scan's slices lie `thickness` (N,) mm apart."""
    return 1 - (REFERENCE_MM / thickness).clamp(0, 1)


def align_shift(slices: Tensor, own: Tensor) -> Tensor:
    """Mix an eighth of the channels with the next slice's, another eighth with those of the one before.

    The last slice, and the first one, keep what they would give to a slice that is not there.

    Parameters
    ----------
    slices
        (N, D, C, H, W).
    own
        (N,) share that a slice keeps, as `own_share` gives it.
    """
    shifted: Tensor = _Exchange.apply(slices, own.to(slices)[:, None, None, None, None])
    return shifted


class _Exchange(torch.autograd.Function):
    """`align_shift` with gradients of its own: those of its slices copy all channels four times over."""

    @staticmethod
    def forward(ctx: Any, slices: Tensor, share: Tensor) -> Tensor:
        ctx.save_for_backward(share)
        later, earlier = _exchanged(slices)
        shifted = slices.clone()
        of_later, of_earlier = _exchanged(shifted)
        of_later[:, :-1] = torch.lerp(later[:, 1:], later[:, :-1], share)
        of_earlier[:, 1:] = torch.lerp(earlier[:, :-1], earlier[:, 1:], share)
        return shifted

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (gradient,) = gradients
        (share,) = ctx.saved_tensors
        later, earlier = _exchanged(gradient)
        given, given_back = later[:, :-1] * (1 - share), earlier[:, 1:] * (1 - share)
        to_slices = gradient.clone()
        to_later, to_earlier = _exchanged(to_slices)
        to_later[:, :-1] -= given
        to_later[:, 1:] += given
        to_earlier[:, 1:] -= given_back
        to_earlier[:, :-1] += given_back
        return to_slices, None


def _exchanged(slices: Tensor) -> tuple[Tensor, Tensor]:
    """Views of the channels taken from the next slice, and of those taken from the one before."""
    eighth = slices.shape[2] // FOLD
    return slices[:, :, :eighth], slices[:, :, eighth : 2 * eighth]


class ShiftedDenseNet(DenseNet):
    """`DenseNet` of single slices, whose dense layers shift channels between them before both of their convolutions.

    It has the 2D network's weights: a kernel one slice deep is a kernel of images.

    Parameters
    ----------
    blocks, growth
        As in `DenseNet`.
    """

    def __init__(self, *, blocks: Sequence[int], growth: int) -> None:
        super().__init__(in_channels=1, blocks=blocks, growth=growth)

    def stem(self, slices: Tensor) -> Tensor:
        """(N, 1, H, W) -> what the first block sees of each, which has not yet met its neighbours, at stride 4."""
        layers: Any = self.features
        pooled: Tensor = layers.pool0(layers.relu0(layers.norm0(layers.conv0(slices))))
        return pooled

    def dense_blocks(self, stems: Tensor, own: Tensor) -> list[Tensor]:
        """Stems (N, D, c, h, w) of neighbouring slices -> the dense blocks' outputs (N, D, C, h, w).

        `own` (N,) is the share of a shifted channel that a slice keeps.
        """
        layers: Any = self.features
        first = self._dense_block("denseblock1", stems, own)
        second = self._dense_block("denseblock2", _of_each(layers.transition1, first), own)
        return [first, second, self._dense_block("denseblock3", _of_each(layers.transition2, second), own)]

    def exchange(self, conv: str, slices: Tensor, own: Tensor) -> Tensor:
        """What a convolution, by its name, sees of slices (N, D, C, h, w) and their neighbours."""
        return align_shift(slices, own)

    def _dense_block(self, block: str, slices: Tensor, own: Tensor) -> Tensor:
        """(N, D, C, H, W) -> the same with what each layer of torchvision's block adds, along C."""
        layers: Any = self.features
        seen = slices.flatten(0, 1)

        def met(conv: str, images: Tensor) -> Tensor:
            return self.exchange(conv, images.unflatten(0, slices.shape[:2]), own).flatten(0, 1)

        for name, layer in getattr(layers, block).items():
            narrow = layer.conv1(met(f"{block}_{name}_conv1", layer.relu1(layer.norm1(seen))))
            seen = torch.cat([seen, layer.conv2(met(f"{block}_{name}_conv2", layer.relu2(layer.norm2(narrow))))], dim=1)
        return seen.unflatten(0, slices.shape[:2])

    def take_imagenet(self, state: dict[str, Tensor]) -> bool:
        """Take torchvision's weights over, of the first convolution those for green; False where shapes differ."""
        name = "features.conv0.weight"
        first = state.get(name)
        if first is None or first.dim() != 4 or first.shape[1] != 3:
            return False
        return super().take_imagenet(state | {name: first[:, GREEN]})


def _of_each(layer: Any, slices: Tensor) -> Tensor:
    """Run a 2D layer on each slice of (N, D, C, H, W)."""
    made: Tensor = layer(slices.flatten(0, 1))
    return made.unflatten(0, slices.shape[:2])
