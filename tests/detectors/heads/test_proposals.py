"""What the proposal network proposes and how it learns."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection.image_list import ImageList

from napari_uld.detectors.anchors import CentredAnchorGenerator, Grid
from napari_uld.detectors.heads.proposals import FIRST_PART, ProposalHead, ProposalNetwork, Rules, survivors
from napari_uld.detectors.losses.bounding_map import BmcRegression
from napari_uld.detectors.losses.iou import IouAssigner
from napari_uld.detectors.losses.samples import ObjectnessSample, RegressionSample
from napari_uld.detectors.parts import Target

NONE = torch.zeros(0, dtype=torch.int64)


NO_LESION = {"boxes": torch.zeros(0, 4)}
BMC = {"boundary": 0.25, "small_area": 16.0, "area_in_cells": True, "anchor_iou": 0.0}
ASSIGNER = IouAssigner(positive=0.7, negative=0.3, forced=True)


class Picked:
    """A supervision part that picks the same for every image."""

    def __init__(self, sample: ObjectnessSample | RegressionSample) -> None:
        self.sample = sample

    def __call__(self, grid: Grid, target: Target, matched: Tensor) -> ObjectnessSample | RegressionSample:
        return self.sample


NOTHING = Picked(ObjectnessSample(NONE, torch.zeros(0), NONE))


def network(objectness: Picked = NOTHING, regression: Picked = NOTHING, **changes: object) -> ProposalNetwork:
    """One anchor of 8 px on each cell of two levels."""
    torch.manual_seed(0)
    settings = {"before_nms": (100, 100), "after_nms": (100, 100), "nms": 0.7, "min_size": 0.0} | changes
    return ProposalNetwork(
        CentredAnchorGenerator(((8,), (16,)), ((1.0,), (1.0,))),
        ProposalHead(4, 4, 1),
        strides=(8, 16),
        assigner=ASSIGNER,
        rules=Rules(ASSIGNER, ASSIGNER, BmcRegression(**BMC)),  # type: ignore[arg-type]
        objectness=objectness,  # type: ignore[arg-type]
        regression=regression,  # type: ignore[arg-type]
        **settings,  # type: ignore[arg-type]
    )


def two_levels() -> Grid:
    """Anchors of 8 px on 2 x 2 cells, and one of 16 px on the coarser level's cell."""
    anchors = torch.tensor([[0.0, 0, 8, 8], [8.0, 0, 16, 8], [0.0, 8, 8, 16], [8.0, 8, 16, 16], [0.0, 0, 16, 16]])
    return Grid(anchors, ((2, 2), (1, 1)), 1, (8.0, 16.0))


def test_equation_7_is_the_cross_entropy_with_the_maps_values() -> None:
    picked = Picked(ObjectnessSample(torch.tensor([0, 3]), torch.tensor([0.8, 0.0]), NONE))
    regression = Picked(RegressionSample(NONE, NONE, 1.0))
    # Logits whose sigmoids are .6 and .25; the others would make the loss infinite if they counted.
    logits = torch.tensor([[math.log(0.6 / 0.4), 1e9, 1e9, math.log(0.25 / 0.75), 1e9]])
    losses = network(picked, regression).losses([two_levels()], logits, torch.zeros(1, 5, 4), [NO_LESION])
    expected = -(0.8 * math.log(0.6) + 0.2 * math.log(0.4) + math.log(0.75)) / 2
    assert losses["objectness"].item() == pytest.approx(expected, rel=1e-5)
    assert losses["proposal_boxes"].item() == 0


def test_equation_9_is_smooth_l1_on_the_positive_anchors_over_their_number() -> None:
    # Anchor 0 is moved by half its width: dx = .5, which is wanted of a network that says 0; anchor 3 by nothing, and
    # the network says dy = .06, below 1 / 9, where smooth L1 with sigma 3 is 9 d^2 / 2.
    lesions = {"boxes": torch.tensor([[8.0, 8, 16, 16], [4.0, 0, 12, 8]])}
    regression = Picked(RegressionSample(torch.tensor([0, 3]), torch.tensor([1, 0]), 2.0))
    objectness = Picked(ObjectnessSample(torch.tensor([1]), torch.tensor([0.0]), NONE))
    deltas = torch.full((1, 5, 4), 1e3)
    deltas[0, 0] = 0
    deltas[0, 3] = torch.tensor([0, 0.06, 0, 0])
    losses = network(objectness, regression).losses([two_levels()], torch.zeros(1, 5), deltas, [lesions])
    expected = ((0.5 - 1 / 18) + 9 * 0.06**2 / 2) / 2
    assert losses["proposal_boxes"].item() == pytest.approx(expected, rel=1e-5)


