"""2D weights on volumes: equal slices give what an image gave, and the third block alone sees along z."""

import pytest
import torch
from torch import Tensor, nn

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.backbones.pseudo_3d import (
    AxialCoronalSagittal,
    FirstOfPlanes,
    Operator,
    convolution,
    fold,
    from_2d,
    unfold,
)
from napari_uld.detectors.backbones.volume_densenet import VolumeDenseNet

OPERATORS: tuple[Operator, ...] = ("axial", "i3d", "st3d", "acs")
PUBLISHED, SMALL = ((6, 12, 24), 32), ((2, 2, 2), 16)


def of_2d(operator: Operator, conv: nn.Conv2d) -> nn.Module:
    made = convolution(operator, conv.in_channels, conv.out_channels, conv.kernel_size[0])
    made.load_state_dict(made.of_2d(conv.weight), strict=False)
    return made


@pytest.fixture
def conv() -> nn.Conv2d:
    torch.manual_seed(0)
    return nn.Conv2d(5, 20, 3, padding=1, bias=False)


def equal_slices(depth: int = 5) -> tuple[Tensor, Tensor]:
    image = torch.randn(2, 5, 9, 8)
    return image, image[:, :, None].repeat(1, 1, depth, 1, 1)


def test_an_inflated_kernel_gives_of_equal_slices_what_it_gave_of_the_image(conv: nn.Conv2d) -> None:
    image, volume = equal_slices()
    inner = of_2d("i3d", conv)(volume)[:, :, 1:-1]
    torch.testing.assert_close(inner, conv(image)[:, :, None].expand_as(inner), atol=1e-5, rtol=0)


def test_the_axial_channels_of_acs_are_those_of_the_image_whatever_lies_above_and_below(conv: nn.Conv2d) -> None:
    volume = torch.randn(1, 5, 4, 9, 8)
    acs = of_2d("acs", conv)
    assert isinstance(acs, AxialCoronalSagittal)
    assert acs.views == (16, 2, 2)
    made, flat = acs(volume), unfold(conv(fold(volume)), 4)
    torch.testing.assert_close(made[:, :16], flat[:, :16], atol=1e-5, rtol=0)
    # The coronal kernel lies across (z, x), the sagittal one across (z, y).
    coronal = conv.weight[16:18].unsqueeze(3)
    torch.testing.assert_close(made[:, 16:18], nn.functional.conv3d(volume, coronal, padding=(1, 0, 1)))
    sagittal = conv.weight[18:].unsqueeze(4)
    torch.testing.assert_close(made[:, 18:], nn.functional.conv3d(volume, sagittal, padding=(1, 1, 0)))


@pytest.mark.parametrize(("outputs", "views"), [(32, (26, 3, 3)), (256, (206, 25, 25)), (16, (14, 1, 1))])
def test_acs_shares_its_channels_out_8_to_1_to_1(outputs: int, views: tuple[int, ...]) -> None:
    made = convolution("acs", 4, outputs)
    assert isinstance(made, AxialCoronalSagittal)
    assert made.views == views


def test_the_spatial_half_of_st3d_is_the_half_of_the_2d_kernel_that_is_kept(conv: nn.Conv2d) -> None:
    volume = torch.randn(1, 5, 4, 9, 8)
    made = of_2d("st3d", conv)(volume)
    assert made.shape[1] == 20
    torch.testing.assert_close(made[:, :10], unfold(conv(fold(volume)), 4)[:, :10], atol=1e-5, rtol=0)


@pytest.mark.parametrize("operator", OPERATORS)
def test_what_is_one_voxel_large_is_the_same_on_every_slice(operator: Operator) -> None:
    conv = nn.Conv2d(5, 20, 1, bias=False)
    volume = torch.randn(1, 5, 4, 9, 8)
    torch.testing.assert_close(of_2d(operator, conv)(volume), unfold(conv(fold(volume)), 4), atol=1e-5, rtol=0)


@pytest.mark.parametrize(("blocks", "growth"), [SMALL, PUBLISHED], ids=["small", "published"])
@pytest.mark.parametrize("operator", OPERATORS)
def test_the_third_block_sees_the_slices_beside_and_the_first_two_do_not(
    operator: Operator, blocks: tuple[int, ...], growth: int
) -> None:
    torch.manual_seed(0)
    network = VolumeDenseNet(in_channels=1, blocks=blocks, growth=growth, operator=operator).eval()
    volume = torch.randn(1, 1, 3, 32, 32)
    other = volume.clone()
    other[:, :, 0] = torch.randn(32, 32)
    with torch.no_grad():
        moved = [not torch.equal(a[:, :, 1], b[:, :, 1]) for a, b in zip(network(volume), network(other), strict=True)]
    assert moved == [False, False, False, operator != "axial"]


@pytest.mark.parametrize("operator", OPERATORS)
def test_imagenets_weights_are_taken_over_and_those_of_another_network_are_not(operator: Operator) -> None:
    blocks, growth = SMALL
    flat = DenseNet(in_channels=3, blocks=blocks, growth=growth).eval()
    network = VolumeDenseNet(in_channels=1, blocks=blocks, growth=growth, operator=operator).eval()
    assert network.take_imagenet(flat.state_dict())
    volume = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        # Three equal images are one of their sum's weight.
        wanted = flat(fold(volume).repeat(1, 3, 1, 1))
        found = [fold(stage) for stage in network(volume)]
    for first, second in list(zip(found, wanted, strict=True))[:3]:
        torch.testing.assert_close(first, second, atol=1e-4, rtol=1e-4)
    other = DenseNet(in_channels=3, blocks=(2, 3, 2), growth=growth)
    assert not network.take_imagenet(other.state_dict())
    lacking = {name: value for name, value in flat.state_dict().items() if "denseblock3" not in name}
    assert not network.take_imagenet(lacking)


def test_of_several_equal_phases_the_first_convolution_gives_what_it_gave_of_one() -> None:
    one, three = FirstOfPlanes(1, 4, 7, padding=3, bias=False), FirstOfPlanes(3, 4, 7, padding=3, bias=False)
    three.load_state_dict(three.of_2d(one.weight))
    image = torch.randn(1, 1, 16, 16)
    torch.testing.assert_close(three(image.repeat(1, 3, 1, 1)), one(image), atol=1e-5, rtol=1e-5)


def test_weights_that_are_of_volumes_already_are_left_as_they_are() -> None:
    network = VolumeDenseNet(in_channels=1, blocks=(1, 1, 1), growth=16, operator="i3d")
    state = network.state_dict()
    assert all(from_2d(network, state)[name] is value for name, value in state.items())
