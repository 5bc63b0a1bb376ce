"""The truncated DenseNet whose slices exchange channels: the shift, and the 2D network's weights."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.models import DenseNet as Whole

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.backbones.shifted_densenet import ShiftedDenseNet, align_shift, own_share

# 1, 2 and 5 mm between a scan's slices.
THICKNESS = torch.tensor([1.0, 2.0, 5.0])
OWN = (0.0, 0.0, 0.6)


def small() -> ShiftedDenseNet:
    torch.manual_seed(0)
    return ShiftedDenseNet(blocks=(1, 2, 1), growth=16).eval()


def whole_state() -> dict[str, Tensor]:
    """A whole network's weights, every one drawn anew."""
    torch.manual_seed(1)
    network = Whole(growth_rate=16, block_config=(1, 2, 1, 1), num_init_features=32, num_classes=5)
    return {name: torch.rand_like(v) if v.is_floating_point() else v for name, v in network.state_dict().items()}


def by_hand(slices: Tensor, shares: tuple[float, ...]) -> Tensor:
    """The shift, channel by channel and slice by slice."""
    shifted = slices.clone()
    scans, depth, channels = slices.shape[:3]
    eighth = channels // 8
    for scan in range(scans):
        own = shares[scan]
        for z in range(depth):
            for channel in range(2 * eighth):
                neighbour = z + 1 if channel < eighth else z - 1
                if 0 <= neighbour < depth:
                    mixed = own * slices[scan, z, channel] + (1 - own) * slices[scan, neighbour, channel]
                    shifted[scan, z, channel] = mixed
    return shifted


def test_a_slice_keeps_nothing_of_a_shifted_channel_up_to_2_mm_and_three_fifths_at_5() -> None:
    assert own_share(THICKNESS).tolist() == pytest.approx(OWN)
    assert own_share(torch.tensor([2.5, 4.0])).tolist() == pytest.approx([0.2, 0.5])


@pytest.mark.parametrize("depth", [1, 2, 3, 7])
@pytest.mark.parametrize("channels", [16, 20])
def test_the_shift_is_the_one_written_out(depth: int, channels: int) -> None:
    slices = torch.randn(3, depth, channels, 2, 3)
    assert torch.allclose(align_shift(slices, own_share(THICKNESS)), by_hand(slices, OWN), atol=1e-6)


def test_each_eighth_goes_one_way_and_the_edges_keep_their_own() -> None:
    # A slice's number in every channel of it.
    slices = torch.arange(3.0).view(1, 3, 1, 1, 1).expand(1, 3, 8, 1, 1)
    thin = align_shift(slices, torch.tensor([0.0]))[0, :, :, 0, 0]
    assert thin[:, 0].tolist() == [1, 2, 2], "the next slice's"
    assert thin[:, 1].tolist() == [0, 0, 1], "the one before's"
    assert thin[:, 2:].unique(dim=1).flatten().tolist() == [0, 1, 2], "its own"
    thick = align_shift(slices, torch.tensor([0.6]))[0, :, :2, 0, 0]
    assert thick[:, 0].tolist() == pytest.approx([0.4, 1.4, 2.0])
    assert thick[:, 1].tolist() == pytest.approx([0.0, 0.6, 1.6])


def test_it_leaves_what_it_is_given_as_it_is_and_gradients_come_back_along_the_shift() -> None:
    slices = torch.randn(1, 3, 8, 1, 1, requires_grad=True)
    before = slices.detach().clone()
    align_shift(slices, torch.tensor([0.6]))[0, 1].sum().backward()
    assert torch.equal(slices.detach(), before)
    assert slices.grad is not None
    assert slices.grad[0, :, :3, 0, 0].tolist() == [
        pytest.approx([0.0, 0.4, 0.0]),
        pytest.approx([0.6, 0.6, 1.0]),
        pytest.approx([0.4, 0.0, 0.0]),
    ]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_gradients_of_all_slices_are_those_of_the_shift_written_out(depth: int) -> None:
    slices = torch.randn(3, depth, 16, 2, 2, requires_grad=True)
    weights = torch.randn(3, depth, 16, 2, 2)
    of_shift, of_hand = (
        torch.autograd.grad((weights * shifted).sum(), slices)[0]
        for shifted in (align_shift(slices, own_share(THICKNESS)), by_hand(slices, OWN))
    )
    assert torch.allclose(of_shift, of_hand, atol=1e-6)


