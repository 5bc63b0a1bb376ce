"""What the position on the body teaches, by hand."""

import math

import pytest
import torch

from napari_uld.detectors.losses.position import PositionLoss

LOSS = PositionLoss((0.58, 0.72), part_weight=0.1, weight=1.0)
UNKNOWN = math.nan


def part_of(position: float) -> int:
    """The part that a position is of: the one whose logit the loss does not mind."""
    told = torch.zeros(1, 1)
    losses = [
        float(LOSS(10.0 * torch.eye(3)[None, None, part], told, torch.tensor([position]))["body_part"])
        for part in range(3)
    ]
    return losses.index(min(losses))


@pytest.mark.parametrize(
    ("position", "part"), [(0.0, 0), (0.5799, 0), (0.58, 1), (0.65, 1), (0.7199, 1), (0.72, 2), (1.0, 2)]
)
def test_a_part_ends_where_the_next_begins(position: float, part: int) -> None:
    assert LOSS.parts == 3
    assert part_of(position) == part


def test_both_losses_are_means_over_the_images_of_slabs_whose_position_is_known() -> None:
    logits = torch.tensor([[[0.0, 0, 0], [2.0, 0, 0]], [[5.0, 0, 0], [5.0, 0, 0]], [[0.0, 0, 3.0], [0, 0, 0]]])
    told = torch.tensor([[0.2, 0.5], [9.0, 9.0], [2.9, 0.9]])
    losses = LOSS(logits, told, torch.tensor([0.4, UNKNOWN, 0.9]))
    of_parts = [math.log(3), math.log(math.exp(2) + 2) - 2, math.log(math.exp(3) + 2) - 3, math.log(3)]
    # Quadratic up to a difference of 1, then linear.
    of_positions = [0.2**2 / 2, 0.1**2 / 2, 2.0 - 0.5, 0.0]
    assert float(losses["body_part"]) == pytest.approx(0.1 * sum(of_parts) / 4)
    assert float(losses["position"]) == pytest.approx(sum(of_positions) / 4)


def test_a_weight_is_a_factor() -> None:
    logits, told, true = torch.randn(2, 1, 3), torch.rand(2, 1), torch.tensor([0.3, 0.8])
    doubled = PositionLoss((0.58, 0.72), part_weight=0.2, weight=3.0)(logits, told, true)
    once = LOSS(logits, told, true)
    assert float(doubled["body_part"]) == pytest.approx(2 * float(once["body_part"]))
    assert float(doubled["position"]) == pytest.approx(3 * float(once["position"]))


def test_without_any_position_both_are_0_and_every_weight_has_a_gradient_of_0() -> None:
    logits, told = torch.randn(2, 3, 3, requires_grad=True), torch.rand(2, 3, requires_grad=True)
    losses = LOSS(logits, told, torch.full((2,), UNKNOWN))
    assert {name: loss.item() for name, loss in losses.items()} == {"body_part": 0.0, "position": 0.0}
    sum(losses.values()).backward()
    assert logits.grad is not None
    assert not logits.grad.any()
    assert told.grad is not None
    assert not told.grad.any()
