"""A3D's fusion of slices, and the network that has one in the place of every shift."""

import torch
from torch import nn

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.backbones.fused_densenet import SPREAD, FusedDenseNet, SliceFusion
from napari_uld.detectors.backbones.shifted_densenet import ShiftedDenseNet


def network(slices: int = 3) -> FusedDenseNet:
    torch.manual_seed(0)
    return FusedDenseNet(slices=slices, blocks=(1, 2, 1), growth=16).eval()


def keep_own(fused: FusedDenseNet) -> None:
    """Let every slice take nothing of the others."""
    for fusion in fused.fusions.values():
        weight = fusion.weight
        weight.data = torch.eye(len(weight))[..., None].expand_as(weight).contiguous()


def test_each_slice_is_a_sum_of_all_with_shares_for_every_channel() -> None:
    torch.manual_seed(0)
    fusion, slices = SliceFusion(3, 2), torch.randn(2, 3, 2, 4, 5)
    expected = torch.zeros_like(slices)
    for scan in range(2):
        for taken in range(3):
            for given in range(3):
                for channel in range(2):
                    share = fusion.weight[given, taken, channel]
                    expected[scan, taken, channel] += share * slices[scan, given, channel]
    assert torch.allclose(fusion(slices), expected, atol=1e-6)


def test_a_slice_begins_with_its_own_and_little_of_the_others() -> None:
    torch.manual_seed(0)
    apart = SliceFusion(7, 16).weight.detach() - torch.eye(7)[..., None]
    assert apart.abs().max() <= SPREAD
    assert apart.abs().mean() > SPREAD / 3, "every share is drawn"
    # Asymmetric: what one gives is not what it takes.
    assert not torch.allclose(apart, apart.transpose(0, 1))


def test_where_every_slice_keeps_its_own_it_is_the_2d_network() -> None:
    fused = network()
    keep_own(fused)
    flat = DenseNet(in_channels=1, blocks=(1, 2, 1), growth=16).eval()
    assert flat.load_state_dict({name: v for name, v in fused.state_dict().items() if "fusions" not in name})
    slices = torch.randn(2, 3, 1, 64, 64)
    with torch.no_grad():
        stems = fused.stem(slices.flatten(0, 1)).unflatten(0, (2, 3))
        for block, stage in zip(fused.dense_blocks(stems, torch.ones(2)), flat(slices.flatten(0, 1))[1:], strict=True):
            assert torch.allclose(block.flatten(0, 1), stage, rtol=1e-4, atol=1e-4)


def test_every_slice_reaches_every_other_and_gradients_reach_every_share() -> None:
    fused = network().train()
    stems = torch.randn(1, 3, 32, 16, 16, requires_grad=True)
    (last,) = fused.dense_blocks(stems, torch.ones(1))[-1:]
    last[:, 0].square().sum().backward()
    assert stems.grad is not None
    assert stems.grad.flatten(2).any(dim=2).all()
    untouched = [name for name, each in fused.fusions.named_parameters() if each.grad is None or not each.grad.any()]
    assert untouched == []


def test_there_is_one_before_each_convolution_and_weights_of_2d_networks_fit_the_rest() -> None:
    fused = network()
    convs = [m for name, m in fused.features.named_modules() if isinstance(m, nn.Conv2d) and "denselayer" in name]
    assert len(fused.fusions) == len(convs) == 8
    assert sorted(f.weight.shape[2] for f in fused.fusions.values()) == sorted(conv.in_channels for conv in convs)
    before = {name: value.clone() for name, value in fused.fusions.state_dict().items()}
    offered = ShiftedDenseNet(blocks=(1, 2, 1), growth=16).state_dict()
    offered["features.conv0.weight"] = offered["features.conv0.weight"].repeat(1, 3, 1, 1)
    assert fused.take_imagenet(offered)
    taken = fused.state_dict()
    assert all(torch.equal(taken[name], value) for name, value in offered.items() if name != "features.conv0.weight")
    assert all(torch.equal(fused.fusions.state_dict()[name], value) for name, value in before.items())
