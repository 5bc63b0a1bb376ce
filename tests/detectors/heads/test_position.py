"""The head that tells where along the body a slab lies."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from napari_uld.detectors.heads.position import PositionHead
from napari_uld.detectors.losses.position import PositionLoss
from napari_uld.detectors.parts import POSITION, Fused

# Of nine images with two channels each those of the middle window.
IMAGES = range(3, 6)


def head(channels: int = 4) -> PositionHead:
    torch.manual_seed(0)
    loss = PositionLoss((0.58, 0.72), part_weight=0.1, weight=1.0)
    own = PositionHead(2, channels, images=IMAGES, loss=loss)
    torch.nn.init.normal_(own.position.weight)
    torch.nn.init.normal_(own.part.weight)
    return own


def fused() -> Fused:
    torch.manual_seed(1)
    levels = {"P5": torch.randn(2, 18, 8, 12), "P6": torch.randn(2, 18, 4, 6)}
    return Fused(levels, [levels])


def by_hand(own: PositionHead, image: Tensor) -> Tensor:
    """What a (N, 2, h, w) part of P6 becomes before the last layers."""
    hidden = image
    for place, stride in ((0, 2), (3, 1), (6, 1)):
        conv, norm = own.layers[place], own.layers[place + 1]
        hidden = F.conv2d(hidden, conv.weight, stride=stride, padding=1)
        grouped = hidden.unflatten(1, (norm.num_groups, -1)).flatten(2)
        mean, variance = grouped.mean(dim=2, keepdim=True), grouped.var(dim=2, keepdim=True, unbiased=False)
        hidden = ((grouped - mean) / (variance + 1e-5).sqrt()).view_as(hidden).relu()
    return hidden.mean(dim=(2, 3))


def test_it_looks_at_the_middle_windows_images_of_the_coarsest_level_each_on_its_own() -> None:
    own, features = head(), fused()
    with torch.no_grad():
        logits, positions = own.look(features)
        for number, image in enumerate(IMAGES):
            hidden = by_hand(own, features.key["P6"][:, 2 * image : 2 * image + 2])
            assert torch.allclose(logits[:, number], own.part(hidden), atol=1e-4)
            assert torch.allclose(positions[:, number], own.position(hidden)[:, 0], atol=1e-4)
    assert (logits.shape, positions.shape) == ((2, 3, 3), (2, 3))


def test_other_images_and_levels_tell_it_nothing() -> None:
    own, features = head(), fused()
    changed = {name: level.clone() for name, level in features.key.items()}
    changed["P5"][:] = 0
    changed["P6"][:, :6] = 0
    changed["P6"][:, 12:] = 0
    with torch.no_grad():
        assert torch.equal(own.tell(features)[POSITION], own.tell(Fused(changed, []))[POSITION])
        changed["P6"][:, 6:12] = 0
        assert not torch.equal(own.tell(features)[POSITION], own.tell(Fused(changed, []))[POSITION])


def test_it_tells_the_mean_of_what_its_images_tell() -> None:
    own, features = head(), fused()
    with torch.no_grad():
        assert torch.allclose(own.tell(features)[POSITION], own.look(features)[1].mean(dim=1))


def test_only_targets_with_a_position_teach_it() -> None:
    own, features = head(), fused()
    with torch.no_grad():
        both = own(features, [{POSITION: torch.tensor(0.3)}, {POSITION: torch.tensor(0.9)}])
        first = own(features, [{POSITION: torch.tensor(0.3)}, {}])
        second = own(features, [{}, {POSITION: torch.tensor(0.9)}])
        nobody = own(features, [{}, {}])
    for name in ("body_part", "position"):
        assert float(both[name]) == pytest.approx(float(first[name] + second[name]) / 2)
        assert float(nobody[name]) == 0


def test_gradients_reach_all_that_it_is_made_of() -> None:
    own = head(channels=64)
    sum(own(fused(), [{POSITION: torch.tensor(0.3)}] * 2).values()).backward()
    assert [name for name, weight in own.named_parameters() if weight.grad is None or not weight.grad.any()] == []
    assert [m.num_groups for m in own.layers if isinstance(m, torch.nn.GroupNorm)] == [2, 32, 32]
