"""What the segmentation branch learns over each positive proposal."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.losses.branch import OUTPUT, DiceLoss, MapLoss, MaskLoss, Positives

# As many pixels as the branch has outputs: each output is one pixel.
WHOLE_PIXELS = torch.tensor([[8.0, 20.0, 36.0, 48.0]])


def positives(boxes: Tensor, matched: list[int], labels: list[int] | None = None) -> Positives:
    classes = [1] * len(matched) if labels is None else labels
    return Positives(boxes, *(torch.tensor(numbers, dtype=torch.int64) for numbers in (matched, classes)))


def test_a_map_is_cropped_to_each_proposal() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wanted = MapLoss("abm").wanted({"abm": 100 * y + x}, positives(WHOLE_PIXELS, [0]))
    assert wanted.shape == (1, OUTPUT, OUTPUT)
    assert torch.allclose(wanted[0], (100 * y + x)[20:48, 8:36])
    # Half as large a box: two outputs a pixel, a quarter of a pixel to either side of its centre.
    half = MapLoss("abm").wanted({"abm": x}, positives(torch.tensor([[8.0, 20.0, 22.0, 34.0]]), [0]))
    assert half[0, 0, :4].tolist() == pytest.approx([7.75, 8.25, 8.75, 9.25])


def test_a_map_shows_all_lesions_whatever_the_proposal_is_matched_with() -> None:
    bm = torch.zeros(64, 64)
    bm[:, 22:] = 0.5
    first, second = MapLoss("bm").wanted({"bm": bm}, positives(WHOLE_PIXELS.repeat(2, 1), [0, 1]))
    assert torch.equal(first, second)
    assert first[:, :14].max() == 0
    assert first[:, 14:].min() == 0.5


def test_of_two_lesions_side_by_side_each_proposal_learns_its_own_ones_mask() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 20:48, 8:22] = 1
    masks[1, 20:48, 22:36] = 1
    wanted = MaskLoss().wanted({"masks": masks}, positives(WHOLE_PIXELS.repeat(3, 1), [1, 0, 1]))
    right = torch.zeros(OUTPUT, OUTPUT)
    right[:, 14:] = 1
    assert torch.equal(wanted, torch.stack([right, 1 - right, right]))


def test_equation_13_is_the_mean_squared_difference_of_the_sigmoid() -> None:
    logits = torch.tensor([[[0.0, math.log(3)]]])
    wanted = torch.tensor([[[0.25, 0.25]]])
    assert MapLoss("abm")(logits, wanted).item() == pytest.approx((0.25**2 + 0.5**2) / 2)


def test_a_masks_loss_is_the_mean_cross_entropy() -> None:
    logits = torch.tensor([[[0.0, math.log(3)]]])
    wanted = torch.tensor([[[0.0, 1.0]]])
    assert MaskLoss()(logits, wanted).item() == pytest.approx((math.log(2) - math.log(0.75)) / 2)


@pytest.mark.parametrize("name", ["bm", "abm"])
def test_matched_gt_only_each_proposal_learns_its_own_lesions_map_and_not_its_neighbours(name: str) -> None:
    of_lesions = torch.zeros(2, 64, 64)
    of_lesions[0, 20:48, 8:22] = 0.6
    of_lesions[1, 20:48, 22:36] = 0.9
    # The sum of all is there too, and is not looked at.
    target = {f"lesion_{name}s": of_lesions, name: torch.ones(64, 64)}
    wanted = MapLoss(name, matched=True).wanted(target, positives(WHOLE_PIXELS.repeat(3, 1), [1, 0, 1]))
    left, right = torch.zeros(OUTPUT, OUTPUT), torch.zeros(OUTPUT, OUTPUT)
    left[:, :14], right[:, 14:] = 0.6, 0.9
    assert torch.allclose(wanted, torch.stack([right, left, right]))


def test_dices_loss_is_one_minus_each_proposals_overlap_and_none_without_a_mask_that_is_not_found() -> None:
    half = torch.zeros(2, 4, 4)
    certain = torch.full((2, 4, 4), -50.0)
    # Of the first mask of 8 pixels 4 are found and 4 beside it; the second is empty, and nothing is found of it.
    half[0, :2] = 1
    certain[0, 1:3] = 50
    assert DiceLoss()(certain, half).item() == pytest.approx((1 - (2 * 4 + 0.01) / (16 + 0.01)) / 2)
    assert DiceLoss()(torch.zeros(1, 1, 2), torch.tensor([[[0.0, 1.0]]])).item() == pytest.approx(1 - 1.01 / 2.01)
