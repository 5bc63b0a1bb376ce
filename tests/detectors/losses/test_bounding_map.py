"""Anchors conditioned on bounding maps, on grids small enough to check by hand."""

import numpy as np
import pytest
import torch

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.losses.bounding_map import (
    BmcObjectness,
    BmcRegression,
    BmObjectness,
    cell_values,
    values_at_centres,
)
from napari_uld.detectors.losses.iou import IouAssigner
from napari_uld.masks.bounding_map import bounding_map, lesion_maps

# What the IoU assigner would say: parts that go by the bounding map do not ask.
UNASKED = torch.zeros(0, dtype=torch.int64)


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


def test_a_cell_takes_the_mean_of_its_pixels_not_one_of_them() -> None:
    image = torch.zeros(1, 8, 8)
    image[0, :4, :4] = 1
    values = cell_values(image, (2, 2))
    assert values.shape == (1, 4)
    # Antialiased bilinear weighs a neighbourhood of two cells: most of the corner cell's weight lies inside it.
    assert values[0, 0] > 0.7
    assert 0 < values[0, 1] < 0.3


def test_bmc_objectness_learns_the_map_and_at_most_twice_as_much_background() -> None:
    grid = grid_of(16, 4, anchors_per_cell=3)
    target = target_of([[16, 16, 40, 40]], 64)
    values = cell_values(target["bm"][None], (16, 16))[0]
    foreground = int((values >= 0.5 - 1e-6).sum())
    assert foreground > 0
    picked = BmcObjectness()(grid, target, UNASKED)
    assert len(picked.anchors) == 3 * 3 * foreground
    cells = picked.anchors // 3
    assert torch.allclose(picked.labels, values[cells])
    assert len(set(picked.anchors.tolist())) == len(picked.anchors)


def test_bmc_objectness_without_a_lesion_learns_64_background_cells() -> None:
    picked = BmcObjectness()(grid_of(16, 4), target_of([], 64), UNASKED)
    assert len(picked.anchors) == 64
    assert picked.labels.max() == 0


def regression(**changes: float) -> BmcRegression:
    return BmcRegression(**({"boundary": 0.25, "small_area": 16.0, "area_in_cells": True, "anchor_iou": 0.0} | changes))


def test_a_large_lesion_takes_cells_from_the_boundary_value_on() -> None:
    # 24 px wide at stride 4: 36 cells of area, so B = .25 counts.
    grid = grid_of(16, 4)
    target = target_of([[16, 16, 40, 40]], 64)
    values = cell_values(target["lesion_bms"], (16, 16))[0]
    picked = regression()(grid, target, UNASKED)
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
    assert regression()(grid, target, UNASKED).anchors.tolist() == strict
    assert regression(area_in_cells=False)(grid, target, UNASKED).anchors.tolist() == lax, "144 px is no small area"


def test_a_lesion_smaller_than_a_cell_gets_the_cell_of_its_centre() -> None:
    target = target_of([[9, 17, 11, 19]], 64)
    picked = regression()(grid_of(8, 8), target, UNASKED)
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


def test_every_level_of_a_pyramid_is_taught_by_its_own_cells() -> None:
    # Levels of 4 x 4 and 2 x 2 cells on an image of 16 px. The box is one cell of the finer level and a quarter of one
    # of the coarser level; no cell's average reaches a half there, so the cell of its centre is forced.
    fine, coarse = grid_of(4, 4), grid_of(2, 8)
    grid = Grid(torch.cat([fine.anchors, coarse.anchors]), ((4, 4), (2, 2)), 1, (4.0, 8.0))
    target = target_of([[8, 0, 12, 4]], 16)
    picked = regression()(grid, target, UNASKED)
    # Row 0: column 2 of the finer level, column 1 of the coarser one behind the finer one's 16 cells.
    assert picked.anchors.tolist() == [2, 16 + 1]
    assert picked.lesions.tolist() == [0, 0]
    assert picked.normalizer == 2


def test_the_small_lesions_rule_counts_cells_of_each_level() -> None:
    # 32 px wide: 64 cells of area at stride 4, where a quarter is enough; 4 at stride 16, where a half is needed.
    target = target_of([[16, 16, 48, 48]], 64)
    for side, stride, enough in ((16, 4, 0.25), (4, 16, 0.5)):
        values = cell_values(target["lesion_bms"], (side, side))[0]
        owners = regression().owners(target, (side, side), float(stride))
        assert torch.equal(owners >= 0, values >= enough - 1e-6)


def hand_target(bm: list[list[float]], lesion_bms: list, boxes: list[list[float]]) -> dict[str, torch.Tensor]:
    """A target whose maps are as large as the level: no cell averages, every value is the one written here."""
    return {"bm": torch.tensor(bm), "lesion_bms": torch.tensor(lesion_bms), "boxes": torch.tensor(boxes)}


