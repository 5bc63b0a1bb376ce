"""MVP-Net's encoder: all images side by side, and the gate on their channels."""

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet50

from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.encoders.pyramid import Pyramid
from napari_uld.detectors.encoders.windows import ChannelGate, Windows

THICKNESS = torch.ones(2)
LEVELS = ("P2", "P3", "P4", "P5", "P6")


def encoder(images: int = 3) -> Windows:
    torch.manual_seed(0)
    backbone = ResNet(in_channels=3, blocks=(1, 1, 1, 1), width=0.125, stem_pool=True)
    pyramid = Pyramid(backbone.out_channels, finest=2, channels=4, gated=False, coarser=1, strided=False)
    return Windows(backbone, pyramid, images=images, reduction=4).eval()


def slab(images: int = 3) -> list[Tensor]:
    """A batch of two of each image."""
    torch.manual_seed(1)
    return [torch.randn(2, 3, 64, 64) for _ in range(images)]


def test_a_gate_weighs_a_channel_by_its_average_and_its_maximum_which_one_network_sees() -> None:
    gate = ChannelGate(2, 2)
    first, second = gate.layers[0], gate.layers[2]
    with torch.no_grad():
        first.weight.copy_(torch.tensor([[2.0, -1.0]]))
        first.bias.fill_(0.5)
        second.weight.copy_(torch.tensor([[1.0], [-0.5]]))
        second.bias.copy_(torch.tensor([0.1, 0.2]))
        level = torch.tensor([[[[1.0, 3.0]], [[-2.0, 4.0]]]])
        gated, told = gate(level)
    # Averages (2, 1) make 2 * 2 - 1 + .5 = 3.5; maxima (3, 4) make 2 * 3 - 4 + .5 = 2.5. Both biases count twice.
    weights = torch.tensor([3.5 + 2.5 + 2 * 0.1, -0.5 * (3.5 + 2.5) + 2 * 0.2]).sigmoid()
    assert torch.allclose(gated, level * weights[None, :, None, None])
    assert torch.allclose(told[0], weights)


def test_a_hidden_unit_that_is_below_0_says_nothing() -> None:
    gate = ChannelGate(1, 16)
    assert gate.layers[0].out_features == 1
    with torch.no_grad():
        for value, layer in ((-1.0, gate.layers[0]), (1.0, gate.layers[2])):
            layer.weight.fill_(value)
            layer.bias.zero_()
        # The average is 0 and the maximum 4, which becomes -4 and then 0.
        level = torch.tensor([[[[-4.0, 4.0]]]])
        assert torch.allclose(gate(level)[0], level * 0.5)


@pytest.mark.parametrize("images", [3, 9])
def test_every_level_holds_all_images_one_behind_the_other_times_one_gate(images: int) -> None:
    network, inputs = encoder(images), slab(images)
    with torch.no_grad():
        fused = network.join([network.per_image(image) for image in inputs], THICKNESS)
        # By hand: each image through backbone and pyramid alone, its channels at its own place.
        alone = [network.pyramid(network.backbone(image))[0] for image in inputs]
        let_through = torch.zeros(2, images)
        for number, name in enumerate(LEVELS):
            level = torch.zeros_like(fused.key[name])
            for place, levels in enumerate(alone):
                level[:, 4 * place : 4 * place + 4] = levels[number]
            squeezed = [level.flatten(2).mean(dim=2), level.flatten(2).max(dim=2).values]
            weights = sum(network.gate.layers(values) for values in squeezed).sigmoid()
            assert torch.allclose(fused.key[name], level * weights[..., None, None], atol=1e-6)
            let_through += weights.view(2, images, 4).mean(dim=2) / len(LEVELS)
    assert torch.allclose(fused.gate, let_through, atol=1e-6)
    assert tuple(fused.key) == LEVELS
    assert (network.channels, network.strides) == (4 * images, (4, 8, 16, 32, 64))
    assert fused.context == [fused.key]
    assert [fused.key[name].shape[2] for name in LEVELS] == [16, 8, 4, 2, 1]


def test_what_an_image_brings_does_not_depend_on_the_others() -> None:
    network, images = encoder(), slab()
    with torch.no_grad():
        alone, together = network.per_image(images[1]), network.per_image(torch.cat(images))
    assert all(torch.allclose(alone[name], together[name][2:4], atol=1e-5) for name in LEVELS)


def test_a_2d_resnets_weights_are_taken_over_exactly() -> None:
    torch.manual_seed(0)
    theirs = resnet50(weights=None).eval()
    backbone = ResNet(in_channels=3, blocks=(3, 4, 6, 3), width=1.0, stem_pool=True)
    pyramid = Pyramid(backbone.out_channels, finest=2, channels=4, gated=False, coarser=1, strided=False)
    network = Windows(backbone, pyramid, images=3, reduction=4).eval()
    assert network.backbone.take_imagenet(theirs.state_dict())
    image = torch.randn(1, 3, 32, 32)
    with torch.inference_mode():
        stage, levels = theirs.maxpool(theirs.relu(theirs.bn1(theirs.conv1(image)))), network.backbone(image)
        for number in range(4):
            stage = getattr(theirs, f"layer{number + 1}")(stage)
            assert torch.equal(levels[number], stage)


def test_gradients_reach_every_weight_and_every_image() -> None:
    network = encoder().train()
    images = [image.requires_grad_() for image in slab()]
    fused = network.join([network.per_image(image) for image in images], THICKNESS)
    torch.stack([level.square().sum() for level in fused.key.values()]).sum().backward()
    assert [name for name, weight in network.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert all(image.grad is not None and image.grad.flatten(1).any(dim=1).all() for image in images)
