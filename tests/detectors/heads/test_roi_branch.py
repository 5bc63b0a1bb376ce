"""What the segmentation branch learns and predicts."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.heads.roi import PyramidRoiAlign
from napari_uld.detectors.heads.roi_branch import OUTPUT, Lesson, MapLesson, MaskLesson, Positives, SegmentationBranch

SIZES = [(64, 64)]
# As many pixels as the branch has outputs: each output is one pixel.
WHOLE_PIXELS = torch.tensor([[8.0, 20.0, 36.0, 48.0]])


def positives(boxes: Tensor, matched: list[int], labels: list[int] | None = None) -> Positives:
    classes = [1] * len(matched) if labels is None else labels
    return Positives(boxes, *(torch.tensor(numbers, dtype=torch.int64) for numbers in (matched, classes)))


def branch(lesson: Lesson, classes: int = 1) -> SegmentationBranch:
    torch.manual_seed(0)
    pool = PyramidRoiAlign(14, (8,))
    return SegmentationBranch(4, 4, classes=classes, pool=pool, lesson=lesson)


def features() -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {"0": torch.randn(1, 4, 8, 8)}


def test_a_map_is_cropped_to_each_proposal() -> None:
    y, x = torch.meshgrid(torch.arange(64.0), torch.arange(64.0), indexing="ij")
    wanted = MapLesson("abm").wanted({"abm": 100 * y + x}, positives(WHOLE_PIXELS, [0]))
    assert wanted.shape == (1, OUTPUT, OUTPUT)
    assert torch.allclose(wanted[0], (100 * y + x)[20:48, 8:36])
    # Half as large a box: two outputs a pixel, a quarter of a pixel to either side of its centre.
    half = MapLesson("abm").wanted({"abm": x}, positives(torch.tensor([[8.0, 20.0, 22.0, 34.0]]), [0]))
    assert half[0, 0, :4].tolist() == pytest.approx([7.75, 8.25, 8.75, 9.25])


def test_a_map_shows_all_lesions_whatever_the_proposal_is_matched_with() -> None:
    bm = torch.zeros(64, 64)
    bm[:, 22:] = 0.5
    first, second = MapLesson("bm").wanted({"bm": bm}, positives(WHOLE_PIXELS.repeat(2, 1), [0, 1]))
    assert torch.equal(first, second)
    assert first[:, :14].max() == 0
    assert first[:, 14:].min() == 0.5


def test_of_two_lesions_side_by_side_each_proposal_learns_its_own_ones_mask() -> None:
    masks = torch.zeros(2, 64, 64, dtype=torch.uint8)
    masks[0, 20:48, 8:22] = 1
    masks[1, 20:48, 22:36] = 1
    wanted = MaskLesson().wanted({"masks": masks}, positives(WHOLE_PIXELS.repeat(3, 1), [1, 0, 1]))
    right = torch.zeros(OUTPUT, OUTPUT)
    right[:, 14:] = 1
    assert torch.equal(wanted, torch.stack([right, 1 - right, right]))


def test_equation_13_is_the_mean_squared_difference_of_the_sigmoid() -> None:
    logits = torch.tensor([[[0.0, math.log(3)]]])
    wanted = torch.tensor([[[0.25, 0.25]]])
    assert MapLesson("abm").loss(logits, wanted).item() == pytest.approx((0.25**2 + 0.5**2) / 2)


def test_a_masks_loss_is_the_mean_cross_entropy() -> None:
    logits = torch.tensor([[[0.0, math.log(3)]]])
    wanted = torch.tensor([[[0.0, 1.0]]])
    assert MaskLesson().loss(logits, wanted).item() == pytest.approx((math.log(2) - math.log(0.75)) / 2)


def test_the_loss_compares_what_is_predicted_with_what_is_wanted() -> None:
    part = branch(MapLesson("abm"))
    loss = part.loss(features(), [positives(WHOLE_PIXELS, [0])], SIZES, [{"abm": torch.full((64, 64), 0.25)}])
    (predicted,) = part.predict(features(), [WHOLE_PIXELS], [torch.tensor([1])], SIZES)
    assert predicted.shape == (1, 1, OUTPUT, OUTPUT)
    assert loss.item() == pytest.approx((predicted - 0.25).square().mean().item(), rel=1e-5)


def test_the_branch_costs_nothing_without_positive_proposals() -> None:
    part = branch(MapLesson("abm"))
    none = positives(torch.zeros(0, 4), [])
    assert part.loss(features(), [none], SIZES, [{"abm": torch.zeros(64, 64)}]).item() == 0


def test_an_image_without_positives_does_not_shift_the_others_maps() -> None:
    part = branch(MapLesson("abm"))
    two = {"0": torch.cat([torch.zeros(1, 4, 8, 8), features()["0"]])}
    targets = [{"abm": torch.full((64, 64), 0.9)}, {"abm": torch.full((64, 64), 0.25)}]
    both = [positives(torch.zeros(0, 4), []), positives(WHOLE_PIXELS, [0])]
    alone = part.loss(features(), [both[1]], SIZES, [targets[1]])
    assert part.loss(two, both, SIZES * 2, targets).item() == pytest.approx(alone.item(), rel=1e-6)


def test_each_proposal_is_given_the_map_of_its_class() -> None:
    part = branch(MaskLesson(), classes=2)
    last = part.layers[1].mask_fcn_logits
    with torch.no_grad():
        last.weight.zero_()
        last.bias.copy_(torch.tensor([0.0, math.log(3)]))
    boxes = WHOLE_PIXELS.repeat(3, 1)
    logits = part(features(), [boxes], [torch.tensor([2, 1, 2])], SIZES)
    assert logits.mean(dim=(1, 2)).tolist() == pytest.approx([math.log(3), 0, math.log(3)])
    (maps,) = part.predict(features(), [boxes], [torch.tensor([2, 1, 2])], SIZES)
    assert maps.mean(dim=(1, 2, 3)).tolist() == pytest.approx([0.75, 0.5, 0.75])


def test_maps_go_back_to_the_image_whose_boxes_they_are_of() -> None:
    part = branch(MaskLesson())
    two = {"0": torch.cat([features()["0"], torch.zeros(1, 4, 8, 8)])}
    counts = [2, 1]
    boxes = [WHOLE_PIXELS.repeat(count, 1) for count in counts]
    labels = [torch.ones(count, dtype=torch.int64) for count in counts]
    maps = part.predict(two, boxes, labels, SIZES * 2)
    assert [len(m) for m in maps] == counts
    assert torch.equal(maps[0][0], maps[0][1])
    assert not torch.equal(maps[0][0], maps[1][0])
