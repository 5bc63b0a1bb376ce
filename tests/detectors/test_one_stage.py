"""One-stage detectors as a whole: when scores are calibrated, and their contract, on a RetinaNet."""

import math

import pytest
import torch
from torch import Tensor

from napari_uld.detectors.build import build_retinanet
from napari_uld.detectors.one_stage import OneStageDetector
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


def tiny(supervision: RetinaNetSupervision = DENSE, **changes: object) -> OneStageDetector:
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


class FixedScores(torch.nn.Module):
    """Says fixed probabilities of the first and the fifth cell's anchors of the finest level."""

    def __init__(self, first: float, second: float) -> None:
        super().__init__()
        self.probabilities = (first, second)

    def forward(self, level: Tensor) -> Tensor:
        logits = torch.full((len(level), 1, *level.shape[-2:]), -20.0)
        if level.shape[-1] == 16:
            for column, p in enumerate(self.probabilities):
                logits[:, 0, 0, 4 * column] = math.log(p / (1 - p))
        return logits


class NoMove(torch.nn.Module):
    """Leaves every anchor where it is."""

    def forward(self, level: Tensor) -> Tensor:
        return torch.zeros(len(level), 4, *level.shape[-2:])


def says(model: OneStageDetector, first: float, second: float) -> None:
    model.head.classification, model.head.regression = FixedScores(first, second), NoMove()  # type: ignore[attr-defined]


class FixedPath(torch.nn.Module):
    """Draws one rectangle of pixels."""

    def forward(self, images: Tensor, c1: Tensor, p2: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        logits = torch.full((len(images), *images.shape[-2:]), -20.0)
        logits[:, 0:6, 14:22] = 20.0
        return logits, {}


def test_scores_are_calibrated_before_suppression_and_ranked_by_what_comes_out() -> None:
    model = tiny(anchor_scales=(1.0,), anchor_ratios=(1.0,), component_margin=0.0, score_threshold=0.05).eval()
    model.segmentation = FixedPath()  # type: ignore[assignment]
    says(model, 0.6, 0.5)
    with torch.inference_mode():
        (found,) = model([torch.zeros(3, 64, 64)])
    # P2's cells are 4 px wide: anchors of 8 px about (2, 2) and (18, 2), cut off above at the border.
    assert found["boxes"].tolist() == [[14.0, 0, 22, 6], [0.0, 0, 6, 6]]
    assert found["scores"].tolist() == pytest.approx([0.5 * (1 + 1) / 2, 0.6 / 2], rel=1e-5)


def test_below_the_threshold_p_alone_counts() -> None:
    model = tiny(anchor_scales=(1.0,), anchor_ratios=(1.0,), component_margin=0.0, score_threshold=0.55).eval()
    model.segmentation = FixedPath()  # type: ignore[assignment]
    says(model, 0.6, 0.5)
    with torch.inference_mode():
        (found,) = model([torch.zeros(3, 64, 64)])
    assert found["scores"].tolist() == pytest.approx([0.3], rel=1e-5)


def test_without_a_path_the_score_is_the_probability_and_there_is_no_map_of_lesions() -> None:
    model = tiny(RetinaNetSupervision(family="retinanet"), anchor_scales=(1.0,), anchor_ratios=(1.0,)).eval()
    says(model, 0.6, 0.5)
    with torch.inference_mode():
        (found,) = model([torch.zeros(3, 64, 64)])
    assert found["scores"][:2].tolist() == pytest.approx([0.6, 0.5], rel=1e-5)
    assert "segmentation" not in found


def test_images_of_different_sizes_keep_the_contract() -> None:
    images, targets = batch()
    model = tiny()
    losses = model.train()(images, targets)
    assert set(losses) == {"classification", "boxes", "segmentation"}
    assert {name: len(levels) for name, levels in model.diagnostics().items()} == {"anchors": 5}
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


def test_an_ignored_boxs_pixels_teach_the_segmentation_nothing_unless_a_lesion_covers_them() -> None:
    images, targets = batch()
    targets[0]["ignored"] = torch.tensor([[20.0, 20, 30, 30]])
    detector = tiny(attention_gates=False).train()
    assert detector.segmentation is not None
    seen: list[Tensor | None] = []
    loss = detector.segmentation.loss
    detector.segmentation.loss = lambda *of: seen.append(of[2]) or loss(*of)  # type: ignore[assignment, func-returns-value]
    detector(images, targets)
    (left_out,) = seen
    assert left_out is not None
    # 10 x 10 pixels, of which the mask covers rows 20-24 and columns 20-23.
    assert (int(left_out[0].sum()), int(left_out[1].sum())) == (100 - 5 * 4, 0)
    del targets[0]["ignored"]
    detector(images, targets)
    assert seen[1] is None
