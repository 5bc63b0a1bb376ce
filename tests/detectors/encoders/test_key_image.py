"""Without fusion the key image alone speaks."""

import pytest
import torch
from torch import Tensor, nn

from napari_uld.detectors.encoders.key_image import LEVEL, KeyImage


class TwoStages(nn.Module):
    """A backbone whose last stage is the image times ten, at half its size."""

    out_channels = [1, 2]  # noqa: RUF012
    strides = (1, 2)
    imagenet_files = ()

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images[:, :1], 10 * images[:, :2, ::2, ::2]]


def test_its_level_is_the_backbones_last_stage() -> None:
    encoder = KeyImage(TwoStages())
    assert (encoder.channels, encoder.strides) == (2, (2,))
    assert encoder.per_image(torch.ones(4, 3, 6, 8))[LEVEL].tolist() == torch.full((4, 2, 3, 4), 10.0).tolist()


@pytest.mark.parametrize("images", [1, 3, 9])
def test_the_middle_image_alone_speaks(images: int) -> None:
    encoder = KeyImage(TwoStages())
    slab = [encoder.per_image(torch.full((1, 2, 4, 4), float(number))) for number in range(images)]
    fused = encoder.join(slab, torch.ones(1))
    assert fused.key[LEVEL].unique().tolist() == [10 * (images // 2)]
    assert fused.context == [fused.key]
    assert (fused.stem, fused.maps) == ({}, {})
