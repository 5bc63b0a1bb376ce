"""How regions are pooled from an image's features, position-sensitive pooling written out."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.encoders.position_sensitive import POSITION_SENSITIVE
from napari_uld.detectors.heads.roi_pools import PositionSensitiveRoiPool, PyramidRoiAlign, SingleLevelRoiPool


def test_a_region_is_pooled_by_its_largest_values() -> None:
    level = torch.arange(64.0).reshape(1, 1, 8, 8)
    # At stride 4 the box covers cells 2 to 4 each way, both ends included: their last ones hold the largest values.
    pooled = SingleLevelRoiPool(1, 4)({"0": level}, [torch.tensor([[8.0, 8, 16, 16]])])
    assert pooled.flatten().tolist() == [4 * 8 + 4]


def test_a_regions_level_is_the_one_whose_stride_fits_its_size() -> None:
    sides = torch.tensor([5.0, 27.9, 28.1, 56.1, 112.1, 500.0])
    boxes = torch.stack([torch.zeros(6), torch.zeros(6), sides, sides], dim=1)
    # 112 px belong to stride 16; half the size, half the stride; what is smaller or larger than all fits the last.
    assert PyramidRoiAlign(7, (4, 8, 16)).level_of(boxes).tolist() == [0, 0, 0, 1, 2, 2]
    assert PyramidRoiAlign(7, (2, 4, 8, 16)).level_of(boxes).tolist() == [0, 0, 1, 2, 3, 3]


def test_a_region_reads_its_level_at_the_cells_centres() -> None:
    # Each cell of both levels holds the x of its centre, in input pixels; the coarser level's is told apart by 1000.
    fine = (torch.arange(64.0) * 4 + 2).expand(1, 1, 64, 64)
    coarse = (torch.arange(32.0) * 8 + 4 + 1000).expand(1, 1, 32, 32)
    boxes = [torch.zeros(0, 4), torch.tensor([[100.0, 40, 160, 100], [40.0, 40, 60, 60]])]
    features = {"0": fine.repeat(2, 1, 1, 1), "1": coarse.repeat(2, 1, 1, 1), "pool": torch.zeros(2, 1, 16, 16)}
    pooled = PyramidRoiAlign(2, (4, 8))(features, boxes)
    assert pooled[0].flatten().tolist() == pytest.approx([1115, 1145] * 2)
    assert pooled[1].flatten().tolist() == pytest.approx([45, 55] * 2)


def pooled_by_hand(maps: Tensor, box: list[float], size: int, stride: int) -> Tensor:
    """Position-sensitive pooling of one box (x1, y1, x2, y2), bin by bin and pixel by pixel."""
    x1, y1, x2, y2 = (math.floor(side / stride + 0.5) for side in box)
    width, height = max(x2 - x1, 1) / size, max(y2 - y1, 1) / size
    channels = len(maps) // size**2
    pooled = torch.zeros(channels, size, size)
    for channel in range(channels):
        for row in range(size):
            for column in range(size):
                of_place = maps[(channel * size + row) * size + column]
                values = [
                    of_place[y, x].item()
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
    pooled = pool({POSITION_SENSITIVE: maps}, [torch.tensor(first), torch.tensor(second)])
    expected = [pooled_by_hand(maps[0], box, size, 8) for box in first]
    expected += [pooled_by_hand(maps[1], box, size, 8) for box in second]
    assert pooled.shape == (7, 2, size, size)
    assert torch.allclose(pooled, torch.stack(expected), atol=1e-5)


def test_a_cell_of_a_region_reads_only_the_map_of_its_place() -> None:
    # Map k of channel c holds 10 c + k everywhere.
    maps = (10 * torch.arange(2)[:, None] + torch.arange(4)).reshape(1, 8, 1, 1).expand(1, 8, 6, 6).float()
    pooled = PositionSensitiveRoiPool(2, 1)({POSITION_SENSITIVE: maps}, [torch.tensor([[1.0, 1, 5, 5]])])
    assert pooled[0].tolist() == [[[0, 1], [2, 3]], [[10, 11], [12, 13]]]
