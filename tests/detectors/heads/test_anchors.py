"""RetinaNet's head: how its output becomes losses and boxes."""

import math

import pytest
import torch
from torch import Tensor
from torchvision.models.detection._utils import BoxCoder

from napari_uld.detectors.anchors import CentredAnchorGenerator
from napari_uld.detectors.build import RETINANET_WEIGHTS
from napari_uld.detectors.heads.anchors import AnchorHead, AnchorOutput
from napari_uld.detectors.heads.prior import PRIOR
from napari_uld.detectors.losses.focal import AnchorLoss
from napari_uld.detectors.losses.iou import IouAssigner

SIZE = (16, 16)


def head(**changes: object) -> AnchorHead:
    """Anchors of 8 px on 4 x 4 cells, and of 16 px on 2 x 2."""
    torch.manual_seed(0)
    settings = {"candidates": 100, "score_threshold": 0.05, "nms": 0.5, "detections": 100} | changes
    assigner = IouAssigner(positive=0.5, negative=0.4, forced=False)
    return AnchorHead(
        4,
        channels=8,
        layers=2,
        anchor_generator=CentredAnchorGenerator(((8.0,), (16.0,)), ((1.0,),) * 2, rounded=False),
        strides=(4, 8),
        loss=AnchorLoss(assigner, BoxCoder(RETINANET_WEIGHTS), alpha=0.25, gamma=2.0),
        **settings,  # type: ignore[arg-type]
    )


def output(probabilities: dict[tuple[int, int, int], float], images: int = 1) -> AnchorOutput:
    """So sure of the anchors on cells (level, row, column) of every image, which nothing moves."""
    logits = [torch.full((images, 1, 4, 4), -20.0), torch.full((images, 1, 2, 2), -20.0)]
    for (level, row, column), p in probabilities.items():
        logits[level][:, 0, row, column] = math.log(p / (1 - p))
    return AnchorOutput(logits, [torch.zeros(images, 4, *level.shape[-2:]) for level in logits])


def test_it_classifies_and_regresses_every_anchor_of_every_level_and_expects_little() -> None:
    levels = [torch.randn(2, 4, 4, 4), torch.randn(2, 4, 2, 2)]
    raw = head()(levels)
    assert [tuple(level.shape) for level in raw.logits] == [(2, 1, 4, 4), (2, 1, 2, 2)]
    assert [tuple(level.shape) for level in raw.deltas] == [(2, 4, 4, 4), (2, 4, 2, 2)]
    said = torch.cat([level.sigmoid().flatten() for level in raw.logits])
    assert said.mean().item() == pytest.approx(PRIOR, rel=0.3)


def test_an_anchor_is_decoded_where_it_stands_and_cut_off_at_the_border() -> None:
    (found,) = head().detect(output({(0, 0, 0): 0.9, (1, 1, 1): 0.8}), [SIZE])
    # 8 px about (2, 2), and 16 px about (12, 12).
    assert found["boxes"].tolist() == [[0, 0, 6, 6], [4, 4, 16, 16]]
    assert found["scores"].tolist() == pytest.approx([0.9, 0.8])
    assert found["labels"].tolist() == [1, 1]


def test_the_least_score_the_candidates_and_the_detections_limit_what_is_kept() -> None:
    raw = output({(0, 0, 0): 0.9, (0, 0, 3): 0.7, (0, 3, 0): 0.3})
    counts = [
        len(head(**limit).detect(raw, [SIZE])[0]["scores"])
        for limit in ({}, {"score_threshold": 0.5}, {"candidates": 1}, {"detections": 2})
    ]
    assert counts == [3, 2, 1, 2]


def test_a_box_is_suppressed_by_a_surer_one_that_it_overlaps_by_more() -> None:
    # Neighbours of 8 px, 4 px apart, share half of each: an IoU of a third.
    raw = output({(0, 1, 1): 0.6, (0, 1, 2): 0.9})
    assert len(head().detect(raw, [SIZE])[0]["scores"]) == 2
    (found,) = head(nms=0.3).detect(raw, [SIZE])
    assert found["scores"].tolist() == pytest.approx([0.9])


def test_scores_are_calibrated_before_anything_is_suppressed_or_ranked_by_them() -> None:
    seen: list[int] = []

    def reverse(number: int, boxes: Tensor, scores: Tensor) -> Tensor:
        seen.append(number)
        return 1 - scores

    first, second = head(nms=0.3).detect(output({(0, 1, 1): 0.6, (0, 1, 2): 0.9}, images=2), [SIZE, SIZE], reverse)
    assert seen == [0, 1]
    assert first["scores"].tolist() == pytest.approx([0.4])
    assert first["boxes"].tolist() == second["boxes"].tolist() == [[2, 2, 10, 10]]


def test_its_losses_are_the_anchor_losses_and_it_counts_positives_an_image_by_level() -> None:
    part = head()
    raw = output({(0, 0, 0): 0.9}, images=2)
    targets = [{"boxes": torch.tensor([[0.0, 0, 6, 6]])}, {"boxes": torch.zeros(0, 4)}]
    losses = part.losses(raw, targets)
    assert set(losses) == {"classification", "boxes"}
    # The anchor on cell (0, 0) is [-2, -2, 6, 6]: 36 of 64 px; none else overlaps by half.
    assert part.diagnostics() == {"anchors": [0.5, 0.0]}


def test_it_tells_what_it_teaches_and_how_finely_it_looks() -> None:
    part = head()
    taught = part.taught({"boxes": torch.tensor([[40.0, 40, 44, 44], [4.0, 4, 20, 20]])}, SIZE)
    assert set(taught) == {"iou"}
    # The second lesion is the anchor on the coarser level's last cell; the first one lies beyond all anchors.
    assert taught["iou"].boxes.tolist() == [[4, 4, 20, 20]]
    assert taught["iou"].labels.tolist() == [1]
    assert taught["iou"].lesions.tolist() == [1]
    assert taught["iou"].levels.tolist() == [1]
    assert part.grid_size(SIZE) == (16 + 4, 1)
