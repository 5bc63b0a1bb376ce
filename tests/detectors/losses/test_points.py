"""What FCOS's cells learn, by hand."""

import math

import pytest
import torch

from napari_uld.detectors.anchors import Grid, make_grid
from napari_uld.detectors.heads.points import cell_boxes
from napari_uld.detectors.losses.points import PointAssigner, PointLoss, centredness, distances_to, iou_loss

STRIDES = (4, 8)
# Levels of 4 x 4 and of 2 x 2 cells: numbers 0 to 15, row by row, and 16 to 19.
GRID = make_grid(cell_boxes(STRIDES), STRIDES, (16, 16))
# The finer level is for lesions whose farthest side lies at most 6 px from a cell's centre.
ASSIGNER = PointAssigner((6.0,))


def claimed(*boxes: tuple[float, ...], **more: torch.Tensor) -> dict[int, int]:
    """Which cells are not background, and what they are instead."""
    matched = ASSIGNER.match(GRID, {"boxes": torch.tensor(boxes).reshape(-1, 4), **more})
    return {cell: int(lesion) for cell, lesion in enumerate(matched.tolist()) if lesion != -1}


def test_a_cell_is_positive_where_its_centre_lies_in_a_box_and_its_farthest_side_is_within_the_levels_range() -> None:
    # Centres lie at 2, 6, 10, 14; those at (2, 2) to (6, 6) lie in the box, at most 6 px from its farthest side.
    assert claimed((0.0, 0.0, 8.0, 8.0)) == {0: 0, 1: 0, 4: 0, 5: 0}
    # From 12 px on all farthest sides are 6 px off or more: 6 in its middle alone, which is no cell's centre.
    assert claimed((0.0, 0.0, 12.0, 12.0)) == {5: 0, 16: 0}


def test_a_range_ends_with_its_limit_and_the_next_one_begins_behind_it() -> None:
    at_limit, beyond = claimed((0.0, 0.0, 12.0, 12.0)), claimed((0.0, 0.0, 12.5, 12.0))
    # The cell about (6, 6) is 6 px from the sides of the first box.
    assert (5 in at_limit, 5 in beyond) == (True, False)
    # The coarse cell about (4, 4) is 8 px from the farthest one.
    assert 16 in beyond


def test_a_centre_on_a_side_lies_outside() -> None:
    assert claimed((2.0, 0.0, 8.0, 4.0)) == {1: 0}


def test_of_several_lesions_a_cell_tells_the_smallest() -> None:
    large, small = (0.0, 0.0, 8.0, 8.0), (4.0, 4.0, 8.0, 8.0)
    assert claimed(large, small) == {0: 0, 1: 0, 4: 0, 5: 1}
    assert claimed(small, large) == {0: 1, 1: 1, 4: 1, 5: 0}


def test_background_that_an_ignored_box_would_claim_is_neither() -> None:
    ignored = torch.tensor([[0.0, 0.0, 8.0, 4.0]])
    assert claimed((0.0, 0.0, 4.0, 8.0), ignored=ignored) == {0: 0, 4: 0, 1: -2}
    assert claimed(ignored=ignored) == {0: -2, 1: -2}


def test_how_central_a_cell_is() -> None:
    boxes = torch.tensor([[0.0, 0.0, 8.0, 8.0]] * 2)
    distances = distances_to(boxes, torch.tensor([[4.0, 4.0], [2.0, 6.0]]))
    assert distances.tolist() == [[4, 4, 4, 4], [2, 6, 6, 2]]
    # The second: the root of (2 / 6) (2 / 6).
    assert centredness(distances).tolist() == pytest.approx([1, 1 / 3])


def test_boxes_learn_the_logarithm_of_their_iou_with_a_pixel_more() -> None:
    true, told = torch.tensor([[4.0, 4, 4, 4]]), torch.tensor([[2.0, 4, 4, 6]])
    # 64 px^2 and 60, which share 6 x 8.
    assert iou_loss(told, true).item() == pytest.approx(-math.log(49 / 77))
    assert iou_loss(true, true).item() == pytest.approx(0, abs=1e-6)


def test_losses_are_divided_by_the_positive_cells_and_boxes_by_how_central_these_are() -> None:
    grid = Grid(torch.tensor([[0.0, 0, 4, 4], [4, 0, 8, 4], [8, 0, 12, 4]]), ((1, 3),), 1, (4.0,))
    loss = PointLoss(PointAssigner(()), alpha=0.25, gamma=2.0)
    p, c = torch.tensor([0.9, 0.3, 0.2]), torch.tensor([0.8, 0.5, 0.1])
    # About (2, 2) and (6, 2): (2, 2, 8, 2) and (6, 2, 4, 2) to the sides.
    target = {"boxes": torch.tensor([[0.0, 0, 10, 4]])}
    told = torch.tensor([[2.0, 2, 8, 2], [6, 2, 2, 2], [9, 9, 9, 9]])
    losses, per_level = loss(grid, p.logit()[None], told[None], c.logit()[None], [target])
    assert per_level.tolist() == [[2]]
    focal = [-0.25 * 0.1**2 * math.log(0.9), -0.25 * 0.7**2 * math.log(0.3), -0.75 * 0.2**2 * math.log(0.8)]
    assert losses["classification"].item() == pytest.approx(sum(focal) / 2, rel=1e-5)
    first, second = math.sqrt(2 / 8), math.sqrt(4 / 6)
    assert losses["boxes"].item() == pytest.approx(second * -math.log(33 / 41) / (first + second), rel=1e-5)
    cross = [-(w * math.log(q) + (1 - w) * math.log(1 - q)) for w, q in ((first, 0.8), (second, 0.5))]
    assert losses["centredness"].item() == pytest.approx(sum(cross) / 2, rel=1e-5)


def test_an_image_without_lesions_teaches_background_alone() -> None:
    loss = PointLoss(ASSIGNER, alpha=0.25, gamma=2.0)
    told = torch.ones(1, 20, 4, requires_grad=True)
    losses, per_level = loss(GRID, torch.zeros(1, 20), told, torch.zeros(1, 20), [{"boxes": torch.zeros(0, 4)}])
    assert losses["classification"].item() == pytest.approx(20 * 0.75 * 0.25 * math.log(2), rel=1e-5)
    assert (losses["boxes"].item(), losses["centredness"].item(), per_level.sum().item()) == (0, 0, 0)
    losses["boxes"].backward()
    assert told.grad is not None
