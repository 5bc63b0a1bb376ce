"""A ResNet's last stage comes up again to an eighth of its stride."""

import pytest
import torch

from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.encoders.up_convolved import UpConvolved


@pytest.mark.parametrize(("stem_pool", "stride"), [(True, 4), (False, 2)])
def test_the_level_is_as_fine_as_its_stride_says_and_made_of_the_last_stage_alone(stem_pool: bool, stride: int) -> None:
    torch.manual_seed(0)
    encoder = UpConvolved(ResNet(in_channels=3, blocks=(1, 1, 1, 1), width=0.125, stem_pool=stem_pool), channels=5)
    assert (encoder.channels, encoder.strides) == (5, (stride,))
    features = encoder.per_image(torch.randn(2, 3, 64, 96))
    fused = encoder.join([features], torch.ones(2))
    assert [tuple(level.shape) for level in fused.key.values()] == [(2, 5, 64 // stride, 96 // stride)]
    assert encoder.up[0].in_channels == encoder.backbone.out_channels[-1]
