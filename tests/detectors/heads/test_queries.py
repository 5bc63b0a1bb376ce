"""Deformable DETR's head: what queries say, what they learn, and what becomes of them."""

from functools import partial

import pytest
import torch

from napari_uld.detectors.heads.deformable import DeformableAttention
from napari_uld.detectors.heads.queries import NOTHING, QueryHead, QueryOutput, draw_queries
from napari_uld.detectors.losses.queries import QueryLoss, Weights
from napari_uld.detectors.parts import PEAKS, GridSize

STRIDES = (4, 8)


def head(**changes: object) -> QueryHead:
    torch.manual_seed(0)
    settings = {"score_threshold": 0.1, "detections": 10} | changes
    return QueryHead(
        8,
        strides=STRIDES,
        queries=6,
        layers=(2, 3),
        attention=partial(DeformableAttention, 8, heads=2, levels=2, points=2),
        hidden=16,
        dropout=0.0,
        loss=QueryLoss(Weights(2, 5, 2), alpha=0.25, gamma=2.0),
        **settings,  # type: ignore[arg-type]
    )


def output(scores: list[float], boxes: list[list[float]]) -> QueryOutput:
    """What queries of one image say, in one layer, of an image padded to 32 x 64."""
    logits, told = torch.tensor([scores]).logit(), torch.tensor([boxes])
    return QueryOutput([], [logits], [told], torch.full((1, len(scores), 2), 0.25), (32, 64))


def test_after_every_decoder_layer_each_query_says_how_sure_it_is_and_where() -> None:
    raw = head()([torch.randn(2, 8, 8, 16), torch.randn(2, 8, 4, 8)])
    assert [tuple(said.shape) for said in raw.logits] == [(2, 6)] * 3
    assert [tuple(said.shape) for said in raw.boxes] == [(2, 6, 4)] * 3
    assert [tuple(level.shape) for level in raw.maps] == [(2, 1, 8, 16), (2, 1, 4, 8)]
    assert raw.size == (32, 64)


def test_at_first_a_box_lies_about_its_querys_reference_point() -> None:
    raw = head()([torch.randn(1, 8, 8, 16), torch.randn(1, 8, 4, 8)])
    assert torch.allclose(raw.boxes[-1][..., :2], raw.reference, atol=0.01)
    assert raw.boxes[-1][..., 2:].flatten().tolist() == pytest.approx([0.119] * 12, abs=0.01)


def test_positions_are_told_in_single_precision_where_features_are_not() -> None:
    part = head().eval()
    with torch.autocast("cpu", torch.bfloat16):
        raw = part([torch.randn(1, 8, 8, 16), torch.randn(1, 8, 4, 8)])
    for said in (raw.reference, raw.boxes[-1]):
        assert said.dtype == torch.float32
        assert not torch.equal(said, said.bfloat16().float())


def test_what_it_costs_can_be_counted_on_the_device_without_values() -> None:
    levels = [torch.zeros(1, 8, 8, 16, device="meta"), torch.zeros(1, 8, 4, 8, device="meta")]
    assert head().to("meta")(levels).boxes[-1].shape == (1, 6, 4)


def test_what_is_asked_depends_on_the_image() -> None:
    part = head().eval()
    first, second = (part([torch.randn(1, 8, 8, 16), torch.randn(1, 8, 4, 8)]) for _ in range(2))
    assert not torch.equal(first.logits[-1], second.logits[-1])
    assert torch.equal(first.reference, second.reference)


def test_the_surest_queries_become_boxes_in_the_images_pixels_with_the_places_they_looked_about() -> None:
    raw = output([0.3, 0.05, 0.8], [[0.5, 0.5, 0.25, 0.5], [0.1, 0.1, 0.1, 0.1], [0.875, 0.25, 0.25, 0.25]])
    (found,) = head().detect(raw, [(32, 60)])
    # Of 64 x 32 px; the surest one ends where the image does.
    assert found["boxes"].tolist() == [[48, 4, 60, 12], [24, 8, 40, 24]]
    assert found["scores"].tolist() == pytest.approx([0.8, 0.3])
    assert found["labels"].tolist() == [1, 1]
    assert found[PEAKS].tolist() == [[16, 8], [16, 8]]
    (one,) = head(detections=1).detect(raw, [(32, 60)])
    assert one["scores"].tolist() == pytest.approx([0.8])


def test_a_query_whose_box_lies_in_the_padding_finds_nothing() -> None:
    # The image is 60 px wide, its padding reaches to 64: beyond it, across its edge, and as thin as a line.
    raw = output([0.9, 0.8, 0.7], [[0.98, 0.5, 0.03, 0.5], [0.95, 0.5, 0.1, 0.5], [0.5, 0.5, 0.0, 0.5]])
    # It takes no other's place, either.
    (found,) = head(detections=1).detect(raw, [(32, 60)])
    assert found["scores"].tolist() == pytest.approx([0.8])
    assert found["boxes"][0].tolist() == pytest.approx([57.6, 8, 60, 24], abs=1e-4)


def test_the_map_shows_the_surest_query_about_whose_middle_a_cell_lies() -> None:
    boxes = torch.tensor([[[0.1, 0.9, 0.2, 0.2], [0.2, 0.8, 0.5, 0.5], [1.0, 0.0, 0.1, 0.1]]])
    drawn = draw_queries(torch.tensor([[1.0, 2.0, -3.0]]), boxes, (2, 4))
    assert drawn[0, 0].tolist() == [[NOTHING, NOTHING, NOTHING, -3], [2, NOTHING, NOTHING, NOTHING]]


def test_losses_are_summed_over_the_layers_and_one_query_is_taught_each_lesion() -> None:
    part = head()
    target = {"boxes": torch.tensor([[24.0, 8, 40, 24]])}
    raw = output([0.5, 0.5], [[0.5, 0.5, 0.25, 0.5], [0.1, 0.1, 0.1, 0.1]])
    once = part.losses(raw, [target])
    assert set(once) == {"classification", "boxes", "overlap"}
    assert (once["boxes"].item(), once["overlap"].item()) == pytest.approx((0, 0), abs=1e-5)
    twice = part.losses(raw._replace(logits=raw.logits * 2, boxes=raw.boxes * 2), [target])
    assert twice["classification"].item() == pytest.approx(2 * once["classification"].item())
    assert part.diagnostics() == {"queries": [1.0]}
    taught = part.taught(target, (32, 64))["queries"]
    assert (taught.boxes.tolist(), taught.lesions.tolist()) == ([[24, 8, 40, 24]], [0])
    assert part.grid_size((32, 64)) == GridSize(6, 1)
