"""The truncated DenseNet: its stages, and ImageNet's weights of the whole one."""

import re

import pytest
import torch
from torch import Tensor
from torchvision.models import DenseNet as Whole
from torchvision.models import densenet121

from napari_uld.detectors.backbones.densenet import DenseNet


def small(blocks: tuple[int, int, int] = (1, 2, 1)) -> DenseNet:
    torch.manual_seed(0)
    return DenseNet(in_channels=3, blocks=blocks, growth=16)


def whole_state(growth: int = 16) -> dict[str, Tensor]:
    """A whole network's weights, every one drawn anew."""
    torch.manual_seed(1)
    network = Whole(growth_rate=growth, block_config=(1, 2, 1, 1), num_init_features=2 * growth, num_classes=5)
    return {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in network.state_dict().items()}


def test_it_is_densenet_121_up_to_the_third_block() -> None:
    backbone = DenseNet(in_channels=3, blocks=(6, 12, 24), growth=32)
    assert backbone.out_channels == [64, 256, 512, 1024]
    assert backbone.strides == (2, 4, 8, 16)
    assert backbone.imagenet_files == ("densenet121-a639ec97.pth",)
    whole = densenet121().eval()
    assert backbone.take_imagenet(whole.state_dict())
    backbone.eval()
    layers, image = whole.features, torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        stem = layers.relu0(layers.norm0(layers.conv0(image)))
        first = layers.denseblock1(layers.pool0(stem))
        second = layers.denseblock2(layers.transition1(first))
        third = layers.denseblock3(layers.transition2(second))
        found = backbone(image)
    assert [torch.equal(a, b) for a, b in zip(found, (stem, first, second, third), strict=True)] == [True] * 4


@pytest.mark.parametrize("old", [True, False])
def test_imagenets_weights_are_taken_under_the_names_of_old_files_too(old: bool) -> None:
    backbone, state = small(), whole_state()
    named = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", k) if old else k: v for k, v in state.items()}
    if old:
        named = {name: value for name, value in named.items() if not name.endswith("num_batches_tracked")}
    assert backbone.take_imagenet(named)
    own = backbone.state_dict()
    assert all(torch.equal(own[name], state[name]) for name in own if "num_batches" not in name)
    assert not any("transition3" in name or "denseblock4" in name or "norm5" in name for name in own)


def test_weights_of_another_shape_are_left_alone() -> None:
    backbone = small(blocks=(1, 1, 1))
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    assert not backbone.take_imagenet(whole_state())
    assert not small().take_imagenet(whole_state(growth=8))
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_entering_it_before_the_last_block_gives_what_going_through_does() -> None:
    backbone, image = small().eval(), torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        *stages, before_last = backbone.first_blocks(image)
        through = backbone(image)
        last = backbone.last_block(before_last)
    assert [torch.equal(a, b) for a, b in zip(through, [*stages, last], strict=True)] == [True] * 4
