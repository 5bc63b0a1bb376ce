"""The feature pyramid and its attention gates."""

import pytest
import torch
from torch import nn
from torchvision.ops.feature_pyramid_network import FeaturePyramidNetwork, LastLevelMaxPool

from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.backbones.vgg import Vgg
from napari_uld.detectors.encoders.pyramid import AttentionGate, Pyramid, PyramidEncoder, Skip

STAGES = [4, 6, 8, 10, 12]


def stages(size: int = 64) -> list[torch.Tensor]:
    return [torch.randn(2, channels, size >> n, size >> n) for n, channels in enumerate(STAGES, start=1)]


def test_an_attention_gate_is_one_by_one_convolutions_and_gives_one_map_for_all_channels() -> None:
    gate = AttentionGate(8)
    assert {m.kernel_size for m in gate.modules() if isinstance(m, nn.Conv2d)} == {(1, 1)}
    skip, signal = torch.randn(2, 8, 5, 7), torch.randn(2, 8, 5, 7)
    gated, attention = gate(skip, signal)
    assert attention.shape == (2, 1, 5, 7)
    assert ((attention > 0) & (attention < 1)).all()
    assert torch.allclose(gated, skip * attention)


def test_an_attention_map_is_the_sigmoid_of_what_skip_and_coarser_level_say_together() -> None:
    gate = AttentionGate(2)
    with torch.no_grad():
        for conv, weight in ((gate.of_skip, [1.0, 0.0]), (gate.of_gate, [0.0, 2.0]), (gate.to_map, [3.0])):
            conv.weight.copy_(torch.tensor(weight).view_as(conv.weight))
            conv.bias.zero_()
    skip = torch.tensor([1.0, 5.0]).view(1, 2, 1, 1)
    for second, expected in ((0.5, 3.0 * (1.0 + 2.0 * 0.5)), (-4.0, 0.0)):
        gated, attention = gate(skip, torch.tensor([9.0, second]).view(1, 2, 1, 1))
        assert attention.item() == pytest.approx(torch.tensor(expected).sigmoid().item())
        assert gated.flatten().tolist() == pytest.approx([attention.item(), 5 * attention.item()])


@pytest.mark.parametrize("gated", [False, True])
def test_a_skip_adds_the_coarser_level_at_its_own_size_and_gates_itself_alone(gated: bool) -> None:
    join = Skip(nn.Identity(), 4, gated=gated)
    finer, coarser = torch.randn(1, 4, 7, 5), torch.randn(1, 4, 4, 3)
    merged, attention = join(finer, coarser)
    up = coarser.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., :7, :5]
    # Nearest neighbours of 7 cells among 4 and of 5 among 3 are those of 8 among 4 and 6 among 3.
    assert (attention is None) == (not gated)
    expected = finer + up if attention is None else finer * attention + up
    assert torch.allclose(merged, expected)


def retinanets(finest: int, *, gated: bool) -> Pyramid:
    """Five levels, those below C5 by convolutions."""
    torch.manual_seed(0)
    used = STAGES[finest - 1 :]
    return Pyramid(used, finest=finest, channels=16, gated=gated, coarser=5 - len(used), strided=True)


@pytest.mark.parametrize(("finest", "sizes"), [(3, [8, 4, 2, 1, 1]), (2, [16, 8, 4, 2, 1])])
def test_the_pyramid_has_five_levels_from_its_finest_one(finest: int, sizes: list[int]) -> None:
    levels, attention = retinanets(finest, gated=False)(stages()[finest - 1 :])
    assert [tuple(level.shape) for level in levels] == [(2, 16, size, size) for size in sizes]
    assert attention == {}


def test_gates_stand_on_every_skip_of_the_pyramid_and_none_on_its_top() -> None:
    _, attention = retinanets(2, gated=True)(stages()[1:])
    assert {name: tuple(level.shape) for name, level in attention.items()} == {
        "C2": (2, 1, 16, 16),
        "C3": (2, 1, 8, 8),
        "C4": (2, 1, 4, 4),
    }


def test_p6_comes_from_c5_and_p7_from_p6_by_convolutions_of_stride_two() -> None:
    pyramid = retinanets(3, gated=False)
    used = stages()[2:]
    levels, _ = pyramid(used)
    sixth, seventh = pyramid.coarser
    assert torch.equal(levels[3], sixth(used[-1]))
    assert torch.equal(levels[4], seventh(levels[3].relu()))


