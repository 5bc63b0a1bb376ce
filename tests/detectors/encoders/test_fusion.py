"""What a slab's images give the heads, and position-sensitive pooling written out."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.encoders.fusion import (
    POSITION_SENSITIVE,
    KeyImage,
    PositionSensitive,
    PositionSensitiveRoiPool,
)


def slab(images: int) -> list[dict[str, Tensor]]:
    """Features of a slab's images, image i holding the value i."""
    return [{"0": torch.full((1, 2, 4, 4), float(i))} for i in range(images)]


@pytest.mark.parametrize("images", [1, 3, 9])
def test_without_fusion_the_middle_image_alone_speaks(images: int) -> None:
    part = KeyImage()
    fused = part.join([part.per_image(image) for image in slab(images)])
    assert fused.key["0"].unique().tolist() == [images // 2]
    assert fused.context == [fused.key]


def test_position_sensitive_fusion_proposes_on_the_middle_image_and_pools_from_all() -> None:
    part = PositionSensitive(2, channels=3, size=2)
    seen = [part.per_image(image) for image in slab(3)]
    assert [set(image) for image in seen] == [{"0", POSITION_SENSITIVE}] * 3
    fused = part.join(seen)
    assert set(fused.key) == {"0"}, "proposals and branch see the backbone's level alone"
    assert fused.key["0"].unique().tolist() == [1]
    assert [set(image) for image in fused.context] == [{POSITION_SENSITIVE}] * 3
    for image, maps in zip(slab(3), fused.context, strict=True):
        assert maps[POSITION_SENSITIVE].shape == (1, 3 * 2 * 2, 4, 4)
        assert torch.equal(maps[POSITION_SENSITIVE], part.conv(image["0"]))


def pooled_by_hand(maps: Tensor, box: list[float], size: int, stride: int) -> Tensor:
    """Position-sensitive pooling of one box (x1, y1, x2, y2), bin by bin and pixel by pixel."""
    x1, y1, x2, y2 = (math.floor(side / stride + 0.5) for side in box)
    width, height = max(x2 - x1, 1) / size, max(y2 - y1, 1) / size
    channels = len(maps) // size**2
    pooled = torch.zeros(channels, size, size)
    for channel in range(channels):
        for row in range(size):
            for column in range(size):
                own = maps[(channel * size + row) * size + column]
                values = [
                    own[y, x].item()
                    for y in range(y1 + math.floor(row * height), y1 + math.ceil((row + 1) * height))
                    for x in range(x1 + math.floor(column * width), x1 + math.ceil((column + 1) * width))
                    if 0 <= y < maps.shape[1] and 0 <= x < maps.shape[2]
                ]
                pooled[channel, row, column] = sum(values) / len(values) if values else 0
    return pooled


@pytest.mark.parametrize("size", [2, 3, 7])
def test_position_sensitive_pooling_is_the_loop_over_bins(size: int) -> None:
    torch.manual_seed(0)
    maps = torch.randn(2, 2 * size**2, 12, 16)
    # In the middle, odd sides, smaller than a cell, partly outside, and the two that end at the right and the bottom.
    first = [[8.0, 16, 40, 56], [3.0, 5, 50, 77], [20.0, 20, 22, 23], [-21.0, -9, 30, 20]]
    second = [[64.0, 32, 128, 96], [0.0, 80, 128, 96], [121.0, 0, 128, 96]]
    pool = PositionSensitiveRoiPool(size, 8)
    pooled = pool({POSITION_SENSITIVE: maps}, [torch.tensor(first), torch.tensor(second)], [(96, 128)] * 2)
    expected = [pooled_by_hand(maps[0], box, size, 8) for box in first]
    expected += [pooled_by_hand(maps[1], box, size, 8) for box in second]
    assert pooled.shape == (7, 2, size, size)
    assert torch.allclose(pooled, torch.stack(expected), atol=1e-5)


def test_a_cell_of_a_region_reads_only_the_map_of_its_place() -> None:
    # Map k of channel c holds 10 c + k everywhere.
    maps = (10 * torch.arange(2)[:, None] + torch.arange(4)).reshape(1, 8, 1, 1).expand(1, 8, 6, 6).float()
    pooled = PositionSensitiveRoiPool(2, 1)({POSITION_SENSITIVE: maps}, [torch.tensor([[1.0, 1, 5, 5]])], [(6, 6)])
    assert pooled[0].tolist() == [[[0, 1], [2, 3]], [[10, 11], [12, 13]]]
