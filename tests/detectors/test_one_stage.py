"""RetinaNet: what its anchors learn, how its scores are calibrated, and its contract."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.anchors import Grid
from napari_uld.detectors.build import build_retinanet
from napari_uld.detectors.one_stage import AnchorLesson, RetinaNet, best_overlap, component_boxes
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.one_stage import RetinaNetSpec, RetinaNetSupervision

TINY = RetinaNetSpec(
    family="retinanet",
    pretrained="none",
    norm="batch",
    convolutions=(1, 1, 1, 1, 1),
    width=0.125,
    pyramid_channels=8,
    finest_level=2,
    anchor_sizes=(8, 16, 32, 64, 128),
    head_layers=1,
    head_channels=8,
    segmentation_channels=4,
    score_threshold=0.0,
    attention_gates=True,
)
DENSE = RetinaNetSupervision(family="retinanet", segmentation="grabcut")
LESSON = AnchorLesson(positive=0.5, negative=0.4, alpha=0.25, gamma=2.0)


def tiny(supervision: RetinaNetSupervision = DENSE, **changes: object) -> RetinaNet:
    torch.manual_seed(0)
    return build_retinanet(TINY.model_copy(update=changes), supervision, InputSpec(long_side=64))


def batch() -> tuple[list[Tensor], list[dict[str, Tensor]]]:
    """Two images of different sizes, one lesion on the first and none on the second."""
    mask = torch.zeros(1, 48, 64, dtype=torch.uint8)
    mask[0, 15:25, 12:24] = 1
    empty = torch.zeros(0, 64, 40, dtype=torch.uint8)
    targets = [
        {"boxes": torch.tensor([[10.0, 12, 26, 28]]), "labels": torch.ones(1, dtype=torch.int64), "masks": mask},
        {"boxes": torch.zeros(0, 4), "labels": torch.zeros(0, dtype=torch.int64), "masks": empty},
    ]
    return [torch.randn(3, 48, 64), torch.randn(3, 64, 40)], targets


def row_of(*widths: float) -> Grid:
    """Anchors one row high and so wide, in one place on one level: their IoU with a box is a ratio of widths."""
    anchors = torch.tensor([[0.0, 0.0, width, 10.0] for width in widths])
    return Grid(anchors, ((1, len(widths)),), 1, (1.0,))


def test_anchors_are_positive_from_one_iou_on_and_negative_below_another_and_none_is_forced() -> None:
    box = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    matched = LESSON.match(row_of(51, 50, 49, 41, 39, 5), box)
    assert matched.tolist() == [0, 0, -2, -2, -1, -1]
    assert LESSON.match(row_of(45, 30), box).tolist() == [-2, -1], "the best anchor below .5 teaches nothing"


def test_the_focal_loss_is_summed_over_taught_anchors_and_divided_by_the_positive_ones() -> None:
    grid = row_of(100, 80, 45, 10)
    target = {"boxes": torch.tensor([[0.0, 0.0, 100.0, 10.0]])}
    p = torch.tensor([0.9, 0.3, 0.6, 0.2])
    losses, per_level = LESSON.losses(grid, torch.logit(p)[None], torch.zeros(1, 4, 4), [target])
    # Two positive anchors, the third is doubtful, the fourth negative.
    by_hand = [-0.25 * 0.1**2 * math.log(0.9), -0.25 * 0.7**2 * math.log(0.3), -0.75 * 0.2**2 * math.log(0.8)]
    assert losses["classification"].item() == pytest.approx(sum(by_hand) / 2, rel=1e-5)
    assert per_level.tolist() == [[2]]


def test_boxes_are_learnt_in_units_of_a_fifth_by_smooth_l1_of_sigma_three() -> None:
    grid = row_of(100)
    # The box's centre lies 2 px to the right and it is 4 px wider: dx = .02, dw = log 1.04, both times five.
    target = {"boxes": torch.tensor([[0.0, 0.0, 104.0, 10.0]])}
    losses, _ = LESSON.losses(grid, torch.zeros(1, 1), torch.zeros(1, 1, 4), [target])
    dx, dw = 5 * 0.02, 5 * math.log(1.04)
    # Quadratic below 1/9: .5 * 9 d^2; beyond it |d| - .5 / 9.
    assert dx < 1 / 9 < dw
    assert losses["boxes"].item() == pytest.approx(4.5 * dx**2 + dw - 1 / 18, rel=1e-4)


def test_an_image_without_lesions_teaches_background_alone() -> None:
    losses, per_level = LESSON.losses(
        row_of(10, 20), torch.zeros(1, 2), torch.zeros(1, 2, 4), [{"boxes": torch.zeros(0, 4)}]
    )
    assert losses["boxes"].item() == 0
    assert losses["classification"].item() == pytest.approx(2 * 0.75 * 0.25 * math.log(2), rel=1e-5)
    assert per_level.sum() == 0


def test_pixels_learn_by_focal_loss_divided_by_the_lesions_pixels() -> None:
    p = torch.tensor([[[0.8, 0.3], [0.1, 0.5]]])
    masks = torch.tensor([[[1.0, 1.0], [0.0, 0.0]]])
    by_hand = [
        -0.25 * 0.2**2 * math.log(0.8),
        -0.25 * 0.7**2 * math.log(0.3),
        -0.75 * 0.1**2 * math.log(0.9),
        -0.75 * 0.5**2 * math.log(0.5),
    ]
    assert LESSON.segmentation_loss(torch.logit(p), masks).item() == pytest.approx(sum(by_hand) / 2, rel=1e-4)


def test_components_have_the_boxes_of_their_pixels_wider_by_the_margin_within_the_image() -> None:
    mask = torch.zeros(20, 30)
    mask[5:9, 10:16] = 0.7
    mask[18:20, 0:2] = 0.5
    mask[12, 25] = 0.49
    boxes = component_boxes(mask, 2.0)
    assert sorted(boxes.tolist()) == [[0.0, 16.0, 4.0, 20.0], [8.0, 3.0, 18.0, 11.0]]
    assert component_boxes(torch.zeros(4, 4), 5.0).shape == (0, 4)


def test_a_box_is_compared_with_the_component_that_it_fits_best() -> None:
    components = torch.tensor([[0.0, 0, 10, 10], [0.0, 0, 4, 10]])
    assert best_overlap(torch.tensor([[0.0, 0, 5, 10], [20.0, 20, 30, 30]]), components).tolist() == pytest.approx(
        [0.8, 0]
    )
    assert best_overlap(torch.ones(2, 4), torch.zeros(0, 4)).tolist() == [0, 0]


class FixedHead(torch.nn.Module):
    """Says fixed probabilities of the first two cells' anchors of the finest level, and moves no box."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.probabilities = (first, second)

    def forward(self, levels: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        logits = [torch.full((len(x), 1, *x.shape[-2:]), -20.0) for x in levels]
        for column, p in enumerate(self.probabilities):
            logits[0][:, 0, 0, 4 * column] = math.log(p / (1 - p))
        return logits, [torch.zeros(len(x), 4, *x.shape[-2:]) for x in levels]


class FixedPath(torch.nn.Module):
    """Draws one rectangle of pixels."""

    def forward(self, images: Tensor, c1: Tensor, p2: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = torch.full((len(images), *images.shape[-2:]), -20.0)
        logits[:, 0:6, 14:22] = 20.0
        return logits, {}


def test_scores_are_calibrated_before_suppression_and_ranked_by_what_comes_out() -> None:
    model = tiny(anchor_scales=(1.0,), anchor_ratios=(1.0,), component_margin=0.0, score_threshold=0.05).eval()
    model.anchor_head, model.segmentation = FixedHead(0.6, 0.5), FixedPath()
    with torch.inference_mode():
        (found,) = model([torch.zeros(3, 64, 64)])
    # P2's cells are 4 px wide: anchors of 8 px about (2, 2) and (18, 2), cut off above at the border.
    assert found["boxes"].tolist() == [[14.0, 0, 22, 6], [0.0, 0, 6, 6]]
    assert found["scores"].tolist() == pytest.approx([0.5 * (1 + 1) / 2, 0.6 / 2], rel=1e-5)


def test_below_the_threshold_p_alone_counts() -> None:
    model = tiny(anchor_scales=(1.0,), anchor_ratios=(1.0,), component_margin=0.0, score_threshold=0.55).eval()
    model.anchor_head, model.segmentation = FixedHead(0.6, 0.5), FixedPath()
    with torch.inference_mode():
        (found,) = model([torch.zeros(3, 64, 64)])
    assert found["scores"].tolist() == pytest.approx([0.3], rel=1e-5)


def test_without_a_path_the_score_is_the_probability_and_there_is_no_map_of_lesions() -> None:
    model = tiny(RetinaNetSupervision(family="retinanet"), anchor_scales=(1.0,), anchor_ratios=(1.0,)).eval()
    model.anchor_head = FixedHead(0.6, 0.5)
    with torch.inference_mode():
        (found,) = model([torch.zeros(3, 64, 64)])
    assert found["scores"][:2].tolist() == pytest.approx([0.6, 0.5], rel=1e-5)
    assert "segmentation" not in found


def test_images_of_different_sizes_keep_the_contract() -> None:
    images, targets = batch()
    model = tiny()
    losses = model.train()(images, targets)
    assert set(losses) == {"classification", "boxes", "segmentation"}
    assert model.positives["anchors"].shape == (5,)
    with torch.inference_mode():
        found = model.eval()(images)
    for image, result in zip(images, found, strict=True):
        height, width = image.shape[-2:]
        assert (result["boxes"] >= 0).all()
        assert (result["boxes"][:, 2] <= width).all()
        assert (result["boxes"][:, 3] <= height).all()
        assert (result["scores"].diff() <= 0).all()
        assert set(result["labels"].tolist()) == {1}
        maps = {"segmentation", *(f"attention {name}" for name in ("C4", "C3", "C2", "C1", "input"))}
        assert set(result) - {"boxes", "scores", "labels"} == maps
        assert {tuple(result[name].shape) for name in maps} == {(height, width)}
        assert all(((result[name] >= 0) & (result[name] <= 1)).all() for name in maps)


def test_maps_are_left_out_where_nobody_asks() -> None:
    model = tiny().eval()
    model.predicts_maps = False
    with torch.inference_mode():
        (found,) = model([torch.randn(3, 64, 64)])
    assert set(found) == {"boxes", "scores", "labels"}


def test_an_image_gives_the_same_alone_and_in_a_batch_of_its_size() -> None:
    model = tiny().eval()
    first, second = torch.randn(3, 64, 64), torch.randn(3, 64, 64)
    with torch.inference_mode():
        (alone,) = model([first])
        together, _ = model([first, second])
    assert torch.allclose(alone["boxes"], together["boxes"], atol=1e-3)
    assert torch.allclose(alone["segmentation"], together["segmentation"], atol=1e-5)


@pytest.mark.parametrize(("finest", "strides"), [(2, (4, 8, 16, 32, 64)), (3, (8, 16, 32, 64, 128))])
def test_published_strides(finest: int, strides: tuple[int, ...]) -> None:
    model = tiny(RetinaNetSupervision(family="retinanet"), finest_level=finest)
    assert model.strides == strides
    assert model.size_divisible == 32