def test_with_a_subsampled_p6_it_is_torchvisions_pyramid() -> None:
    torch.manual_seed(0)
    ours = Pyramid(STAGES[1:], finest=2, channels=16, gated=False, coarser=1, strided=False)
    theirs = FeaturePyramidNetwork(STAGES[1:], 16, extra_blocks=LastLevelMaxPool())
    projections = [*(skip.projection for skip in ours.skips), ours.top]
    for number, (projection, smooth) in enumerate(zip(projections, ours.smooth, strict=True)):
        theirs.inner_blocks[number][0].load_state_dict(projection.state_dict())
        theirs.layer_blocks[number][0].load_state_dict(smooth.state_dict())
    used = stages()[1:]
    expected = theirs({str(number): stage for number, stage in enumerate(used)})
    levels, _ = ours(used)
    assert [tuple(level.shape[2:]) for level in levels] == [(16, 16), (8, 8), (4, 4), (2, 2), (1, 1)]
    for level, other in zip(levels, expected.values(), strict=True):
        assert torch.allclose(level, other, atol=1e-6)


@pytest.mark.parametrize(("stem_pool", "finest"), [(True, 4), (False, 2)])
def test_a_resnets_pyramid_has_five_levels_at_the_strides_it_names_finest_first(stem_pool: bool, finest: int) -> None:
    resnet = ResNet(in_channels=3, blocks=(1, 2, 1, 1), width=0.125, stem_pool=stem_pool)
    pyramid = Pyramid(resnet.out_channels, finest=2, channels=16, gated=False, coarser=1, strided=False)
    encoder = PyramidEncoder(resnet, pyramid).eval()
    features = encoder.per_image(torch.zeros(1, 3, 128, 64))
    assert list(features) == ["P2", "P3", "P4", "P5", "P6"]
    assert encoder.strides == tuple(finest * 2**level for level in range(5))
    assert encoder.channels == 16
    assert [level.shape for level in features.values()] == [(1, 16, 128 // s, 64 // s) for s in encoder.strides]


@pytest.mark.parametrize(
    ("finest", "stem", "strides"),
    [(2, {"C1": 2}, (4, 8, 16, 32, 64)), (3, {"C1": 2, "C2": 4}, (8, 16, 32, 64, 128))],
)
def test_the_stages_below_a_vggs_pyramid_are_its_stem_and_the_gates_maps_are_to_look_at(
    finest: int, stem: dict[str, int], strides: tuple[int, ...]
) -> None:
    vgg = Vgg(in_channels=3, convolutions=(1, 1, 1, 1, 1), width=0.125, without_pools=(), norm="none")
    used = vgg.out_channels[finest - 1 :]
    pyramid = Pyramid(used, finest=finest, channels=16, gated=True, coarser=5 - len(used), strided=True)
    encoder = PyramidEncoder(vgg, pyramid)
    assert encoder.strides == strides
    image = torch.randn(1, 3, 128, 128)
    fused = encoder.join([encoder.per_image(image)], torch.ones(1))
    assert list(fused.key) == [f"P{finest + level}" for level in range(5)]
    assert [level.shape[-1] for level in fused.key.values()] == [128 // stride for stride in strides]
    assert {name: 128 // stage.shape[-1] for name, stage in fused.stem.items()} == stem
    assert torch.equal(fused.stem["C1"], vgg(image)[0])
    assert set(fused.maps) == {f"C{stage}" for stage in range(finest, 5)}
    assert fused.context == [fused.key]


def test_of_a_slab_the_key_images_pyramid_is_taken() -> None:
    resnet = ResNet(in_channels=1, blocks=(1, 1, 1, 1), width=0.125, stem_pool=True)
    pyramid = Pyramid(resnet.out_channels, finest=2, channels=4, gated=False, coarser=1, strided=False)
    encoder = PyramidEncoder(resnet, pyramid).eval()
    slab = [encoder.per_image(torch.randn(1, 1, 64, 64)) for _ in range(3)]
    fused = encoder.join(slab, torch.ones(1))
    assert all(torch.equal(level, slab[1][name]) for name, level in fused.key.items())


def test_imagenets_weights_are_the_backbones_alone() -> None:
    resnet = ResNet(in_channels=3, blocks=(1, 1, 1, 1), width=0.125, stem_pool=True)
    encoder = PyramidEncoder(
        resnet, Pyramid(resnet.out_channels, finest=2, channels=4, gated=False, coarser=1, strided=False)
    )
    before = {name: value.clone() for name, value in encoder.pyramid.state_dict().items()}
    assert encoder.backbone.take_imagenet({name: torch.ones_like(v) for name, v in resnet.state_dict().items()})
    assert all((p == 1).all() for p in resnet.parameters())
    assert all(torch.equal(before[name], value) for name, value in encoder.pyramid.state_dict().items())
