"""AlignShift's encoder: its slices, the reductions behind its blocks, and what it learns."""

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.backbones.shifted_densenet import ShiftedDenseNet
from napari_uld.detectors.encoders.align_shift import STEM, AlignShift
from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.specs.align_shift import Shift

THICKNESS = torch.tensor([1.0, 5.0])


def encoder(slices: int = 3, shift: Shift = "by_distance") -> AlignShift:
    torch.manual_seed(0)
    return AlignShift(ShiftedDenseNet(blocks=(1, 1, 1), growth=16), slices=slices, channels=8, shift=shift).eval()


def slab(slices: int = 3) -> list[Tensor]:
    """A batch of two of each slice."""
    torch.manual_seed(1)
    return [torch.randn(2, 1, 64, 64) for _ in range(slices)]


def level(network: AlignShift, images: list[Tensor], thickness: Tensor = THICKNESS) -> Tensor:
    with torch.no_grad():
        return network.join([network.per_image(image) for image in images], thickness).key[LEVEL]


@pytest.mark.parametrize("slices", [3, 7])
def test_it_gives_one_level_at_a_quarter_of_the_size_and_pools_from_it(slices: int) -> None:
    network = encoder(slices)
    with torch.no_grad():
        fused = network.join([network.per_image(image) for image in slab(slices)], THICKNESS)
    assert (network.channels, network.strides) == (8, (4,))
    assert fused.key[LEVEL].shape == (2, 8, 16, 16)
    assert fused.context == [fused.key]


def test_each_block_is_reduced_by_a_kernel_as_deep_as_the_slab_before_the_pyramid() -> None:
    network, images = encoder(), slab()
    with torch.no_grad():
        stems = torch.stack([network.backbone.stem(image) for image in images], dim=1)
        blocks = network.backbone.dense_blocks(stems, torch.tensor([0.0, 0.6]))
        reduced = []
        for conv, block, lateral in zip(network.reductions, blocks, network.laterals, strict=True):
            width = block.shape[2]
            kernel = conv.weight.view(width, 3, width).transpose(1, 2)[..., None, None]
            reduced.append(lateral(torch.nn.functional.conv3d(block.transpose(1, 2), kernel)[:, :, 0]))
    finest, middle, coarsest = reduced
    grown = (middle + coarsest.repeat_interleave(2, 2).repeat_interleave(2, 3)).repeat_interleave(2, 2)
    assert torch.allclose(level(network, images), finest + grown.repeat_interleave(2, 3), atol=1e-4)


def test_what_a_slice_brings_does_not_depend_on_the_others_and_every_one_tells() -> None:
    network, images = encoder(), slab()
    whole = level(network, images)
    for place in range(3):
        others = [torch.zeros_like(image) if place == n else image for n, image in enumerate(images)]
        assert not torch.allclose(level(network, others), whole, atol=1e-4)
    with torch.no_grad():
        alone, together = network.per_image(images[0]), network.per_image(torch.cat(images))
    assert torch.allclose(alone[STEM], together[STEM][:2], atol=1e-5)


def test_it_asks_each_scan_how_far_apart_its_slices_lie() -> None:
    network, images = encoder(), slab()
    thin, mixed = (level(network, images, thickness) for thickness in (torch.tensor([1.0, 2.0]), THICKNESS))
    assert torch.equal(thin, level(network, images, torch.tensor([2.0, 1.0]))), "up to 2 mm all is shifted"
    assert torch.equal(thin[0], mixed[0])
    assert not torch.allclose(thin[1], mixed[1], atol=1e-4)


def test_gradients_reach_every_weight_and_every_slice() -> None:
    network = encoder().train()
    images = [image.requires_grad_() for image in slab()]
    network.join([network.per_image(image) for image in images], THICKNESS).key[LEVEL].square().sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert all(image.grad is not None and image.grad.flatten(1).any(dim=1).all() for image in images)


def test_shifted_whole_every_distance_is_that_of_thin_slices() -> None:
    images, thin = slab(), torch.tensor([1.0, 1.0])
    whole = level(encoder(shift="whole"), images)
    assert torch.equal(whole, level(encoder(), images, thin))
    assert not torch.allclose(whole, level(encoder(), images), atol=1e-4)


def test_without_the_shift_slices_meet_behind_the_blocks_alone() -> None:
    network, images = encoder(shift="none"), slab()
    stems = torch.stack([network.backbone.stem(image) for image in images], dim=1)
    one_by_one = [network.backbone.dense_blocks(stems[:, [z]], torch.zeros(2)) for z in range(3)]
    together = network.backbone.dense_blocks(stems, network.kept(THICKNESS))
    for place, block in enumerate(together):
        assert torch.allclose(block, torch.cat([each[place] for each in one_by_one], dim=1), atol=1e-5)
