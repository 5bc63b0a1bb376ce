"""What RetinaNet's anchors and pixels learn, by hand."""

import math

import pytest
import torch
from torchvision.models.detection._utils import BoxCoder

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.build import RETINANET_WEIGHTS
from napari_uld.detectors.losses.focal import AnchorLoss, PixelLoss
from napari_uld.detectors.losses.iou import IouAssigner

LOSS = AnchorLoss(
    IouAssigner(positive=0.5, negative=0.4, forced=False), BoxCoder(RETINANET_WEIGHTS), alpha=0.25, gamma=2.0
)


def row_of(*widths: float) -> Grid:
    """Anchors one row high and so wide, in one place on one level: their IoU with a box is a ratio of widths."""
    anchors = torch.tensor([[0.0, 0.0, width, 10.0] for width in widths])
    return Grid(anchors, ((1, len(widths)),), 1, (1.0,))


def test_the_focal_loss_is_summed_over_taught_anchors_and_divided_by_the_positive_ones() -> None:
    grid = row_of(100, 80, 45, 10)
    target = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    p = torch.tensor([0.9, 0.3, 0.6, 0.2])
    losses, per_level = LOSS(grid, torch.logit(p)[None], torch.zeros(1, 4, 4), [target])
    # Two positive anchors, the third is doubtful, the fourth negative.
    by_hand = [-0.25 * 0.1**2 * math.log(0.9), -0.25 * 0.7**2 * math.log(0.3), -0.75 * 0.2**2 * math.log(0.8)]
    assert losses["classification"].item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)
    assert per_level.tolist() == [[2]]


def test_boxes_are_learnt_in_units_of_a_fifth_by_smooth_l1_of_sigma_three() -> None:
    grid = row_of(100)
    # The box's centre lies 2 px to the right and it is 4 px wider: dx = .02, dw = log 1.04, both times five.
    target = {"boxes": torch.tensor([[0.0, 0.0, 104.0, 10.0]])}
    losses, _ = LOSS(grid, torch.zeros(1, 1), torch.zeros(1, 1, 4), [target])
    dx, dw = 5 * 0.02, 5 * math.log(1.04)
    # Quadratic below 1/9: .5 * 9 d^2; beyond it |d| - .5 / 9.
    assert dx < 1 / 9 < dw
    assert losses["boxes"].item() == pytest.approx(4.5 * dx**2 + dw - 1 / 18, rel=1e-4)


def test_an_image_without_lesions_teaches_background_alone() -> None:
    losses, per_level = LOSS(row_of(10, 20), torch.zeros(1, 2), torch.zeros(1, 2, 4), [{"boxes": torch.zeros(0, 4)}])
    assert losses["boxes"].item() == 0
    assert losses["classification"].item() == pytest.approx(2 * 0.75 * 0.25 * math.log(2), rel=1e-5)
    assert per_level.sum() == 0


def test_pixels_learn_by_focal_loss_divided_by_the_lesions_pixels() -> None:
    p = torch.tensor([[[0.8, 0.3], [0.1, 0.5]]])
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    by_hand = [
        -0.25 * 0.2**2 * math.log(0.8),
        -0.25 * 0.7**2 * math.log(0.3),
        -0.75 * 0.1**2 * math.log(0.9),
        -0.75 * 0.5**2 * math.log(0.5),
    ]
    assert PixelLoss(alpha=0.25, gamma=2.0, weight=1.0)(torch.logit(p), masks).item() == pytest.approx(
        sum(by_hand) / 2, rel=1e-4
    )
    assert PixelLoss(alpha=0.25, gamma=2.0, weight=3.0)(torch.logit(p), masks).item() == pytest.approx(
        3 * sum(by_hand) / 2, rel=1e-4
    )


def test_without_a_lesion_pixel_the_sum_is_divided_by_one() -> None:
    loss = PixelLoss(alpha=0.25, gamma=2.0, weight=1.0)(torch.zeros(1, 1, 2), torch.zeros(1, 1, 2))
    assert loss.item() == pytest.approx(2 * 0.75 * 0.25 * math.log(2), rel=1e-5)


def test_an_anchor_on_an_ignored_box_teaches_nothing() -> None:
    grid = row_of(100, 10)
    target = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 10.0]]), "ignored": torch.tensor([[0.0, 0.0, 10.0, 10.0]])}
    logits = torch.logit(torch.tensor([[0.9, 0.2]]))
    losses, _ = LOSS(grid, logits, torch.zeros(1, 2, 4), [target])
    assert losses["classification"].item() == pytest.approx(-0.25 * 0.1**2 * math.log(0.9), rel=1e-5)


def test_pixels_that_are_left_out_teach_nothing() -> None:
    loss = PixelLoss(alpha=0.25, gamma=2.0, weight=1.0)
    logits, masks = torch.logit(torch.tensor([[[0.9, 0.2, 0.6]]])), torch.tensor([[[1.0, 0.0, 0.0]]])
    by_hand = -0.25 * 0.1**2 * math.log(0.9) - 0.75 * 0.2**2 * math.log(0.8)
    left_out = torch.tensor([[[False, False, True]]])
    assert loss(logits, masks, left_out).item() == pytest.approx(by_hand, rel=1e-5)
    assert loss(logits, masks).item() == pytest.approx(by_hand - 0.75 * 0.6**2 * math.log(0.4), rel=1e-5)
