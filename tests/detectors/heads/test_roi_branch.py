"""What the segmentation branch predicts, and what it is taught by."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.heads.roi_branch import SegmentationBranch
from napari_uld.detectors.heads.roi_pools import PyramidRoiAlign
from napari_uld.detectors.losses.branch import OUTPUT, BranchLoss, MapLoss, MaskLoss, Positives

# As many pixels as the branch has outputs: each output is one pixel.
WHOLE_PIXELS = torch.tensor([[8.0, 20.0, 36.0, 48.0]])


def positives(boxes: Tensor, matched: list[int], labels: list[int] | None = None) -> Positives:
    classes = [1] * len(matched) if labels is None else labels
    return Positives(boxes, *(torch.tensor(numbers, dtype=torch.int64) for numbers in (matched, classes)))


def branch(loss: BranchLoss, classes: int = 1) -> SegmentationBranch:
    torch.manual_seed(0)
    pool = PyramidRoiAlign(14, (8,))
    return SegmentationBranch(4, 4, classes=classes, pool=pool, loss=loss)


def features() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"0": torch.randn(1, 4, 8, 8)}


def test_the_loss_compares_what_is_predicted_with_what_is_wanted() -> None:
    part = branch(MapLoss("abm"))
    loss = part.loss(features(), [positives(WHOLE_PIXELS, [0])], [{"abm": torch.full((64, 64), 0.25)}])
    (predicted,) = part.predict(features(), [WHOLE_PIXELS], [torch.tensor([1])])
    assert predicted.shape == (1, 1, OUTPUT, OUTPUT)
    assert loss.item() == pytest.approx((predicted - 0.25).square().mean().item(), rel=1e-5)


def test_without_positive_proposals_the_branch_costs_nothing_and_every_weight_has_a_gradient_of_0() -> None:
    part = branch(MapLoss("abm"))
    none = positives(torch.zeros(0, 4), [])
    loss = part.loss(features(), [none], [{"abm": torch.zeros(64, 64)}])
    assert loss.item() == 0
    loss.backward()
    assert all(weights.grad is not None and not weights.grad.any() for weights in part.parameters())


def test_an_image_without_positives_does_not_shift_the_others_maps() -> None:
    part = branch(MapLoss("abm"))
    two = {"0": torch.cat([torch.zeros(1, 4, 8, 8), features()["0"]])}
    targets = [{"abm": torch.full((64, 64), 0.9)}, {"abm": torch.full((64, 64), 0.25)}]
    both = [positives(torch.zeros(0, 4), []), positives(WHOLE_PIXELS, [0])]
    alone = part.loss(features(), [both[1]], [targets[1]])
    assert part.loss(two, both, targets).item() == pytest.approx(alone.item(), rel=1e-6)


def test_each_proposal_is_given_the_map_of_its_class() -> None:
    part = branch(MaskLoss(), classes=2)
    last = part.layers[1].mask_fcn_logits
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, math.log(3)]))
    boxes = WHOLE_PIXELS.repeat(3, 1)
    logits = part(features(), [boxes], [torch.tensor([2, 1, 2])])
    assert logits.mean(dim=(1, 2)).tolist() == pytest.approx([math.log(3), 0, math.log(3)])
    (maps,) = part.predict(features(), [boxes], [torch.tensor([2, 1, 2])])
    assert maps.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.75, 0.5, 0.75])


def test_maps_go_back_to_the_image_whose_boxes_they_are_of() -> None:
    part = branch(MaskLoss())
    two = {"0": torch.cat([features()["0"], torch.zeros(1, 4, 8, 8)])}
    counts = [2, 1]
    boxes = [WHOLE_PIXELS.repeat(count, 1) for count in counts]
    labels = [torch.ones(count, dtype=torch.int64) for count in counts]
    maps = part.predict(two, boxes, labels)
    assert [len(m) for m in maps] == counts
    assert torch.equal(maps[0][0], maps[0][1])
    assert not torch.equal(maps[0][0], maps[1][0])
