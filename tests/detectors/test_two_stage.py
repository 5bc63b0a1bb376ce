"""Two-stage detectors as a whole: their contract, a slab's images one by one, and what each rule teaches."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from napari_uld.detectors.batch import pad_images, pad_maps
from napari_uld.detectors.build import build_two_stage
from napari_uld.detectors.parts import Fused, Target
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.two_stage import TwoStageSpec, TwoStageSupervision
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.masks.bounding_map import adaptive_bounding_map, bounding_map, lesion_maps

TINY = TwoStageSpec(
    pretrained="none",
    norm="batch",
    width=0.125,
    anchor_sizes=(8, 16),
    rpn_channels=16,
    rpn_min_size=2,
    proposals_before_nms=(200, 100),
    proposals_after_nms=(50, 30),
    head_channels=16,
    branch_channels=8,
)
BMC = TwoStageSupervision(objectness="bmc", regression="bmc", roi_branch="abm")


def tiny(supervision: TwoStageSupervision) -> TwoStageDetector:
    torch.manual_seed(0)
    return build_two_stage(TINY, supervision, InputSpec(long_side=64))


def batch() -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """Two images of different sizes, one lesion on the first and none on the second."""
    targets = []
    for (height, width), boxes in (((48, 64), [[10.0, 12, 26, 30]]), ((64, 40), [])):
        rows = np.asarray(boxes).reshape(-1, 4)
        targets.append(
            {
                "boxes": torch.tensor(rows, dtype=torch.float32),
                "labels": torch.ones(len(rows), dtype=torch.int64),
                "bm": torch.from_numpy(bounding_map(rows - 0.5, (height, width))),
                "lesion_bms": torch.from_numpy(lesion_maps(rows - 0.5, (height, width))),
                "abm": torch.from_numpy(adaptive_bounding_map(rows - 0.5, (height, width), pixel_area=1.0)),
            }
        )
    return [torch.randn(3, 48, 64), torch.randn(3, 64, 40)], targets


@pytest.mark.parametrize("supervision", [TwoStageSupervision(), BMC, TwoStageSupervision(objectness="bmc")])
def test_training_gives_the_losses_of_the_parts_there_are(supervision: TwoStageSupervision) -> None:
    losses = tiny(supervision).train()(*batch())
    expected = {"objectness", "proposal_boxes", "classification", "boxes"}
    assert set(losses) == expected | ({"branch"} if supervision.roi_branch != "none" else set())
    assert all(torch.isfinite(loss) for loss in losses.values())


def test_evaluation_gives_boxes_inside_each_image_and_maps_where_there_is_a_branch() -> None:
    model = tiny(BMC).eval()
    images, _ = batch()
    with torch.inference_mode():
        results = model(images)
    for image, result in zip(images, results, strict=True):
        assert {"boxes", "scores", "labels", "masks"} == set(result)
        assert result["boxes"].shape == (len(result["scores"]), 4)
        assert result["masks"].shape[1:] == (1, 28, 28)
        if len(result["boxes"]):
            assert result["boxes"].min() >= 0
            assert result["boxes"][:, 2].max() <= image.shape[2]
            assert result["boxes"][:, 3].max() <= image.shape[1]


def test_an_image_alone_and_in_a_padded_batch_get_the_same_detections() -> None:
    model = tiny(TwoStageSupervision()).eval()
    images, _ = batch()
    with torch.inference_mode():
        alone = model([images[0]])[0]
        together = model([images[0], torch.randn(3, 48, 64)])[0]
    assert torch.allclose(alone["boxes"], together["boxes"], atol=1e-3)


@pytest.mark.parametrize("fusion", ["key_image", "position_sensitive"])
def test_a_slab_of_nine_slices_is_its_three_images_one_by_one(fusion: str) -> None:
    torch.manual_seed(0)
    spec = TINY.model_copy(update={"fusion": fusion})
    model = build_two_stage(spec, TwoStageSupervision(roi_branch="bm"), InputSpec(slices=9)).eval()
    slabs = [torch.randn(9, 48, 64), torch.randn(9, 64, 40)]
    with torch.inference_mode():
        whole = model(slabs)
        batch, thickness = pad_images(slabs, 32), torch.ones(2)
        images = [model.per_image(batch.tensors[:, 3 * k : 3 * k + 3]) for k in range(3)]
        one_by_one = model.from_features(images, batch, thickness)
        swapped = model.from_features([images[2], images[1], images[0]], batch, thickness)
    for found, expected, other in zip(one_by_one, whole, swapped, strict=True):
        assert len(expected["boxes"]) > 0
        for name, values in expected.items():
            assert torch.allclose(found[name], values, atol=1e-4), name
        # The images before and after the key image have weights of their own, if they say anything at all.
        same = other["scores"].shape == expected["scores"].shape and torch.equal(other["scores"], expected["scores"])
        assert same == (fusion == "key_image")


def test_the_branch_can_be_switched_off() -> None:
    model = tiny(BMC).eval()
    model.predicts_maps = False
    with torch.inference_mode():
        assert set(model(batch()[0])[0]) == {"boxes", "scores", "labels"}


def test_after_a_step_it_tells_the_positive_anchors_of_each_level() -> None:
    model = tiny(BMC).train()
    model(*batch())
    counts = model.diagnostics()
    assert {name: len(levels) for name, levels in counts.items()} == {"objectness": 1, "regression": 1}
    assert all(isinstance(count, float) for levels in counts.values() for count in levels)
    # One image of two has a lesion: halves are possible, and some anchor learns it.
    assert sum(counts["regression"]) > 0


def test_an_auxiliary_head_adds_its_losses_in_training_alone() -> None:
    class Presence(nn.Module):
        """Learns whether an image holds a lesion."""

        def forward(self, fused: Fused, targets: list[Target]) -> dict[str, torch.Tensor]:
            wanted = torch.tensor([float(len(target["boxes"]) > 0) for target in targets])
            (level,) = fused.key.values()
            return {"presence": F.binary_cross_entropy_with_logits(level.mean(dim=(1, 2, 3)), wanted)}

        def tell(self, fused: Fused) -> dict[str, torch.Tensor]:
            return {}

    model = tiny(TwoStageSupervision())
    model.auxiliary["presence"] = Presence()
    losses = model.train()(*batch())
    assert {"presence", "objectness"} < set(losses)
    assert losses["presence"].requires_grad
    with torch.inference_mode():
        assert set(model.eval()(batch()[0])[0]) == {"boxes", "scores", "labels"}


def test_what_an_auxiliary_head_tells_of_each_slab_joins_its_detections_where_maps_are_asked_for() -> None:
    class Order(nn.Module):
        """Tells which slab of the batch it is."""

        def tell(self, fused: Fused) -> dict[str, torch.Tensor]:
            (level,) = fused.key.values()
            return {"order": torch.arange(len(level))}

    model = tiny(TwoStageSupervision()).eval()
    model.auxiliary["order"] = Order()
    with torch.inference_mode():
        assert [int(found["order"]) for found in model(batch()[0])] == [0, 1]
        model.predicts_maps = False
        assert set(model(batch()[0])[0]) == {"boxes", "scores", "labels"}


def test_what_it_is_taught_is_what_its_training_learns_boxes_on() -> None:
    model = tiny(BMC)
    _, (target, _) = batch()
    grid = model.proposals.grid((64, 64))
    padded = pad_maps(target, (64, 64))
    learnt = model.proposals.regression(grid, padded, model.proposals.assigner.match(grid, padded))
    taught = model.taught(padded, (64, 64))
    assert set(taught) == {"iou", "bm", "bmc"}
    assert len(learnt.anchors) > 0
    assert torch.equal(taught["bmc"].boxes, grid.anchors[learnt.anchors])
    assert torch.equal(taught["bmc"].lesions, learnt.lesions)
    assert model.grid_size((64, 64)) == (8 * 8, 6)