def test_each_image_counts_alike_and_positives_are_logged_by_level() -> None:
    class ByImage:
        def __init__(self, *samples: object) -> None:
            self.samples = iter(samples)

        def __call__(self, grid: Grid, target: Target, matched: Tensor) -> object:
            return next(self.samples)

    objectness = ByImage(
        ObjectnessSample(torch.tensor([0, 1, 4]), torch.tensor([1.0, 0.5, 0.4]), torch.tensor([0, 1])),
        ObjectnessSample(torch.tensor([4]), torch.tensor([0.9]), torch.tensor([4])),
    )
    regression = ByImage(
        RegressionSample(torch.tensor([0, 3]), torch.tensor([0, 1]), 1.0),
        RegressionSample(torch.tensor([2, 3, 4]), torch.tensor([0, 1, 1]), 1.0),
    )
    model = network(objectness, regression)  # type: ignore[arg-type]
    logits = torch.zeros(2, 5)
    logits[1, 4] = math.log(9)
    lesions = {"boxes": two_levels().anchors[[0, 3]]}
    losses = model.losses([two_levels()] * 2, logits, torch.zeros(2, 5, 4), [lesions, lesions])
    # log 2 for each of the first image's, whatever the label; for the second one the entropy of .9.
    second = -(0.9 * math.log(0.9) + 0.1 * math.log(0.1))
    assert losses["objectness"].item() == pytest.approx((math.log(2) + second) / 2, rel=1e-5)
    assert model.positives == {"objectness": [1.0, 0.5], "regression": [2.0, 0.5]}


def features() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"0": torch.randn(1, 4, 8, 8), "1": torch.randn(1, 4, 4, 4)}


def images() -> ImageList:
    return ImageList(torch.zeros(1, 3, 64, 64), [(60, 50)])


def test_proposals_lie_in_their_image_and_are_no_smaller_than_asked() -> None:
    (boxes,), losses = network(min_size=5.0).eval()(images(), features())
    assert losses == {}
    assert len(boxes) > 10
    assert boxes.min() >= 0
    assert boxes[:, 2].max() <= 50
    assert boxes[:, 3].max() <= 60
    assert (boxes[:, 2:] - boxes[:, :2]).min() >= 5


def test_the_best_come_first_whatever_their_level() -> None:
    model = network(nms=1.0).eval()
    # Without deltas the anchors themselves are proposed; the finer level has 64, the coarser one 16.
    logits = torch.arange(80.0)
    logits[3] = 1000.0
    grid = torch.cat([torch.tensor([[i, 0.0, i + 10, 10]]) for i in range(80)])
    boxes = model.propose(logits, torch.zeros(80, 4), grid, [64, 16], (200, 200))
    assert boxes[:4, 0].tolist() == pytest.approx([3, 79, 78, 77])
    few = network(nms=1.0, before_nms=(5, 5)).eval()
    kept = few.propose(logits, torch.zeros(80, 4), grid, [64, 16], (200, 200))
    assert kept[:, 0].tolist() == pytest.approx([3, 79, 78, 77, 76, 75, 63, 62, 61, 60]), "five of each level"


def test_boxes_of_different_levels_do_not_suppress_one_another() -> None:
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 10], [0.0, 0, 10, 9]])
    scores = torch.tensor([0.9, 0.8, 0.7])
    assert survivors(boxes, scores, torch.tensor([0, 1, 0]), 0.7, 10).tolist() == boxes[:2].tolist()
    assert survivors(boxes, scores, torch.tensor([0, 1, 0]), 0.95, 10).tolist() == boxes.tolist()


def test_looking_at_the_best_part_first_gives_what_looking_at_all_gives() -> None:
    # Most of the best are copies of one box: the first part leaves fewer than are wanted.
    most = 3
    copies = FIRST_PART * most + 2
    boxes = torch.cat(
        [
            torch.tensor([[0.0, 0, 10, 10]]).repeat(copies, 1),
            torch.tensor([[20.0 * k, 20, 20 * k + 10, 30] for k in range(5)]),
        ]
    )
    scores = torch.linspace(1, 0, len(boxes))
    kept = survivors(boxes, scores, torch.zeros(len(boxes), dtype=torch.int64), 0.7, most)
    assert kept.tolist() == [[0, 0, 10, 10], [0, 20, 10, 30], [20, 20, 30, 30]]


@pytest.mark.parametrize(("kernel", "cells"), [(1, 1), (3, 9)])
def test_a_cells_proposals_are_told_from_as_many_cells_as_the_convolution_sees(kernel: int, cells: int) -> None:
    torch.manual_seed(0)
    head = ProposalHead(4, 8, 3, kernel)
    level = torch.randn(1, 4, 7, 7, requires_grad=True)
    objectness, deltas = head([level])
    assert (objectness[0].shape, deltas[0].shape) == ((1, 3, 7, 7), (1, 12, 7, 7))
    objectness[0][0, :, 3, 3].sum().backward()
    assert level.grad is not None
    assert int(level.grad.any(dim=1).sum()) == cells