def test_equation_6_parts_foreground_from_background_at_a_half_and_keeps_the_maps_values_as_labels() -> None:
    target = hand_target([[0.9, 0.5, 0.0], [0.5 - 1e-7, 0.49, 0.0], [0.0, 0.0, 0.2]], [], [])
    picked = BmcObjectness()(grid_of(3, 1), target, UNASKED)
    # Foreground: cells 0, 1 and, .5 up to rounding, 3; of the six others twice as many are drawn, which are all.
    assert picked.anchors[:3].tolist() == [0, 1, 3]
    assert sorted(picked.anchors[3:].tolist()) == [2, 4, 5, 6, 7, 8]
    assert torch.equal(picked.labels, target["bm"].flatten()[picked.anchors])
    one_foreground = hand_target([[0.9, 0.4, 0.4]] + [[0.4] * 3] * 2, [], [])
    lonely = BmcObjectness()(grid_of(3, 1), one_foreground, UNASKED)
    assert lonely.labels.tolist() == pytest.approx([0.9, 0.4, 0.4])


def test_equation_8_takes_each_lesions_own_cells_and_the_higher_value_where_both_claim_one() -> None:
    # Areas of 16 and 15 cells: for the first lesion a quarter is enough, for the second one it is not.
    maps = [[[0.3, 0.6, 0.0], [0.25, 0.2, 0.0]], [[0.0, 0.7, 0.6], [0.0, 0.5, 0.4]]]
    target = hand_target([[0.0] * 3] * 2, maps, [[0.0, 0, 4, 4], [0.0, 0, 5, 3]])
    owners = regression().owners(target, (2, 3), 1.0)
    assert owners.tolist() == [0, 1, 1, 0, 1, -1]
    # Counted in px nothing changes at stride 1; with a stride of 2 the first lesion is 4 cells small.
    assert regression().owners(target, (2, 3), 2.0).tolist() == [-1, 1, 1, -1, 1, -1]
    assert regression(area_in_cells=False).owners(target, (2, 3), 2.0).tolist() == [0, 1, 1, 0, 1, -1]
    assert regression(boundary=0.2).owners(target, (2, 3), 1.0).tolist() == [0, 1, 1, 0, 1, -1]


def test_of_equal_values_the_smaller_lesion_has_the_cell() -> None:
    maps = [[[0.6, 0.8]], [[0.6, 0.7]]]
    for boxes, owner in (([[0.0, 0, 9, 9], [0.0, 0, 5, 5]], 1), ([[0.0, 0, 5, 5], [0.0, 0, 9, 9]], 0)):
        assert regression().owners(hand_target([[0.0, 0.0]], maps, boxes), (1, 2), 1.0).tolist() == [owner, 0]


def test_all_anchors_of_a_cell_are_positive_unless_they_must_overlap_their_lesion() -> None:
    # On the one cell: anchors of 16 and 8 px; the lesion is 8 px wide in the middle, so their IoU is .25 and 1.
    anchors = torch.tensor([[0.0, 0, 16, 16], [4.0, 4, 12, 12]])
    grid = Grid(anchors, ((1, 1),), 2, (16.0,))
    target = hand_target([[0.0]], [[[0.6]]], [[4.0, 4, 12, 12]])
    assert regression()(grid, target, UNASKED).anchors.tolist() == [0, 1]
    assert regression(anchor_iou=0.25)(grid, target, UNASKED).anchors.tolist() == [0, 1]
    picked = regression(anchor_iou=0.26)(grid, target, UNASKED)
    assert picked.anchors.tolist() == [1]
    assert picked.lesions.tolist() == [0]
    assert picked.normalizer == 1


def test_bm_labels_a_positive_anchor_with_the_map_at_its_centre_and_background_with_0() -> None:
    # Nine cells of 8 px with two anchors each, 8 and 4 px wide; the lesion is the middle cell.
    side, stride = 3, 8
    centre = (torch.arange(side) + 0.5) * stride
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    anchors = torch.stack(
        [torch.stack([x - half, y - half, x + half, y + half], dim=-1) for half in (4, 2)], dim=2
    ).reshape(-1, 4)
    grid = Grid(anchors, ((side, side),), 2, (float(stride),))
    bm = torch.full((24, 24), 0.3)
    bm[12, 12] = 0.8
    target = {"bm": bm, "boxes": torch.tensor([[8.0, 8, 16, 16]])}
    strict = IouAssigner(positive=0.5, negative=0.3, forced=True)
    picked = BmObjectness(12)(grid, target, lambda: strict.match(grid, target))
    # The large anchor on the middle cell is the lesion; the small one has an IoU of .25: background.
    assert picked.anchors[0] == 4 * 2
    assert picked.labels[0] == pytest.approx(0.8)
    assert len(picked.anchors) == 12
    assert (picked.labels[1:] == 0).all(), "the map is higher than 0 everywhere"
    lenient = IouAssigner(positive=0.2, negative=0.1, forced=True)
    lower = BmObjectness(12)(grid, target, lambda: lenient.match(grid, target))
    assert lower.anchors[:2].sort().values.tolist() == [8, 9]
    assert lower.labels[:2].tolist() == pytest.approx([0.8, 0.8])


