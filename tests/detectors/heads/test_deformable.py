"""Attention to places between cells, against a loop; where it looks at first; and how places are told apart."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.heads.deformable import (
    DeformableAttention,
    Memory,
    attend,
    cell_places,
    ring,
    sine_code,
)

SHAPES = ((4, 6), (2, 3))
CELLS = 4 * 6 + 2 * 3


def bilinear(level: Tensor, x: float, y: float) -> Tensor:
    """Value (c,) of a level (h, w, c) at a place in cells, their centres at halves, 0 beyond it."""
    height, width, channels = level.shape
    total = torch.zeros(channels)
    left, top = math.floor(x - 0.5), math.floor(y - 0.5)
    for row in (top, top + 1):
        for column in (left, left + 1):
            if 0 <= row < height and 0 <= column < width:
                share = (1 - abs(x - 0.5 - column)) * (1 - abs(y - 0.5 - row))
                total += share * level[row, column]
    return total


def test_attending_is_a_loop_over_queries_heads_levels_and_points() -> None:
    torch.manual_seed(0)
    values = torch.randn(2, CELLS, 3, 5)
    # Some places lie beyond the image.
    places, weights = torch.rand(2, 4, 3, 2, 2, 2) * 1.4 - 0.2, torch.rand(2, 4, 3, 2, 2)
    expected = torch.zeros(2, 4, 3, 5)
    for image, query, head, level, point in torch.cartesian_prod(*map(torch.arange, weights.shape)).tolist():
        height, width = SHAPES[level]
        first = 0 if level == 0 else 4 * 6
        of_head = values[image, first : first + height * width, head].view(height, width, 5)
        x, y = places[image, query, head, level, point].tolist()
        weight = weights[image, query, head, level, point]
        expected[image, query, head] += weight * bilinear(of_head, x * width, y * height)
    attended = attend(values, SHAPES, places, weights)
    assert torch.allclose(attended, expected.flatten(2), atol=1e-5)


def test_at_first_each_head_looks_into_a_direction_of_its_own_further_with_every_point() -> None:
    offsets = ring(8, 2, 4)
    assert offsets.shape == (8, 2, 4, 2)
    assert torch.allclose(offsets[0, 0], torch.tensor([[1.0, 0], [2, 0], [3, 0], [4, 0]]), atol=1e-6)
    # At 45 degrees both are whole cells, too: a square.
    assert torch.allclose(offsets[1, 1, 2], torch.tensor([3.0, 3]), atol=1e-6)
    assert torch.allclose(offsets[4], -offsets[0], atol=1e-5)


def test_an_untrained_attention_averages_the_places_of_its_ring() -> None:
    torch.manual_seed(0)
    part = DeformableAttention(4, heads=4, levels=2, points=1)
    torch.nn.init.zeros_(part.weights.weight)
    for layer in (part.value, part.output):
        torch.nn.init.eye_(layer.weight)
    memory = Memory(torch.randn(1, CELLS, 4), SHAPES)
    # The finer level's cell (row 1, column 2), and between cells of the coarser one.
    reference = torch.tensor([[[2.5 / 6, 1.5 / 4]]])
    (said,) = part(torch.randn(1, 1, 4), reference, memory)[0]
    for head, (x, y) in enumerate([(1, 0), (0, 1), (-1, 0), (0, -1)]):
        fine = memory.features[0, :24].view(4, 6, 4)[1 + y, 2 + x, head]
        coarse = bilinear(memory.features[0, 24:].view(2, 3, 4), 1.25 + x, 0.75 + y)[head]
        assert said[head].item() == pytest.approx((fine + coarse).item() / 2, abs=1e-5)


def test_places_are_the_cells_centres_along_x_first() -> None:
    places = cell_places(SHAPES, torch.device("cpu"))
    assert places.shape == (CELLS, 2)
    assert places[1].tolist() == pytest.approx([1.5 / 6, 0.5 / 4])
    assert places[-1].tolist() == pytest.approx([2.5 / 3, 1.5 / 2])


def test_the_code_of_a_place_is_of_y_then_of_x_from_fast_to_slow() -> None:
    (code,) = sine_code(torch.tensor([[0.25, 0.5]]), 8)
    y, x = math.pi, math.pi / 2
    by_hand = [f(angle / slow) for angle in (y, x) for slow in (1, 100) for f in (math.sin, math.cos)]
    assert code.tolist() == pytest.approx(by_hand, abs=1e-6)
