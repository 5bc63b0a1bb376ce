"""Which query tells which lesion, and what it learns, by hand."""

import math

import pytest
import torch

from napari_uld.detectors.losses.queries import QueryLoss, Weights

LOSS = QueryLoss(Weights(2, 5, 2), alpha=0.25, gamma=2.0)
SCALE = torch.tensor([100.0, 50.0, 100.0, 50.0])


def test_what_it_costs_that_a_query_tells_a_lesion() -> None:
    # Side by side, of one size: they touch, so that the generalised IoU is 0.
    boxes, wanted = torch.tensor([[0.2, 0.5, 0.2, 0.4]]), torch.tensor([[0.4, 0.5, 0.2, 0.4], [0.2, 0.5, 0.2, 0.4]])
    found = 0.25 * 0.2**2 * -math.log(0.8)
    missed = 0.75 * 0.8**2 * -math.log(0.2)
    costs = LOSS.costs(torch.tensor([0.8]).logit(), boxes, wanted)
    assert costs[0].tolist() == pytest.approx([2 * (found - missed) + 5 * 0.2, 2 * (found - missed) - 2], rel=1e-4)


def test_lesions_are_given_to_queries_so_that_all_together_cost_least() -> None:
    # The first query fits both lesions best; the second one would do for the second lesion alone.
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.62, 0.5, 0.2, 0.2], [0.1, 0.1, 0.1, 0.1]])
    wanted = torch.tensor([[0.5, 0.5, 0.2, 0.2], [0.55, 0.5, 0.2, 0.2]])
    assert LOSS.match(torch.zeros(3), boxes, wanted).tolist() == [0, 1, -1]
    assert LOSS.match(torch.zeros(3), boxes, wanted.flip(0)).tolist() == [1, 0, -1]
    assert LOSS.match(torch.zeros(3), boxes, torch.zeros(0, 4)).tolist() == [-1, -1, -1]


def test_of_two_that_fit_alike_the_surer_one_tells_the_lesion() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.2, 0.2]] * 2)
    assert LOSS.match(torch.tensor([-1.0, 1.0]), boxes, boxes[:1]).tolist() == [-1, 0]


def test_losses_are_weighed_and_divided_by_the_number_of_lesions() -> None:
    p = torch.tensor([[0.8, 0.1]])
    boxes = torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    # In shares (.6, .5, .2, .4): two boxes that share half of each, of 20 x 20 px on 100 x 50.
    target = {"boxes": torch.tensor([[50.0, 15, 70, 35]])}
    losses = LOSS(p.logit(), boxes, [target], SCALE)
    focal = -0.25 * 0.2**2 * math.log(0.8) - 0.75 * 0.1**2 * math.log(0.9)
    assert losses["classification"].item() == pytest.approx(2 * focal, rel=1e-4)
    assert losses["boxes"].item() == pytest.approx(5 * 0.1, rel=1e-4)
    # An IoU of a third, and no room between them.
    assert losses["overlap"].item() == pytest.approx(2 * (1 - 1 / 3), rel=1e-4)
    twice = LOSS(p.logit().repeat(2, 1), boxes.repeat(2, 1, 1), [target] * 2, SCALE)
    assert {name: loss.item() for name, loss in twice.items()} == pytest.approx(
        {name: loss.item() for name, loss in losses.items()}, rel=1e-5
    )


def test_a_query_on_an_ignored_box_is_not_taught_that_nothing_is_there() -> None:
    p, boxes = torch.tensor([[0.8, 0.1]]), torch.tensor([[[0.5, 0.5, 0.2, 0.4], [0.1, 0.1, 0.1, 0.1]]])
    target = {"boxes": torch.zeros(0, 4)}
    both = -0.75 * 0.8**2 * math.log(0.2) - 0.75 * 0.1**2 * math.log(0.9)
    second = -0.75 * 0.1**2 * math.log(0.9)
    assert LOSS(p.logit(), boxes, [target], SCALE)["classification"].item() == pytest.approx(2 * both, rel=1e-4)
    ignoring = target | {"ignored": torch.tensor([[40.0, 15, 60, 35]])}
    assert LOSS(p.logit(), boxes, [ignoring], SCALE)["classification"].item() == pytest.approx(2 * second, rel=1e-4)
    # A lesion's own query learns all the same.
    known = ignoring | {"boxes": torch.tensor([[40.0, 15, 60, 35]])}
    found = -0.25 * 0.2**2 * math.log(0.8)
    assert LOSS(p.logit(), boxes, [known], SCALE)["classification"].item() == pytest.approx(
        2 * (found + second), rel=1e-4
    )


def test_what_is_not_a_number_is_left_to_the_loss_to_tell() -> None:
    target = {"boxes": torch.tensor([[50.0, 15, 70, 35]])}
    losses = LOSS(torch.full((1, 2), torch.nan), torch.full((1, 2, 4), torch.nan), [target], SCALE)
    assert all(loss.isnan() for loss in losses.values())
