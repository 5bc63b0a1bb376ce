"""FCOS's head: what its cells say, and what becomes of that."""

import math

import pytest
import torch

from napari_uld.detectors.heads.points import PointHead, PointOutput, cell_boxes
from napari_uld.detectors.heads.prior import PRIOR
from napari_uld.detectors.losses.points import PointAssigner, PointLoss

SIZE = (16, 16)
STRIDES = (4, 8)


def head(**changes: object) -> PointHead:
    """On 4 x 4 and 2 x 2 cells; the finer level is for what reaches up to 6 px."""
    torch.manual_seed(0)
    settings = {"candidates": 100, "score_threshold": 0.05, "nms": 0.6, "detections": 100} | changes
    return PointHead(
        4,
        channels=8,
        layers=2,
        loss=PointLoss(PointAssigner((6.0,)), alpha=0.25, gamma=2.0),
        anchor_generator=cell_boxes(STRIDES),
        strides=STRIDES,
        **settings,  # type: ignore[typeddict-item]
    )


def output(said: dict[tuple[int, int, int], tuple[float, float]], distances: tuple[float, ...]) -> PointOutput:
    """So sure, and so central, are cells (level, row, column), all of them that far from their lesions' sides."""
    logits = [torch.full((1, 1, 4, 4), -20.0), torch.full((1, 1, 2, 2), -20.0)]
    central = [torch.zeros_like(level) for level in logits]
    for (level, row, column), (p, c) in said.items():
        logits[level][:, 0, row, column] = math.log(p / (1 - p))
        central[level][:, 0, row, column] = math.log(c / (1 - c))
    told = torch.tensor(distances).view(1, 4, 1, 1)
    return PointOutput(logits, [told.expand(1, 4, *level.shape[-2:]) for level in logits], central)


def test_it_begins_with_little_hope_and_boxes_two_cells_wide_on_every_level() -> None:
    raw = head()([torch.randn(2, 4, 4, 4), torch.randn(2, 4, 2, 2)])
    assert [tuple(level.shape) for level in raw.logits] == [(2, 1, 4, 4), (2, 1, 2, 2)]
    assert [tuple(level.shape) for level in raw.distances] == [(2, 4, 4, 4), (2, 4, 2, 2)]
    assert torch.cat([level.sigmoid().flatten() for level in raw.logits]).mean().item() == pytest.approx(PRIOR, rel=0.3)
    assert [level.mean().item() for level in raw.distances] == pytest.approx([4, 8], rel=0.1)


def test_a_box_lies_about_its_cells_centre_and_is_cut_off_at_the_border() -> None:
    (found,) = head().detect(output({(0, 0, 0): (0.9, 0.5), (1, 1, 1): (0.8, 0.45)}, (1.0, 3.0, 2.0, 6.0)), [SIZE])
    # About (2, 2) and (12, 12).
    assert found["boxes"].tolist() == [[1, 0, 4, 8], [11, 9, 14, 16]]
    assert found["scores"].tolist() == pytest.approx([math.sqrt(0.45), 0.6])
    assert found["labels"].tolist() == [1, 1]


def test_of_two_that_overlap_the_more_central_one_is_kept() -> None:
    raw = output({(0, 1, 1): (0.9, 0.2), (0, 1, 2): (0.7, 0.9)}, (20.0, 20.0, 20.0, 20.0))
    (found,) = head().detect(raw, [SIZE])
    assert found["scores"].tolist() == pytest.approx([math.sqrt(0.63)])


def test_it_tells_which_cells_are_positive_and_counts_them_by_level() -> None:
    part = head()
    target = {"boxes": torch.tensor([[0.0, 0, 4, 4], [0.0, 0, 16, 16]])}
    taught = part.taught(target, SIZE)
    assert set(taught) == {"points"}
    assert taught["points"].boxes[0].tolist() == [0, 0, 4, 4]
    # The large lesion is told by all cells of the coarser level.
    assert taught["points"].lesions.tolist() == [0, 1, 1, 1, 1]
    assert taught["points"].levels.tolist() == [0, 1, 1, 1, 1]
    losses = part.losses(output({}, (2.0, 2.0, 2.0, 2.0)), [target])
    assert set(losses) == {"classification", "boxes", "centredness"}
    assert part.diagnostics() == {"cells": [1.0, 4.0]}
    assert part.grid_size(SIZE) == (16 + 4, 1)
