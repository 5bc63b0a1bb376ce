"""Heat maps of centres and the losses of VLD, by hand: eqs. 1, 4 and 5 of its paper."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from napari_uld.detectors.losses.centres import (
    cells_within,
    centre_cells,
    centre_loss,
    corners_of,
    extent_loss,
    heat_map,
    sample_at,
    triplet_loss,
    with_negatives,
)


def boxes(*rows: list[float]) -> Tensor:
    return torch.tensor(rows, dtype=torch.float32).view(-1, 6)


def test_the_heat_is_1_at_the_centres_cell_and_falls_to_three_deviations_at_the_boxs_side() -> None:
    # Centre (5.5, 4.5, 1.5), halves 3, 2 and 1 along x, y and z: deviations 1, 2/3 and 1/3.
    heat = heat_map(boxes([2.5, 2.5, 0.5, 8.5, 6.5, 2.5]), (4, 9, 12))
    assert heat[1, 4, 5] == 1
    assert heat[1, 4, 6] == pytest.approx(math.exp(-1 / 2))
    assert heat[1, 3, 5] == pytest.approx(math.exp(-((3 / 2) ** 2) / 2))
    assert heat[0, 4, 5] == pytest.approx(math.exp(-(3**2) / 2))
    assert heat[1, 4, 8] == pytest.approx(math.exp(-(3**2) / 2))
    assert heat[1, 4, 9] == heat[3, 4, 5] == 0
    assert (heat == 1).sum() == 1


def test_of_several_lesions_the_highest_counts_and_without_any_there_is_nothing() -> None:
    near = boxes([0, 0, 0, 4, 4, 4], [1, 0, 0, 5, 4, 4])
    both = heat_map(near, (4, 4, 6))
    torch.testing.assert_close(both, torch.maximum(*(heat_map(box[None], (4, 4, 6)) for box in near)))
    assert heat_map(boxes(), (2, 3, 4)).shape == (2, 3, 4)
    assert not heat_map(boxes(), (2, 3, 4)).any()


def test_in_images_it_is_the_same_without_z() -> None:
    flat = heat_map(torch.tensor([[2.5, 2.5, 8.5, 6.5]]), (9, 12))
    assert flat[4, 5] == 1
    assert flat[4, 6] == pytest.approx(math.exp(-1 / 2))


@given(st.integers(1, 5), st.integers(0, 10_000))
def test_no_cell_but_the_centres_is_1_wherever_lesions_lie(count: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    low = rng.uniform(-1, 9, (count, 3))
    made = torch.tensor(np.hstack([low, low + rng.uniform(0.1, 8, (count, 3))]), dtype=torch.float32)
    shape = (10, 10, 10)
    heat = heat_map(made, shape)
    ones = {tuple(cell) for cell in torch.nonzero(heat == 1).flip(1).tolist()}
    assert ones == {tuple(cell) for cell in centre_cells(made, shape).tolist()}
    assert heat.min() >= 0


def test_hard_negatives_are_below_0_but_where_a_lesion_is() -> None:
    lesion, negative = boxes([0, 0, 0, 6, 6, 6]), boxes([3, 0, 0, 9, 6, 6])
    shape = (6, 6, 10)
    heat = with_negatives(heat_map(lesion, shape), negative)
    assert heat[3, 3, 3] == 1
    assert heat[3, 3, 6] == -1 if heat_map(lesion, shape)[3, 3, 6] == 0 else heat[3, 3, 6] > 0
    assert heat[3, 3, 7] == pytest.approx(-math.exp(-1 / 2))
    assert (heat[heat_map(lesion, shape) > 0] > 0).all()


def test_cells_lie_within_boxes_by_their_centres() -> None:
    cells = torch.nonzero(cells_within(boxes([0.6, 0.4, 0, 2.6, 1.4, 1], [3, 0, 1, 4, 1, 2]), (2, 2, 4))).flip(1)
    assert cells.tolist() == [[1, 0, 0], [2, 0, 0], [3, 0, 1]]
    assert not cells_within(boxes(), (2, 2, 4)).any()


def test_the_loss_of_centres_is_eq_1() -> None:
    # Four cells: a centre found with .8, beside it (Y = .5) .4, background .3, a hard negative (Y = -1) .3.
    scores, heat = torch.tensor([0.8, 0.4, 0.3, 0.3]), torch.tensor([1.0, 0.5, 0.0, -1.0])
    wanted = -(
        0.2**2 * math.log(0.8) + 0.5**4 * 0.4**2 * math.log(0.6) + 0.3**2 * math.log(0.7) + 16 * 0.3**2 * math.log(0.7)
    )
    found = centre_loss(scores.logit(), heat, alpha=2, beta=4)
    assert found.item() == pytest.approx(wanted, rel=1e-5)
    # Of two lesions it is the mean, without any the sum.
    twice = centre_loss(torch.cat([scores, scores]).logit(), torch.cat([heat, heat]), alpha=2, beta=4)
    assert twice.item() == pytest.approx(wanted, rel=1e-5)
    # What is left out is background alone, and hard negatives.
    left_out = centre_loss(scores.logit(), heat, alpha=2, beta=4, left_out=torch.ones(4, dtype=torch.bool))
    kept = 0.2**2 * math.log(0.8) + 0.5**4 * 0.4**2 * math.log(0.6)
    assert left_out.item() == pytest.approx(-kept, rel=1e-5)
    none = centre_loss(scores[2:3].logit(), heat[2:3], alpha=2, beta=4)
    assert none.item() == pytest.approx(-(0.3**2) * math.log(0.7), rel=1e-5)


def test_the_loss_of_points_is_what_they_span_against_the_box() -> None:
    # They span (1, 2, 0) to (5, 4, 3); of the box's sides -x is off by 1, +y by 2, +z by .5.
    points = torch.tensor([[[1.0, 2, 0], [5, 3, 3], [2, 4, 1]]], requires_grad=True)
    loss = extent_loss(points, boxes([0, 2, 0, 5, 6, 2.5]))
    assert loss.item() == pytest.approx(3.5)
    loss.backward()
    # The points at those sides alone are moved, each along that axis.
    assert points.grad is not None
    assert points.grad.tolist() == [[[1, 0, 0], [0, 0, 1], [0, -1, 0]]]
    assert extent_loss(torch.zeros(0, 3, 3), boxes()).item() == 0


def test_the_triplet_loss_is_eq_5() -> None:
    centre = torch.tensor([[0.0, 0.0]])
    points = torch.tensor([[[3.0, 4.0], [0.0, 1.0]]])
    corners = torch.tensor([[[0.0, 2.0], [6.0, 8.0]]])
    # Distances 5 and 1 of the points, 2 and 10 of the corners: the mean of (5 - 2 + 1), 0, (1 - 2 + 1) and 0.
    assert triplet_loss(points, centre, corners, margin=1.0).item() == pytest.approx(4.0 / 4)
    assert triplet_loss(points, centre, corners, margin=3.0).item() == pytest.approx((6.0 + 2.0) / 4)


def test_a_box_has_eight_corners() -> None:
    (corners,) = corners_of(boxes([1, 2, 3, 4, 5, 6]))
    assert {tuple(corner) for corner in corners.tolist()} == {(x, y, z) for x in (1, 4) for y in (2, 5) for z in (3, 6)}


def test_features_between_cells_are_interpolated_and_the_gradient_reaches_the_place() -> None:
    # The feature is its own x + 10 y + 100 z, in cells' centres.
    z, y, x = torch.meshgrid(*(torch.arange(n) + 0.5 for n in (3, 4, 5)), indexing="ij")
    level = (x + 10 * y + 100 * z)[None]
    places = torch.tensor([[2.25, 1.5, 0.75], [9.0, 2.0, 1.5], [1.0, -3.0, 1.0]], requires_grad=True)
    values = sample_at(level, places)
    torch.testing.assert_close(values[:, 0], torch.tensor([2.25 + 15 + 75, 4.5 + 20 + 150, 1 + 5 + 100]))
    values.sum().backward()
    assert places.grad is not None
    torch.testing.assert_close(places.grad[0], torch.tensor([1.0, 10.0, 100.0]))
    assert sample_at(level, torch.zeros(0, 3)).shape == (0, 1)
