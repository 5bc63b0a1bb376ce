"""The feature pyramid, its attention gates, and the segmentation path."""

import pytest
import torch
from torch import nn

from napari_uld.detectors.encoders.pyramid import PRIOR, AttentionGate, Pyramid, SegmentationPath, Skip

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


@pytest.mark.parametrize(("finest", "sizes"), [(3, [8, 4, 2, 1, 1]), (2, [16, 8, 4, 2, 1])])
def test_the_pyramid_has_five_levels_from_its_finest_one(finest: int, sizes: list[int]) -> None:
    levels, attention = Pyramid(STAGES, finest=finest, channels=16, gated=False)(stages())
    assert [tuple(level.shape) for level in levels] == [(2, 16, size, size) for size in sizes]
    assert attention == {}


def test_gates_stand_on_every_skip_of_the_pyramid_and_none_on_its_top() -> None:
    _, attention = Pyramid(STAGES, finest=2, channels=16, gated=True)(stages())
    assert {name: tuple(level.shape) for name, level in attention.items()} == {
        "C2": (2, 1, 16, 16),
        "C3": (2, 1, 8, 8),
        "C4": (2, 1, 4, 4),
    }


def test_the_segmentation_path_goes_to_full_resolution_and_expects_little() -> None:
    torch.manual_seed(0)
    path = SegmentationPath(pyramid_channels=16, c1_channels=4, image_channels=3, channels=8, gated=True)
    logits, attention = path(torch.randn(2, 3, 64, 48), torch.randn(2, 4, 32, 24), torch.randn(2, 16, 16, 12))
    assert logits.shape == (2, 64, 48)
    assert logits.sigmoid().mean().item() == pytest.approx(PRIOR, rel=0.3)
    assert {name: tuple(level.shape) for name, level in attention.items()} == {
        "C1": (2, 1, 32, 24),
        "input": (2, 1, 64, 48),
    }


def test_c1_joins_by_one_one_by_one_convolution_and_the_input_by_two_of_three_by_three() -> None:
    path = SegmentationPath(pyramid_channels=16, c1_channels=4, image_channels=3, channels=8, gated=False)
    kernels = {
        name: [m.kernel_size for m in skip.projection.modules() if isinstance(m, nn.Conv2d)]
        for name, skip in (("C1", path.c1), ("input", path.image))
    }
    assert kernels == {"C1": [(1, 1)], "input": [(3, 3), (3, 3)]}
