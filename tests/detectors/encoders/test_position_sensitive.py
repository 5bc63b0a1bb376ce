"""3DCE: what a slab's images give the heads."""

import torch
from torch import Tensor, nn

from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.encoders.position_sensitive import POSITION_SENSITIVE, PositionSensitive


class TwoStages(nn.Module):
    """A backbone whose last stage is the image times ten."""

    out_channels = [1, 2]  # noqa: RUF012
    strides = (1, 8)
    imagenet_files = ()

    def forward(self, images: Tensor) -> list[Tensor]:
        return [images[:, :1], 10 * images]


def slab(images: int) -> list[Tensor]:
    """A slab's images, image i holding the value i."""
    return [torch.full((1, 2, 4, 4), float(number)) for number in range(images)]


def test_it_proposes_on_the_middle_image_and_pools_from_all() -> None:
    encoder = PositionSensitive(TwoStages(), channels=3, size=2)
    assert (encoder.channels, encoder.strides) == (2, (8,))
    features = [encoder.per_image(image) for image in slab(3)]
    assert [set(image) for image in features] == [{LEVEL, POSITION_SENSITIVE}] * 3
    fused = encoder.join(features, torch.ones(1))
    assert set(fused.key) == {LEVEL}, "proposals and branch see the backbone's level alone"
    assert fused.key[LEVEL].unique().tolist() == [10]
    assert [set(image) for image in fused.context] == [{POSITION_SENSITIVE}] * 3
    for image, maps in zip(slab(3), fused.context, strict=True):
        assert maps[POSITION_SENSITIVE].shape == (1, 3 * 2 * 2, 4, 4)
        assert torch.equal(maps[POSITION_SENSITIVE], encoder.conv(10 * image))
