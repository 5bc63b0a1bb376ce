"""Anchors by their IoU with lesions, on grids small enough to check by hand."""

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.losses.iou import IouAssigner, IouObjectness, IouRegression, of_negatives, paired_iou

FASTER_RCNNS = IouAssigner(positive=0.7, negative=0.3, forced=True)
RETINANETS = IouAssigner(positive=0.5, negative=0.4, forced=False)


def grid_of(side: int, stride: int) -> Grid:
    """A square level whose anchors are two cells wide."""
    centre = (torch.arange(side) + 0.5) * stride
    y, x = torch.meshgrid(centre, centre, indexing="ij")
    boxes = torch.stack([x - stride, y - stride, x + stride, y + stride], dim=-1).reshape(-1, 4)
    return Grid(boxes, ((side, side),), 1, (float(stride),))


def row_of(*widths: float) -> Grid:
    """Anchors one row high and so wide, in one place on one level: their IoU with a box is a ratio of widths."""
    anchors = torch.tensor([[0.0, 0.0, width, 10.0] for width in widths])
    return Grid(anchors, ((1, len(widths)),), 1, (1.0,))


def target_of(*boxes: list[float]) -> dict[str, Tensor]:
    return {"boxes": torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)}


def test_anchors_are_positive_from_one_iou_on_and_negative_below_another_and_none_is_forced() -> None:
    box = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    matched = RETINANETS.match(row_of(51, 50, 49, 41, 39, 5), box)
    assert matched.tolist() == [0, 0, -2, -2, -1, -1]
    assert RETINANETS.match(row_of(45, 30), box).tolist() == [-2, -1], "the best anchor below .5 teaches nothing"


def test_iou_takes_positives_and_fills_up_with_background() -> None:
    grid = grid_of(8, 8)
    target = target_of([16, 16, 32, 32])
    picked = IouObjectness(16)(grid, target, lambda: FASTER_RCNNS.match(grid, target))
    positive = picked.anchors[picked.labels == 1]
    # The box is 16 px wide and centred on a corner of cells: its four neighbours share (12/16)^2 of it.
    iou = 144 / (2 * 256 - 144)
    assert iou < 0.7
    assert positive.numel() == 4, "below the threshold, the best anchors (a tie of four) are forced"
    assert len(picked.anchors) == 16


def test_iou_without_a_lesion_gives_background_alone() -> None:
    grid, target = grid_of(8, 8), target_of()
    picked = IouObjectness(16)(grid, target, lambda: FASTER_RCNNS.match(grid, target))
    assert len(picked.positives) == 0
    assert picked.labels.sum() == 0
    assert len(picked.anchors) == 16


def test_iou_regression_matches_each_positive_to_its_own_box() -> None:
    grid, target = grid_of(8, 8), target_of([8, 8, 24, 24], [40, 40, 56, 56])
    lenient = IouAssigner(positive=0.5, negative=0.3, forced=True)
    picked = IouRegression(16)(grid, target, lambda: lenient.match(grid, target))
    anchors = grid.anchors[picked.anchors]
    assert set(picked.lesions.tolist()) == {0, 1}
    assert ((anchors - target["boxes"][picked.lesions]).abs().sum(dim=1) < 40).all()
    assert picked.normalizer == 16


def test_paired_iou_compares_row_with_row() -> None:
    first = torch.tensor([[0.0, 0, 4, 4], [0.0, 0, 2, 2]])
    second = torch.tensor([[2.0, 0, 6, 4], [4.0, 4, 6, 6]])
    assert paired_iou(first, second).tolist() == pytest.approx([8 / 24, 0])


def test_a_box_that_no_anchor_overlaps_makes_no_anchor_positive() -> None:
    grid, target = grid_of(8, 8), target_of([400, 400, 420, 420])
    picked = IouObjectness(16)(grid, target, lambda: FASTER_RCNNS.match(grid, target))
    assert picked.labels.sum() == 0


def test_of_many_positive_anchors_at_most_half_the_samples_are_drawn_and_all_are_counted() -> None:
    grid = row_of(*[100.0] * 12, *[10.0] * 20)
    target = target_of([0.0, 0.0, 100.0, 10.0])
    matched = FASTER_RCNNS.match(grid, target)
    picked = IouObjectness(8)(grid, target, lambda: matched)
    assert picked.labels.tolist() == [1] * 4 + [0] * 4
    assert set(picked.anchors[:4].tolist()) <= set(range(12))
    assert set(picked.anchors[4:].tolist()) <= set(range(12, 32))
    assert picked.positives.tolist() == list(range(12))
    learnt = IouRegression(8)(grid, target, lambda: matched)
    assert (len(learnt.anchors), learnt.normalizer) == (4, 8)


def test_background_that_an_ignored_box_would_claim_is_neither_and_a_lesions_anchor_stays_its() -> None:
    grid = row_of(100, 71, 40, 10, 80)
    lesion = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    assert FASTER_RCNNS.match(grid, lesion).tolist() == [0, 0, -2, -1, 0]
    # It overlaps the anchors by .1, .14, .25, 1 and .125: as a lesion it would claim the fourth alone.
    ignored = lesion | {"ignored": torch.tensor([[0.0, 0.0, 10.0, 10.0]])}
    assert FASTER_RCNNS.match(grid, ignored).tolist() == [0, 0, -2, -2, 0]
    nothing = target_of() | {"ignored": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    assert FASTER_RCNNS.match(grid, nothing).tolist() == [-2, -2, -2, -1, -2], "none is positive"


def test_ignored_anchors_are_neither_sampled_as_background_nor_as_lesions() -> None:
    grid = row_of(100, 90, 80, 10)
    target = target_of() | {"ignored": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    picked = IouObjectness(8)(grid, target, lambda: FASTER_RCNNS.match(grid, target))
    assert picked.anchors.tolist() == [3]
    assert picked.labels.tolist() == [0]


def test_hard_negatives_are_sampled_first_as_background() -> None:
    grid = grid_of(8, 8)
    # Exactly an anchor; its neighbours overlap it by a third.
    negative = grid.anchors[27:28]
    target = target_of([-400.0, -400, -300, -300]) | {"negatives": negative}
    for seed in range(5):
        torch.manual_seed(seed)
        picked = IouObjectness(2)(grid, target, lambda: torch.full((64,), -1))
        assert 27 in picked.anchors.tolist()
        assert len(picked.anchors) == 2
        assert picked.labels.tolist() == [0, 0]


def test_a_hard_negative_that_no_anchor_fits_has_its_best_one() -> None:
    grid = row_of(100, 60, 30)
    first = of_negatives(grid.anchors, {"negatives": torch.tensor([[0.0, 0.0, 10.0, 10.0]])})
    assert first is not None
    assert first.tolist() == [False, False, True]
    assert of_negatives(grid.anchors, target_of()) is None


def test_nothing_else_is_drawn_where_nothing_is_ignored_and_no_negative_is_known() -> None:
    grid, target = grid_of(8, 8), target_of([20.0, 20, 36, 36])
    drawn = []
    for known in (target, target | {"negatives": torch.zeros(0, 4), "ignored": torch.zeros(0, 4)}):
        torch.manual_seed(3)
        drawn.append(IouObjectness(8)(grid, known, lambda known=known: FASTER_RCNNS.match(grid, known)).anchors)
    assert torch.equal(*drawn)
