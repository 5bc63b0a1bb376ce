"""ResNet by stages."""

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet101
from torchvision.models.resnet import Bottleneck

from napari_uld.detectors.backbones.resnet import ResNet


def test_resnet_101_has_torchvisions_layers_and_names() -> None:
    with torch.device("meta"):
        own, theirs = ResNet(in_channels=3, blocks=(3, 4, 23, 3), width=1.0, stem_pool=True), resnet101(weights=None)
    shapes = {name: value.shape for name, value in own.state_dict().items()}
    assert shapes == {name: v.shape for name, v in theirs.state_dict().items() if not name.startswith("fc.")}
    strides = {name: m.stride for name, m in theirs.named_modules() if isinstance(m, torch.nn.Conv2d)}
    assert {name: m.stride for name, m in own.named_modules() if isinstance(m, torch.nn.Conv2d)} == strides
    assert [len(getattr(own, f"layer{stage}")) for stage in (1, 2, 3, 4)] == [3, 4, 23, 3]
    assert own.out_channels == [256, 512, 1024, 2048]


def small(**changes: object) -> ResNet:
    torch.manual_seed(0)
    parts = {"blocks": (1, 2, 1, 1), "width": 0.125, "stem_pool": True} | changes
    return ResNet(in_channels=3, **parts)  # type: ignore[arg-type]


@pytest.mark.parametrize(("stem_pool", "finest"), [(True, 4), (False, 2)])
def test_the_stages_lie_at_the_strides_it_names_finest_first(stem_pool: bool, finest: int) -> None:
    backbone = small(stem_pool=stem_pool).eval()
    stages = backbone(torch.zeros(1, 3, 128, 64))
    assert backbone.strides == tuple(finest * 2**stage for stage in range(4))
    assert backbone.out_channels == [32, 64, 128, 256]
    shapes = [(1, c, 128 // s, 64 // s) for c, s in zip(backbone.out_channels, backbone.strides, strict=True)]
    assert [tuple(stage.shape) for stage in stages] == shapes


def test_the_same_weights_give_torchvisions_features() -> None:
    torch.manual_seed(0)
    body = ResNet(in_channels=3, blocks=(3, 4, 23, 3), width=1.0, stem_pool=True).eval()
    theirs = resnet101(weights=None).eval()
    theirs.load_state_dict(body.state_dict(), strict=False)
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        x = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image))))
        for number, level in enumerate(body(image), start=1):
            x = getattr(theirs, f"layer{number}")(x)
            assert torch.equal(level, x)


def test_where_the_last_norms_begin_at_0_every_block_passes_its_input_on() -> None:
    passing, mixing = small(zero_init=True).eval(), small().eval()
    image = torch.rand(1, 32, 8, 8)
    with torch.inference_mode():
        assert torch.equal(passing.layer2[1](image.repeat(1, 2, 1, 1)), image.repeat(1, 2, 1, 1))
        assert not torch.equal(mixing.layer2[1](image.repeat(1, 2, 1, 1)), image.repeat(1, 2, 1, 1))


def imagenet_state(backbone: ResNet) -> dict[str, Tensor]:
    """What torchvision's file holds for a network of these shapes: every weight 1, and the classifier."""
    state = {name: torch.ones_like(value) for name, value in backbone.state_dict().items()}
    return state | {"fc.weight": torch.zeros(1000, 7), "fc.bias": torch.zeros(1000)}


@pytest.mark.parametrize("counters", [True, False])
def test_imagenets_weights_are_taken_and_its_classifier_is_not(counters: bool) -> None:
    backbone = small()
    state = imagenet_state(backbone)
    if not counters:
        state = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
    assert backbone.take_imagenet(state)
    assert all((p == 1).all() for p in backbone.parameters())


def test_weights_of_another_shape_or_with_layers_too_many_or_too_few_are_left_alone() -> None:
    backbone = small()
    before = {name: value.clone() for name, value in backbone.state_dict().items()}
    state = imagenet_state(backbone)
    deeper = imagenet_state(small(blocks=(1, 3, 1, 1)))
    shallower = imagenet_state(small(blocks=(1, 1, 1, 1)))
    for offered in (state | {"conv1.weight": torch.ones(8, 1, 7, 7)}, deeper, shallower):
        assert not backbone.take_imagenet(offered)
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


def test_only_the_first_block_of_a_stage_shrinks_and_changes_channels() -> None:
    stage = small().layer2
    assert [isinstance(block, Bottleneck) for block in stage] == [True, True]
    assert [block.stride for block in stage] == [2, 1]
    assert [block.downsample is not None for block in stage] == [True, False]
