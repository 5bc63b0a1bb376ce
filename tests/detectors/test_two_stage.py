"""Faster R-CNN as a whole: its contract, its gradients, what its branch learns."""

from pathlib import Path

import numpy as np
import pytest
import torch

from napari_uld.detectors.build import IMAGENET_VGG16, build_detector, load_imagenet
from napari_uld.detectors.roi_branch import MapBranch
from napari_uld.detectors.spec import DetectorSpec, InputSpec, SupervisionSpec
from napari_uld.detectors.two_stage import TwoStageDetector, pad_images
from napari_uld.detectors.vgg import Vgg
from napari_uld.masks.bounding_map import adaptive_bounding_map, bounding_map, lesion_maps

TINY = DetectorSpec(
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
BMC = SupervisionSpec(objectness="bmc", regression="bmc", roi_branch="abm")


def tiny(supervision: SupervisionSpec) -> TwoStageDetector:
    torch.manual_seed(0)
    return build_detector(TINY, supervision, InputSpec(long_side=64))


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
                "abm": torch.from_numpy(adaptive_bounding_map(rows - 0.5, (height, width))),
            }
        )
    return [torch.randn(3, 48, 64), torch.randn(3, 64, 40)], targets


@pytest.mark.parametrize("supervision", [SupervisionSpec(), BMC, SupervisionSpec(objectness="bmc")])
def test_training_gives_finite_losses_and_gradients_reach_every_part(supervision: SupervisionSpec) -> None:
    model = tiny(supervision).train()
    losses = model(*batch())
    assert isinstance(losses, dict)
    assert {"objectness", "proposal_boxes", "classification", "boxes"} <= set(losses)
    assert ("branch" in losses) == (supervision.roi_branch != "none")
    sum(losses.values()).backward()
    untouched = [name for name, p in model.named_parameters() if p.grad is None or not torch.isfinite(p.grad).all()]
    assert untouched == []


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
    model = tiny(SupervisionSpec()).eval()
    images, _ = batch()
    with torch.inference_mode():
        alone = model([images[0]])[0]
        together = model([images[0], torch.randn(3, 48, 64)])[0]
    assert torch.allclose(alone["boxes"], together["boxes"], atol=1e-3)


def test_images_are_padded_to_a_multiple_of_32_with_zeros_below_and_to_the_right() -> None:
    padded = pad_images([torch.ones(3, 33, 20), torch.ones(3, 10, 50)])
    assert padded.tensors.shape == (2, 3, 64, 64)
    assert padded.tensors[0].sum() == 3 * 33 * 20
    assert padded.image_sizes == [(33, 20), (10, 50)]


def test_vgg_without_its_fourth_pooling_has_stride_8_and_512_channels() -> None:
    published = Vgg(in_channels=3, convolutions=(2, 2, 3, 3, 3), width=1.0, without_pools=(4,), norm="none")
    assert (published.stride, published.out_channels) == (8, 512)
    assert [conv.out_channels for conv in published.convolutions()] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    small = Vgg(in_channels=3, convolutions=(2, 2, 3, 3, 3), width=0.25, without_pools=(3, 4), norm="batch")
    assert (small.stride, small.out_channels) == (4, 128)
    assert small(torch.zeros(1, 3, 32, 32))["0"].shape == (1, 128, 8, 8)


def test_the_branch_loss_is_the_mean_squared_difference_to_the_cropped_map() -> None:
    torch.manual_seed(0)
    branch = MapBranch(4, 4, "abm")
    features = {"0": torch.randn(1, 4, 8, 8)}
    boxes = [torch.tensor([[8.0, 8.0, 36.0, 36.0]])]
    sizes = [(64, 64)]
    abm = torch.full((64, 64), 0.25)
    loss = branch.loss(features, boxes, sizes, [{"abm": abm}])
    predicted = branch.predict(features, boxes, sizes)[0]
    assert predicted.shape == (1, 1, 28, 28)
    assert loss.item() == pytest.approx((predicted - 0.25).square().mean().item(), rel=1e-5)


def test_the_branch_costs_nothing_without_positive_proposals() -> None:
    branch = MapBranch(4, 4, "abm")
    features = {"0": torch.randn(1, 4, 8, 8, requires_grad=True)}
    assert branch.loss(features, [torch.zeros(0, 4)], [(64, 64)], [{"abm": torch.zeros(64, 64)}]).item() == 0


def test_the_published_scale_is_the_defaults() -> None:
    spec = DetectorSpec()
    assert spec.anchor_sizes == (16, 24, 32, 48, 96)
    assert (spec.rpn_channels, spec.head_channels, spec.head_dropout, spec.nms) == (256, 2048, 0.5, 0.3)
    assert spec.proposals_before_nms == (12000, 6000)
    assert spec.proposals_after_nms == (2000, 300)


def test_imagenet_weights_are_taken_from_torchvisions_cache_where_they_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from torchvision.models import vgg16

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    backbone = Vgg(in_channels=3, convolutions=(2, 2, 3, 3, 3), width=1.0, without_pools=(4,), norm="none")
    assert not load_imagenet(backbone), "without the file we go on"
    source = vgg16(weights=None)
    (tmp_path / "checkpoints").mkdir()
    torch.save(source.state_dict(), tmp_path / "checkpoints" / IMAGENET_VGG16)
    assert load_imagenet(backbone)
    theirs = [layer for layer in source.features if isinstance(layer, torch.nn.Conv2d)]
    for own, conv in zip(backbone.convolutions(), theirs, strict=True):
        assert torch.equal(own.weight, conv.weight)
    small = Vgg(in_channels=3, convolutions=(1, 1, 2, 2, 2), width=0.2, without_pools=(3, 4), norm="none")
    assert not load_imagenet(small)