def test_a_maps_value_at_a_box_is_its_centre_pixels_within_the_map() -> None:
    values = torch.arange(12.0).reshape(3, 4)
    boxes = torch.tensor([[0.0, 0, 3, 3], [2.0, 1, 4, 2], [3.0, 2, 9, 9], [-8.0, -8, 2, 2]])
    assert values_at_centres(values, boxes).tolist() == [5, 7, 11, 0]


def two_levels() -> Grid:
    """16 x 16 cells of 4 px with anchors of 8 px, 4 x 4 cells of 16 px with anchors of 32 px."""
    fine, coarse = grid_of(16, 4), grid_of(4, 16)
    return Grid(
        torch.cat([fine.anchors, coarse.anchors]), (*fine.levels, *coarse.levels), 1, (*fine.strides, *coarse.strides)
    )


SMALL, LARGE = [4.0, 4, 12, 12], [16.0, 16, 60, 60]


def test_the_level_for_a_box_is_the_one_whose_anchors_are_nearest_to_it_in_size() -> None:
    # Half way between 8 and 32 px by ratio: 16 px.
    boxes = [SMALL, LARGE, [0.0, 0, 15.9, 15.9], [0.0, 0, 16.1, 16.1], [0.0, 0, 2, 100], [0.0, 0, 4, 100]]
    assert two_levels().level_for(torch.tensor(boxes)).tolist() == [0, 1, 0, 1, 0, 1]
    assert two_levels().level_for(torch.zeros(0, 4)).tolist() == []


def test_by_size_a_lesion_teaches_its_own_level_and_by_default_every_one() -> None:
    grid, target = two_levels(), target_of([SMALL, LARGE], 64)
    every, own = (regression(by_size=by_size)(grid, target, UNASKED) for by_size in (False, True))
    levels = grid.level_of(every.anchors)
    assert {(int(a), int(b)) for a, b in zip(levels, every.lesions, strict=True)} == {(0, 0), (1, 0), (0, 1), (1, 1)}
    kept = grid.level_of(own.anchors) == own.lesions
    assert kept.all()
    assert set(own.lesions.tolist()) == {0, 1}
    mine = levels == every.lesions
    assert set(every.anchors[mine].tolist()) <= set(own.anchors.tolist())


def test_by_size_objectness_is_the_map_of_the_levels_own_lesions() -> None:
    grid, target = two_levels(), target_of([SMALL, LARGE], 64)
    picked = BmcObjectness(by_size=True)(grid, target, UNASKED)
    labels = torch.zeros(len(grid.anchors)).index_put((picked.anchors,), picked.labels)
    values = [cell_values(target["lesion_bms"][lesion][None], grid.levels[lesion])[0] for lesion in (0, 1)]
    foreground = torch.cat(values) >= 0.5 - 1e-6
    assert foreground[:256].any()
    assert foreground[256:].any()
    assert torch.allclose(labels[foreground], torch.cat(values)[foreground])
    assert (labels[~foreground] < 0.5).all()
    nothing = BmcObjectness(by_size=True)(grid, target_of([], 64), UNASKED)
    assert (nothing.labels == 0).all()


def test_cells_in_an_ignored_box_are_no_background_and_those_of_a_hard_negative_come_first() -> None:
    grid = grid_of(16, 4)
    target = target_of([[16, 16, 40, 40]], 64)
    plain = set(BmcObjectness()(grid, target, UNASKED).positives.tolist())
    within = target | {
        "ignored": torch.tensor([[0.0, 0.0, 64.0, 48.0]]),
        "negatives": torch.tensor([[56.0, 56, 64, 64]]),
    }
    for seed in range(5):
        torch.manual_seed(seed)
        picked = BmcObjectness()(grid, within, UNASKED)
        background = set(picked.anchors.tolist()) - plain
        assert set(picked.positives.tolist()) == plain
        assert min(background) >= 12 * 16, "the first twelve rows of cells are ignored"
        assert {14 * 16 + 14, 14 * 16 + 15, 15 * 16 + 14, 15 * 16 + 15} <= background
