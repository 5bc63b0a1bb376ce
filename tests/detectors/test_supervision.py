"""Which anchors teach the proposal network, on grids small enough to check by hand."""

import numpy as np
import pytest
import torch

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid
from napari_uld.detectors.supervision import (
    BmcObjectness,
    BmcRegression,
    IouMatching,
    IouObjectness,
    IouRegression,
    cell_values,
)
from napari_uld.masks.bounding_map import bounding_map, lesion_maps


def grid_of(side: int, stride: int, anchors_per_cell: int = 1) -> Grid:
    """A square level whose anchors are two cells wide, all alike on a cell."""
    centre = (torch.arange(side) + 0.5) * stride
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    boxes = torch.stack([x - stride, y - stride, x + stride, y + stride], dim=-1).reshape(-1, 4)
    return Grid(boxes.repeat_interleave(anchors_per_cell, dim=0), ((side, side),), anchors_per_cell, (float(stride),))


def target_of(boxes: list[list[float]], size: int) -> dict[str, torch.Tensor]:
    """A target with its maps, from edge-based boxes."""
    edges = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    return {
        "boxes": torch.tensor(edges, dtype=torch.float32),
        "labels": torch.ones(len(boxes), dtype=torch.int64),
        "bm": torch.from_numpy(bounding_map(edges - 0.5, (size, size))),
        "lesion_bms": torch.from_numpy(lesion_maps(edges - 0.5, (size, size))),
    }


def test_anchors_stand_on_the_centres_of_their_cells() -> None:
    from torchvision.models.detection.image_list import ImageList

    generator = CentredAnchorGenerator(((16,),), ((1.0,),))
    images = ImageList(torch.zeros(1, 3, 32, 32), [(32, 32)])
    (anchors,) = generator(images, [torch.zeros(1, 8, 4, 4)])
    centres = (anchors[:, :2] + anchors[:, 2:]) / 2
    assert centres[0].tolist() == [4.0, 4.0]
    assert centres[1].tolist() == [12.0, 4.0]
    assert centres[-1].tolist() == [28.0, 28.0]


def test_a_cell_takes_the_mean_of_its_pixels_not_one_of_them() -> None:
    image = torch.zeros(1, 8, 8)
    image[0, :4, :4] = 1
    values = cell_values(image, (2, 2))
    assert values.shape == (1, 4)
    # Antialiased bilinear weighs a neighbourhood of two cells: most of the corner cell's weight lies inside it.
    assert values[0, 0] > 0.7
    assert 0 < values[0, 1] < 0.3


def test_iou_takes_positives_and_fills_up_with_background() -> None:
    grid = grid_of(8, 8)
    part = IouObjectness(IouMatching(positive=0.7, negative=0.3, samples=16))
    picked = part(grid, target_of([[16, 16, 32, 32]], 64))
    positive = picked.anchors[picked.labels == 1]
    # The box is 16 px wide and centred on a corner of cells: its four neighbours share (12/16)^2 of it.
    iou = 144 / (2 * 256 - 144)
    assert iou < 0.7
    assert positive.numel() == 4, "below the threshold, the best anchors (a tie of four) are forced"
    assert len(picked.anchors) == 16


def test_iou_without_a_lesion_gives_background_alone() -> None:
    part = IouObjectness(IouMatching(positive=0.7, negative=0.3, samples=16))
    picked = part(grid_of(8, 8), target_of([], 64))
    assert picked.labels.sum() == 0
    assert len(picked.anchors) == 16


def test_iou_regression_matches_each_positive_to_its_own_box() -> None:
    boxes = [[8, 8, 24, 24], [40, 40, 56, 56]]
    picked = IouRegression(IouMatching(positive=0.5, negative=0.3, samples=16))(grid_of(8, 8), target_of(boxes, 64))
    anchors = grid_of(8, 8).anchors[picked.anchors]
    nearer = ((anchors - picked.boxes).abs().sum(1) < 40).all()
    assert nearer
    assert picked.normalizer == 16


