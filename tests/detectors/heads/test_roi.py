"""The second stage: what its head sees, its losses, what it keeps."""

import math

import pytest
import torch
from torch import Tensor, nn

from napari_uld.detectors.encoders.position_sensitive import POSITION_SENSITIVE
from napari_uld.detectors.heads.roi import BoxHead, RoiStage
from napari_uld.detectors.heads.roi_pools import PositionSensitiveRoiPool
from napari_uld.detectors.parts import Fused

SIZE = (32, 32)


class Recorder(nn.Module):
    """A box head that remembers what was pooled and gives the same logits for every region."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = torch.tensor(logits)
        self.pooled = torch.zeros(0)

    def forward(self, pooled: Tensor) -> tuple[Tensor, Tensor]:
        self.pooled = pooled
        return self.logits.repeat(len(pooled), 1), torch.zeros(len(pooled), 4 * len(self.logits))


def stage(head: nn.Module, pool: nn.Module, **changes: float | tuple[float, ...]) -> RoiStage:
    settings = {"iou": 0.5, "samples": 8, "positive": 0.25, "box_weight": 10.0} | changes
    kept = {"score_threshold": 0.05, "nms": 0.3, "detections": 10}
    return RoiStage(pool=pool, head=head, branch=None, **(kept | settings))  # type: ignore[arg-type]


def test_the_images_of_a_slab_are_joined_as_channels_in_their_order() -> None:
    # Image i of slab s holds 10 s + i, and the region 2 of slab 1 comes last.
    context = [
        {POSITION_SENSITIVE: torch.tensor([0.0 + image, 10.0 + image]).reshape(2, 1, 1, 1).repeat(1, 8, 8, 8)}
        for image in range(3)
    ]
    boxes = [torch.tensor([[4.0, 4, 20, 20]]), torch.tensor([[4.0, 4, 20, 20], [0.0, 0, 32, 32]])]
    head = Recorder([0.0, 0.0])
    logits, deltas = stage(head, PositionSensitiveRoiPool(2, 4)).classify(Fused({}, context), boxes)
    assert head.pooled.shape == (3, 3 * 2, 2, 2)
    means = head.pooled.mean(dim=(2, 3)).tolist()
    assert means == [[0, 0, 1, 1, 2, 2], [10, 10, 11, 11, 12, 12], [10, 10, 11, 11, 12, 12]]
    assert (len(logits), len(deltas)) == (3, 3)


def test_the_losses_are_cross_entropy_over_all_and_smooth_l1_of_a_positives_own_class() -> None:
    logits = torch.tensor([[math.log(3.0), 0.0, 0.0], [0.0, 0.0, math.log(2.0)]])
    # Of the second region, class 2 alone counts: two deltas off by .5 (quadratic) and one by 3 (linear).
    deltas = torch.full((2, 12), 99.0)
    deltas[1, 8:] = torch.tensor([0.5, 0.5, 3.0, 0.0])
    labels = [torch.tensor([0]), torch.tensor([2])]
    losses = stage(Recorder([0.0] * 3), nn.Identity()).box_losses(
        logits, deltas, labels, [torch.zeros(1, 4), torch.zeros(1, 4)]
    )
    assert losses["classification"].item() == pytest.approx(-(math.log(3 / 5) + math.log(2 / 4)) / 2, rel=1e-5)
    assert losses["boxes"].item() == pytest.approx(10 * (0.125 + 0.125 + 2.5) / 2, rel=1e-5)


def test_deltas_are_counted_in_their_standard_deviations_there_and_back() -> None:
    counted = stage(Recorder([0.0, 0.0]), nn.Identity(), box_stds=(0.1, 0.1, 0.2, 0.2)).box_coder
    # A lesion half a proposal's width to the right of it, twice as high: .5 and log 2 in tenths and fifths.
    proposal, lesion = torch.tensor([[0.0, 10, 20, 20]]), torch.tensor([[10.0, 5, 30, 25]])
    (deltas,) = counted.encode([lesion], [proposal])
    assert deltas[0].tolist() == pytest.approx([5.0, 0.0, 0.0, math.log(2) / 0.2], abs=1e-5)
    assert torch.allclose(counted.decode(deltas, [proposal])[0], lesion, atol=1e-4)


def test_without_a_positive_region_boxes_cost_nothing() -> None:
    model = stage(Recorder([0.0, 0.0]), nn.Identity())
    losses = model.box_losses(
        torch.zeros(2, 2), torch.ones(2, 8), [torch.zeros(2, dtype=torch.int64)], [torch.zeros(2, 4)]
    )
    assert losses["boxes"].item() == 0


def test_an_image_without_a_detection_has_no_best_one() -> None:
    assert stage(Recorder([0.0]), nn.Identity()).best_of_each_class(torch.zeros(0, dtype=torch.int64)).tolist() == []


def test_detections_above_the_threshold_survive_within_their_class_and_no_score_is_of_the_background() -> None:
    head = Recorder([0.0, math.log(2.0), math.log(5.0)])
    boxes = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 10, 9], [20.0, 20, 30, 30]])
    fused = Fused({}, [{POSITION_SENSITIVE: torch.zeros(1, 4, 8, 8)}])
    (found,), losses = stage(head, PositionSensitiveRoiPool(2, 4)).eval()(fused, [boxes], [SIZE])
    assert losses == {}
    assert set(found) == {"boxes", "scores", "labels"}
    # The second box overlaps the first by .9; each class keeps two.
    assert found["labels"].tolist() == [2, 2, 1, 1]
    assert found["scores"].tolist() == pytest.approx([5 / 8, 5 / 8, 2 / 8, 2 / 8])
    assert sorted(found["boxes"][:2, 0].tolist()) == [0, 20]


def test_each_class_keeps_its_best_however_sure_the_other_is() -> None:
    head = Recorder([0.0, math.log(2.0), math.log(5.0)])
    boxes = torch.tensor([[0.0, 0, 10, 10], [20.0, 20, 30, 30], [0.0, 20, 10, 30]])
    fused = Fused({}, [{POSITION_SENSITIVE: torch.zeros(1, 4, 8, 8)}])
    (found,), _ = stage(head, PositionSensitiveRoiPool(2, 4), detections=2).eval()(fused, [boxes], [SIZE])
    assert found["labels"].tolist() == [2, 2, 1, 1]


def test_the_head_refines_the_box_once_for_each_class() -> None:
    head = BoxHead(2 * 7 * 7, layers=2, channels=5, classes=3, dropout=0.5)
    logits, deltas = head(torch.randn(4, 2, 7, 7))
    assert (logits.shape, deltas.shape) == ((4, 3), (4, 12))
    assert [layer.out_features for layer in head.layers if isinstance(layer, nn.Linear)] == [5, 5]
    assert [layer.p for layer in head.layers if isinstance(layer, nn.Dropout)] == [0.5, 0.5]


LESION, OTHER, ELSEWHERE = [0.0, 0, 10, 10], [20.0, 20, 30, 30], [0.0, 20, 10, 30]


def sampled(target: dict[str, Tensor], proposals: list[list[float]], **changes: float) -> dict[tuple[float, ...], int]:
    """The class of each proposal that was sampled."""
    torch.manual_seed(0)
    known = {"boxes": torch.tensor([LESION]), "labels": torch.tensor([1])} | target
    roi = stage(Recorder([0.0, 0.0]), nn.Identity(), **changes)
    (boxes,), (matched,), (classes,), (wanted,) = roi.select_training_samples([torch.tensor(proposals)], [known])
    assert len(boxes) == len(matched) == len(classes) == len(wanted)
    return {tuple(box): int(of) for box, of in zip(boxes.tolist(), classes, strict=True)}


def test_proposals_on_an_ignored_box_are_sampled_neither_way() -> None:
    shifted = [20.0, 20, 30, 28]
    plain = sampled({}, [LESION, shifted, ELSEWHERE])
    assert plain == {tuple(LESION): 1, tuple(shifted): 0, tuple(ELSEWHERE): 0}
    ignored = sampled({"ignored": torch.tensor([OTHER])}, [LESION, shifted, ELSEWHERE])
    assert ignored == {tuple(LESION): 1, tuple(ELSEWHERE): 0}
    lesions_own = sampled({"ignored": torch.tensor([LESION])}, [LESION, ELSEWHERE])
    assert lesions_own == {tuple(LESION): 1, tuple(ELSEWHERE): 0}, "a lesion stays one"


def test_hard_negatives_are_among_the_proposals_and_come_first_as_background() -> None:
    background = [[0.0, 20 + n / 10, 10, 30] for n in range(40)]
    found = sampled({"negatives": torch.tensor([OTHER])}, background, samples=2, positive=0.5)
    assert found[tuple(OTHER)] == 0
    assert found[tuple(LESION)] == 1
    both = sampled({"negatives": torch.tensor([OTHER]), "ignored": torch.tensor([ELSEWHERE])}, background)
    assert both == {tuple(LESION): 1, tuple(OTHER): 0}


def test_an_image_without_lesions_is_background_alone() -> None:
    empty = {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64)}
    found = sampled(empty | {"negatives": torch.tensor([OTHER])}, [ELSEWHERE])
    assert found == {tuple(OTHER): 0, tuple(ELSEWHERE): 0}