def test_layer_by_layer_it_is_a_3d_network_that_shifts_before_both_convolutions() -> None:
    network = small()
    torch.manual_seed(2)
    for norm in (module for module in network.modules() if isinstance(module, torch.nn.BatchNorm2d)):
        norm.running_mean.normal_()
        norm.running_var.uniform_(0.5, 2)
    slices = torch.randn(3, 3, 1, 32, 32)
    with torch.no_grad():
        stems = network.stem(slices.flatten(0, 1)).unflatten(0, (3, 3))
        found = network.dense_blocks(stems, own_share(THICKNESS))
        expected = reference(network, slices.transpose(1, 2))
    assert [tuple(block.shape[2:]) for block in found] == [(48, 8, 8), (56, 4, 4), (44, 2, 2)]
    for block, volume in zip(found, expected, strict=True):
        assert torch.allclose(block, volume.transpose(1, 2), atol=1e-4)


def reference(network: ShiftedDenseNet, volumes: Tensor) -> list[Tensor]:
    """The dense blocks' outputs (N, C, D, h, w) by 3D operations on the same weights."""
    state = network.state_dict()

    def conv(name: str, x: Tensor, stride: int = 1) -> Tensor:
        weight = state[f"features.{name}.weight"][:, :, None]
        side = weight.shape[-1] // 2
        return F.conv3d(x, weight, stride=(1, stride, stride), padding=(0, side, side))

    def norm(name: str, x: Tensor) -> Tensor:
        parts = (state[f"features.{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(x, *parts).relu()

    def shift(x: Tensor) -> Tensor:
        return by_hand(x.transpose(1, 2), OWN).transpose(1, 2)

    x = F.max_pool3d(norm("norm0", conv("conv0", volumes, 2)), (1, 3, 3), (1, 2, 2), (0, 1, 1))
    blocks = []
    for number, depth in enumerate((1, 2, 1), 1):
        if number > 1:
            transition = f"transition{number - 1}"
            x = F.avg_pool3d(conv(f"{transition}.conv", norm(f"{transition}.norm", x)), (1, 2, 2))
        for layer in range(1, depth + 1):
            name = f"denseblock{number}.denselayer{layer}"
            narrow = conv(f"{name}.conv1", shift(norm(f"{name}.norm1", x)))
            x = torch.cat([x, conv(f"{name}.conv2", shift(norm(f"{name}.norm2", narrow)))], dim=1)
        blocks.append(x)
    return blocks


def test_of_one_slice_it_is_the_2d_network_with_its_very_weights() -> None:
    network, state = small(), whole_state()
    assert network.take_imagenet(state)
    flat = DenseNet(in_channels=1, blocks=(1, 2, 1), growth=16).eval()
    taken = network.state_dict()
    assert flat.load_state_dict(taken)
    assert torch.equal(taken["features.conv0.weight"], state["features.conv0.weight"][:, 1:2])
    others = [name for name in taken if name != "features.conv0.weight" and not name.endswith("num_batches_tracked")]
    assert all(torch.equal(taken[name], state[name]) for name in others)
    image = torch.randn(2, 1, 64, 64)
    with torch.no_grad():
        found = network.dense_blocks(network.stem(image)[:, None], own_share(THICKNESS[:2]))
        for block, stage in zip(found, flat(image)[1:], strict=True):
            assert torch.allclose(block[:, 0], stage, rtol=1e-4, atol=1e-4)


def test_weights_of_another_network_are_refused() -> None:
    state = whole_state()
    network = small()
    assert not network.take_imagenet(state | {"features.conv0.weight": state["features.conv0.weight"][:, :1]})
    assert not network.take_imagenet({name: value for name, value in state.items() if "conv0" not in name})
    assert not ShiftedDenseNet(blocks=(1, 1, 1), growth=16).take_imagenet(state)
