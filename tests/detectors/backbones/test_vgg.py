"""VGG by stages, some of its poolings left out."""

import torch
from torch import Tensor, nn

from napari_uld.detectors.backbones.vgg import Vgg


def convolutions(backbone: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in backbone.modules() if isinstance(layer, nn.Conv2d)]


def vgg16(**changes: object) -> Vgg:
    parts = {"convolutions": (2, 2, 3, 3, 3), "width": 1.0, "without_pools": (4, 5), "norm": "none"} | changes
    return Vgg(in_channels=3, **parts)  # type: ignore[arg-type]


def test_vgg_16_without_its_fourth_pooling_has_stride_8_and_512_channels() -> None:
    with torch.device("meta"):
        published = vgg16()
    assert published.strides == (2, 4, 8, 8, 8)
    assert published.out_channels == [64, 128, 256, 512, 512]
    assert [conv.out_channels for conv in convolutions(published)] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    # VGG-16's convolutions without their fully connected layers.
    assert sum(p.numel() for p in published.parameters()) == 14_714_688


def test_each_pooling_left_out_halves_the_stride_and_the_width_scales_the_channels() -> None:
    small = vgg16(width=0.25, without_pools=(3, 4, 5), norm="batch")
    assert (small.strides, small.out_channels) == ((2, 4, 4, 4, 4), [16, 32, 64, 128, 128])
    shapes = [tuple(stage.shape) for stage in small(torch.zeros(1, 3, 32, 32))]
    assert shapes == [(1, 16, 16, 16), (1, 32, 8, 8), (1, 64, 8, 8), (1, 128, 8, 8), (1, 128, 8, 8)]
    assert sum(isinstance(layer, nn.BatchNorm2d) for layer in small.modules()) == 13


def test_vgg_19_pools_behind_each_of_its_five_groups() -> None:
    with torch.device("meta"):
        published = vgg16(convolutions=(2, 2, 4, 4, 4), without_pools=())
    assert published.strides == (2, 4, 8, 16, 32)
    assert [len(convolutions(stage)) for stage in published.stages] == [2, 2, 4, 4, 4]
    # VGG-19's convolutions without their fully connected layers.
    assert sum(p.numel() for p in published.parameters()) == 20_024_384


def test_each_stage_sees_what_the_one_before_it_gives_out() -> None:
    small = vgg16(width=0.125).eval()
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        for stage, given in zip(small.stages, small(image), strict=True):
            image = stage(image)
            assert torch.equal(image, given)


def imagenet_state(widths: list[int]) -> dict[str, Tensor]:
    """A state as torchvision's VGG-16 has it: numbered layers, then a classifier."""
    state: dict[str, Tensor] = {"classifier.0.weight": torch.zeros(2, 2)}
    channels, number = 3, 0
    for index, width in enumerate(widths):
        state[f"features.{number}.weight"] = torch.full((width, channels, 3, 3), float(index))
        state[f"features.{number}.bias"] = torch.full((width,), -float(index))
        # Behind a group's last convolution a pooling takes a number too.
        number += 3 if index in (1, 3, 6, 9) else 2
        channels = width
    return state


def test_imagenets_weights_are_taken_layer_by_layer_past_the_poolings() -> None:
    widths = [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64, 64]
    for norm in ("none", "batch"):
        backbone = vgg16(width=0.125, norm=norm)
        assert backbone.take_imagenet(imagenet_state(widths))
        for index, conv in enumerate(convolutions(backbone)):
            assert conv.weight.unique().tolist() == [index]
            assert norm == "batch" or conv.bias.unique().tolist() == [-index]  # type: ignore[union-attr]


def test_weights_of_another_shape_or_depth_are_left_alone() -> None:
    backbone = vgg16(width=0.125)
    before = [conv.weight.clone() for conv in convolutions(backbone)]
    widths = [8, 8, 16, 16, 32, 32, 32, 64, 64, 64, 64, 64]
    assert not backbone.take_imagenet(imagenet_state([*widths, 63]))
    assert not backbone.take_imagenet(imagenet_state(widths))
    assert all(torch.equal(a, conv.weight) for a, conv in zip(before, convolutions(backbone), strict=True))
