"""The 3D U-Net: its one level, how far it sees, and that all of it learns."""

import pytest
import torch

from napari_uld.detectors.backbones.unet_3d import Unet3d

WIDTHS = (4, 6, 8, 10, 12)


def small(phases: int = 1) -> Unet3d:
    torch.manual_seed(0)
    return Unet3d(in_channels=phases, widths=WIDTHS)


@pytest.mark.parametrize("depth", [1, 3, 8])
def test_its_level_has_every_slice_at_a_quarter_of_the_size_in_the_plane(depth: int) -> None:
    network = small()
    (level,) = network(torch.randn(2, 1, depth, 32, 64))
    assert level.shape == (2, 8, depth, 8, 16)
    assert (network.out_channels, network.strides) == ([8], (4,))


def test_it_takes_several_phases_as_channels() -> None:
    (level,) = small(3)(torch.randn(1, 3, 4, 32, 32))
    assert level.shape == (1, 8, 4, 8, 8)


def test_every_weight_learns() -> None:
    network = small()
    (level,) = network(torch.randn(1, 1, 8, 32, 32))
    (level * torch.randn_like(level)).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []


def test_it_sees_along_z_from_the_first_convolution_on() -> None:
    network = small().eval()
    volume = torch.randn(1, 1, 9, 32, 32)
    changed = volume.clone()
    changed[:, :, 5] += 1
    with torch.no_grad():
        first, of_changed = (network.down[0](each)[0, :, 4] for each in (volume, changed))
    assert not torch.equal(first, of_changed)


def test_none_of_imagenets_weights_are_its_own() -> None:
    assert not small().take_imagenet({})
    assert small().imagenet_files == ()