def test_bmc_objectness_learns_the_map_and_at_most_twice_as_much_background() -> None:
    grid = grid_of(16, 4, anchors_per_cell=3)
    target = target_of([[16, 16, 40, 40]], 64)
    values = cell_values(target["bm"][None], (16, 16))[0]
    foreground = int((values >= 0.5 - 1e-6).sum())
    assert foreground > 0
    picked = BmcObjectness()(grid, target)
    assert len(picked.anchors) == 3 * 3 * foreground
    cells = picked.anchors // 3
    assert torch.allclose(picked.labels, values[cells])
    assert len(set(picked.anchors.tolist())) == len(picked.anchors)


def test_bmc_objectness_without_a_lesion_learns_64_background_cells() -> None:
    picked = BmcObjectness()(grid_of(16, 4), target_of([], 64))
    assert len(picked.anchors) == 64
    assert picked.labels.max() == 0


def regression(**changes: float) -> BmcRegression:
    return BmcRegression(**({"boundary": 0.25, "small_area": 16.0, "area_in_cells": True} | changes))  # type: ignore[arg-type]


def test_a_large_lesion_takes_cells_from_the_boundary_value_on() -> None:
    # 24 px wide at stride 4: 36 cells of area, so B = .25 counts.
    grid = grid_of(16, 4)
    target = target_of([[16, 16, 40, 40]], 64)
    values = cell_values(target["lesion_bms"], (16, 16))[0]
    picked = regression()(grid, target)
    assert picked.anchors.tolist() == torch.nonzero(values >= 0.25 - 1e-6)[:, 0].tolist()
    assert picked.normalizer == len(picked.anchors)


def test_a_small_lesion_needs_a_value_of_a_half() -> None:
    # 12 px wide at stride 4: 9 cells of area, fewer than 16.
    grid = grid_of(16, 4)
    target = target_of([[18, 18, 30, 30]], 64)
    values = cell_values(target["lesion_bms"], (16, 16))[0]
    strict = torch.nonzero(values >= 0.5 - 1e-6)[:, 0].tolist()
    lax = torch.nonzero(values >= 0.25 - 1e-6)[:, 0].tolist()
    assert len(strict) < len(lax)
    assert regression()(grid, target).anchors.tolist() == strict
    assert regression(area_in_cells=False)(grid, target).anchors.tolist() == lax, "144 px is no small area"


def test_a_lesion_smaller_than_a_cell_gets_the_cell_of_its_centre() -> None:
    target = target_of([[9, 17, 11, 19]], 64)
    picked = regression()(grid_of(8, 8), target)
    assert picked.anchors.tolist() == [2 * 8 + 1]


def test_overlapping_lesions_share_cells_by_value_and_ties_go_to_the_smaller() -> None:
    large, small = [8.0, 8, 56, 56], [24.0, 24, 40, 40]
    for boxes in ([large, small], [small, large]):
        owners = regression().owners(target_of(boxes, 64), (16, 16), 4.0).reshape(16, 16)
        inner = boxes.index(small)
        outer = boxes.index(large)
        # Near the common centre the small lesion's map falls faster: the large one's value is higher beside it.
        assert owners[5, 5] == outer
        assert owners[3, 3] == outer
        assert owners[0, 0] == -1
        assert set(owners.unique().tolist()) <= {-1, inner, outer}
    twins = regression().owners(target_of([[8, 8, 40, 40], [16, 16, 32, 32]], 64), (1, 1), 64.0)
    assert twins.tolist() == [1], "both are forced onto the one cell: the smaller one has it"


@pytest.mark.parametrize("levels", [((8, 8),), ((8, 8), (4, 4))])
def test_every_level_of_a_pyramid_is_taught(levels: tuple[tuple[int, int], ...]) -> None:
    anchors = torch.cat([grid_of(h, 64 // h).anchors for h, _ in levels])
    grid = Grid(anchors, levels, 1, tuple(64.0 / w for _, w in levels))
    picked = regression()(grid, target_of([[16, 16, 48, 48]], 64))
    first = 0
    for h, w in levels:
        within = (picked.anchors >= first) & (picked.anchors < first + h * w)
        assert within.any()
        first += h * w


def test_a_box_that_no_anchor_overlaps_makes_no_anchor_positive() -> None:
    part = IouObjectness(IouMatching(positive=0.7, negative=0.3, samples=16))
    picked = part(grid_of(8, 8), target_of([[400, 400, 420, 420]], 64))
    assert picked.labels.sum() == 0
