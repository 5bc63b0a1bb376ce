"""A ResNet's stages become levels of one width, and coarser ones are made of the last."""

import torch

from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.encoders.projected import ProjectedStages


def test_there_are_as_many_levels_as_asked_for_each_half_as_fine_as_the_one_before() -> None:
    torch.manual_seed(0)
    backbone = ResNet(in_channels=3, blocks=(1, 1, 1, 1), width=0.125, stem_pool=True)
    encoder = ProjectedStages(backbone, levels=5, channels=8, groups=4)
    assert encoder.strides == (8, 16, 32, 64, 128)
    features = encoder.per_image(torch.randn(2, 3, 128, 256))
    assert list(features) == ["C3", "C4", "C5", "C6", "C7"]
    assert [tuple(level.shape) for level in features.values()] == [
        (2, 8, 128 // stride, 256 // stride) for stride in encoder.strides
    ]
    assert encoder.join([features], torch.ones(2)).key is features
