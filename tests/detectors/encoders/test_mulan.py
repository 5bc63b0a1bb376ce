"""MULAN's encoder: where a slab's images meet."""

import pytest
import torch
from torch import Tensor, nn

from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.encoders.key_image import LEVEL
from napari_uld.detectors.encoders.mulan import BEFORE_LAST, Mulan

THICKNESS = torch.ones(2)


def encoder(images: int = 3) -> Mulan:
    torch.manual_seed(0)
    return Mulan(DenseNet(in_channels=3, blocks=(1, 1, 1), growth=16), images=images, channels=8).eval()


def slab(images: int = 3) -> list[Tensor]:
    """A batch of two of each image."""
    torch.manual_seed(1)
    return [torch.randn(2, 3, 64, 64) for _ in range(images)]


def level(mulan: Mulan, images: list[Tensor]) -> Tensor:
    with torch.no_grad():
        return mulan.join([mulan.per_image(image) for image in images], THICKNESS).key[LEVEL]


def see_only_the_key_image(mulan: Mulan) -> None:
    """Both fusions pass the middle image's channels on."""
    for conv in (mulan.fuse_before_last, mulan.fuse_levels):
        torch.nn.init.zeros_(conv.weight)
        channels = conv.out_channels
        for channel in range(channels):
            conv.weight.data[channel, channels + channel] = 1


def pyramid(mulan: Mulan, stages: list[Tensor]) -> Tensor:
    """The finest level of an image's last three stages, without smoothing."""
    finest, middle, coarsest = (conv(stage) for conv, stage in zip(mulan.laterals, stages, strict=True))
    grown = (middle + coarsest.repeat_interleave(2, 2).repeat_interleave(2, 3)).repeat_interleave(2, 2)
    return finest + grown.repeat_interleave(2, 3)


def weighed(fusion: nn.Conv2d, maps: list[Tensor]) -> Tensor:
    """A 1x1 convolution over the maps of all images, image by image."""
    channels = maps[0].shape[1]
    total = fusion.bias[:, None, None].expand(len(maps[0]), -1, *maps[0].shape[2:])
    for place, one in enumerate(maps):
        of_image = fusion.weight[:, place * channels : (place + 1) * channels, 0, 0]
        total = total + torch.einsum("oc,nchw->nohw", of_image, one)
    return total


def written_out(mulan: Mulan, images: list[Tensor]) -> Tensor:
    """MULAN's two fusions, step by step."""
    firsts = [mulan.backbone.first_blocks(image) for image in images]
    before_last = [first[-1] for first in firsts]
    before_last[len(images) // 2] = weighed(mulan.fuse_before_last, before_last)
    finest = []
    for first, goes_on in zip(firsts, before_last, strict=True):
        _, *stages, _ = first
        finest.append(pyramid(mulan, [*stages, mulan.backbone.last_block(goes_on)]))
    return weighed(mulan.fuse_levels, finest)


@pytest.mark.parametrize("images", [1, 3, 5])
def test_its_level_is_that_of_both_fusions_written_out(images: int) -> None:
    mulan, seen = encoder(images), slab(images)
    for conv in (mulan.fuse_before_last, mulan.fuse_levels):
        nn.init.normal_(conv.bias)
    with torch.no_grad():
        assert torch.allclose(level(mulan, seen), written_out(mulan, seen), rtol=1e-4, atol=1e-4)


def test_gradients_of_every_image_are_those_of_both_fusions_written_out() -> None:
    mulan = encoder()
    ours, theirs = ([image.requires_grad_() for image in slab()] for _ in range(2))
    mulan.join([mulan.per_image(image) for image in ours], THICKNESS).key[LEVEL].square().sum().backward()
    written_out(mulan, theirs).square().sum().backward()
    for our, their in zip(ours, theirs, strict=True):
        assert their.grad.abs().max() > 0
        assert torch.allclose(our.grad, their.grad, rtol=1e-3, atol=1e-3 * float(their.grad.abs().max()))


def test_it_gives_one_level_at_a_quarter_of_the_size_and_pools_from_it() -> None:
    mulan = encoder()
    with torch.no_grad():
        fused = mulan.join([mulan.per_image(image) for image in slab()], THICKNESS)
    assert (mulan.channels, mulan.strides) == (8, (4,))
    assert fused.key[LEVEL].shape == (2, 8, 16, 16)
    assert fused.context == [fused.key]


def test_with_fusions_that_pass_the_key_image_on_it_is_a_pyramid_without_smoothing() -> None:
    mulan, images = encoder(), slab()
    see_only_the_key_image(mulan)
    with torch.no_grad():
        _, *stages = mulan.backbone(images[1])
        alone = pyramid(mulan, stages)
    assert torch.allclose(level(mulan, images), alone, atol=1e-5)


def test_the_fusion_before_the_last_block_takes_the_key_images_place_alone() -> None:
    mulan, images = encoder(), slab()
    see_only_the_key_image(mulan)
    before = level(mulan, images)
    # Behind the pyramid the first image is looked at instead: its own map goes through the last block.
    mulan.fuse_levels.weight.data = mulan.fuse_levels.weight.data.roll(-8, dims=1)
    first = level(mulan, images)
    see_only_the_key_image(mulan)
    assert torch.allclose(first, level(mulan, [images[1], images[0], images[2]]), atol=1e-5)
    assert not torch.allclose(first, before, atol=1e-2)


def test_every_image_tells_and_what_it_brings_does_not_depend_on_the_others() -> None:
    mulan, images = encoder(), slab()
    whole = level(mulan, images)
    for place in range(3):
        others = [torch.zeros_like(image) if place == n else image for n, image in enumerate(images)]
        assert not torch.allclose(level(mulan, others), whole, atol=1e-4)
    with torch.no_grad():
        alone, together = mulan.per_image(images[0]), mulan.per_image(torch.cat(images))
    assert all(torch.allclose(alone[name], together[name][:2], atol=1e-5) for name in alone)
    assert BEFORE_LAST in alone


def test_a_slab_of_one_image_is_fused_with_itself() -> None:
    assert level(encoder(images=1), slab(images=1)).shape == (2, 8, 16, 16)
