"""From descriptions to networks: the published sizes, and the way there."""

import sys
from types import FrameType

import pytest
import torch
from torch import nn
from torchvision.models.detection import fcos_resnet50_fpn

from napari_uld.detectors.backbones.vgg import Vgg
from napari_uld.detectors.build import build_detector, build_proposals, build_regions, build_two_stage, parameter_count
from napari_uld.detectors.encoders.key_image import KeyImage
from napari_uld.detectors.encoders.position_sensitive import PositionSensitive
from napari_uld.detectors.encoders.windows import Windows
from napari_uld.detectors.heads.roi import RoiStage
from napari_uld.detectors.heads.roi_pools import PositionSensitiveRoiPool
from napari_uld.detectors.losses.bounding_map import BmcObjectness, BmcRegression, BmObjectness
from napari_uld.detectors.losses.branch import DiceLoss, MapLoss, MaskLoss
from napari_uld.detectors.losses.iou import IouObjectness, IouRegression
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.recipe import load_recipe
from napari_uld.detectors.specs.two_stage import TwoStageSpec, TwoStageSupervision
from napari_uld.detectors.two_stage import TwoStageDetector


def published(name: str) -> TwoStageDetector:
    """A recipe at its published scale, without memory for its weights."""
    recipe = load_recipe(name)
    with torch.device("meta"):
        return build_two_stage(recipe.detector, recipe.supervision, recipe.input)  # type: ignore[arg-type]


def linear(regions: RoiStage) -> list[tuple[int, int]]:
    """(inputs, outputs) of the box head's hidden layers."""
    layers = regions.box_predictor.layers
    return [(layer.in_features, layer.out_features) for layer in layers if isinstance(layer, nn.Linear)]


def test_faster_rcnn_has_vgg_16_at_stride_8_fifteen_anchors_and_two_layers_of_2048() -> None:
    model = published("faster_rcnn")
    assert isinstance(model.encoder, KeyImage)
    assert isinstance(model.encoder.backbone, Vgg)
    assert (model.strides, model.encoder.channels) == ((8,), 512)
    assert model.proposals.head.conv.weight.shape == (256, 512, 3, 3)
    assert model.proposals.head.objectness.out_channels == 15
    assert linear(model.regions) == [(512 * 49, 2048), (2048, 2048)]
    assert model.regions.branch is None
    # VGG-16's convolutions; 3x3x256, 15 and 60 outputs; two layers; two classes and their boxes.
    rpn = 512 * 256 * 9 + 256 + (256 + 1) * 75
    head = 512 * 49 * 2048 + 2048 + 2048 * 2048 + 2048 + (2048 + 1) * 10
    assert parameter_count(model) == 14_714_688 + rpn + head


@pytest.mark.parametrize(("name", "images"), [("3dce", 3), ("3dce_27", 9), ("3dce_bm", 3), ("3dce_bmc", 3)])
def test_3dce_has_490_maps_an_image_and_one_layer_of_2048_over_all_images(name: str, images: int) -> None:
    model = published(name)
    assert isinstance(model.encoder, PositionSensitive)
    assert model.encoder.conv.weight.shape == (490, 512, 1, 1)
    assert isinstance(model.regions.box_roi_pool, PositionSensitiveRoiPool)
    assert (model.regions.box_roi_pool.size, model.regions.box_roi_pool.scale) == (7, 1 / 8)
    assert linear(model.regions) == [(images * 490, 2048)]
    assert model.proposals.head.conv.in_channels == 512


# DenseNet-121's first three blocks with their transitions, and the 1x1 convolutions of the pyramid on them.
TRUNCATED, PYRAMID = 4_267_392, (256 + 512 + 1024 + 3) * 512
# Two layers on 7x7 cells, two classes and their boxes; four 3x3 convolutions, a transposed one, one class's masks.
HEAD_ON_512 = 512 * 49 * 2048 + 2048 + 2048 * 2048 + 2048 + (2048 + 1) * 10
BRANCH_ON_512 = (512 + 3 * 256) * 256 * 9 + 4 * 256 + 256 * 256 * 4 + 256 + 257


def proposals_on_512(anchors: int) -> int:
    return 512 * 512 * 9 + 512 + (512 + 1) * anchors * 5


@pytest.mark.parametrize(("name", "branch"), [("mulan_no_recist", 0), ("mulan", BRANCH_ON_512)])
def test_mulan_is_as_large_as_its_released_codes_layers(name: str, branch: int) -> None:
    with torch.device("meta"):
        model = build_detector(load_recipe(name))
    # Three images before the last block, and behind the pyramid.
    fusions = 3 * 256 * 256 + 256 + 3 * 512 * 512 + 512
    assert parameter_count(model) == TRUNCATED + PYRAMID + fusions + proposals_on_512(15) + HEAD_ON_512 + branch


@pytest.mark.parametrize(("name", "branch"), [("alignshift_no_recist", 0), ("alignshift", BRANCH_ON_512)])
@pytest.mark.parametrize("slices", [3, 7])
def test_alignshift_is_as_large_as_its_released_codes_layers(name: str, branch: int, slices: int) -> None:
    recipe = load_recipe(name)
    recipe = recipe.model_copy(update={"input": recipe.input.model_copy(update={"slices": slices})})
    with torch.device("meta"):
        model = build_detector(recipe)
    assert isinstance(model, TwoStageDetector)
    # Of three colours the first convolution has one.
    backbone = TRUNCATED - 2 * 64 * 49
    reductions = slices * (256**2 + 512**2 + 1024**2)
    heads = proposals_on_512(18) + HEAD_ON_512 + branch
    assert parameter_count(model) == backbone + reductions + PYRAMID + heads
    assert model.regions.box_coder.weights == pytest.approx((10, 10, 5, 5))
    assert branch == 0 or isinstance(model.regions.branch.criterion, DiceLoss)


# ResNets without their classifiers; four 1x1 and four 3x3 convolutions of 256 channels on its stages.
RESNET_50, RESNET_101 = 23_508_032, 42_500_160
PYRAMID_ON_RESNET = (256 + 512 + 1024 + 2048 + 4) * 256 + 4 * (256 * 256 * 9 + 256)
# Three 3x3 convolutions without biases, their norms, three parts of the body and a coordinate.
POSITION_HEAD = (256 * 256 + 256 * 1024 + 1024 * 1024) * 9 + 2 * (256 + 1024 + 1024) + (1024 + 1) * 4


@pytest.mark.parametrize(("name", "images"), [("mvp_3", 3), ("mvp_9", 9), ("mvp_bm", 9), ("mvp_bmc", 9)])
def test_mvp_net_is_as_large_as_its_released_codes_layers(name: str, images: int) -> None:
    with torch.device("meta"):
        model = build_detector(load_recipe(name))
    assert isinstance(model, TwoStageDetector)
    assert isinstance(model.encoder, Windows)
    channels = 256 * images
    assert model.encoder.channels == channels
    gate = channels * (channels // 16) * 2 + channels // 16 + channels
    # A 1x1 convolution over all images, then three anchors' objectness and boxes.
    proposals = channels * 256 + 256 + (256 + 1) * 3 * 5
    head = channels * 49 * 1024 + 1024 + 1024 * 1024 + 1024 + (1024 + 1) * 10
    branch = 0 if model.regions.branch is None else (channels + 3 * 256) * 256 * 9 + 4 * 256 + 256 * 256 * 4 + 256 + 257
    assert parameter_count(model) == (RESNET_50 + PYRAMID_ON_RESNET + gate + proposals + head + branch + POSITION_HEAD)
    assert (model.regions.branch is None) == (name in ("mvp_3", "mvp_9"))
    assert model.regions.box_coder.weights == pytest.approx((10, 10, 5, 5))
    assert model.proposals.anchor_generator.sizes == ((16,), (32,), (64,), (128,), (256,))


@pytest.mark.parametrize(("name", "middle"), [("mvp_3", range(1, 2)), ("mvp_9", range(3, 6))])
def test_mvp_nets_position_head_looks_at_the_middle_windows_images(name: str, middle: range) -> None:
    with torch.device("meta"):
        model = build_detector(load_recipe(name))
    assert isinstance(model, TwoStageDetector)
    assert model.auxiliary["position"].images == middle


def test_fcos_differs_from_torchvisions_by_a_finer_level_and_where_the_coarsest_comes_from() -> None:
    with torch.device("meta"):
        ours = build_detector(load_recipe("fcos"))
        theirs = fcos_resnet50_fpn(weights=None, weights_backbone=None, num_classes=1)
    finer = 256 * 256 + 256 + 256 * 256 * 9 + 256
    # One level from C5 here, two from P5 there; a scale for each of five levels.
    coarser = (2048 * 256 * 9 + 256) - 2 * (256 * 256 * 9 + 256)
    assert parameter_count(ours) - sum(p.numel() for p in theirs.parameters()) == finer + coarser + 5


def test_centernet_is_as_large_as_its_released_codes_layers_but_for_one_hidden_convolution() -> None:
    with torch.device("meta"):
        model = build_detector(load_recipe("centernet"))
    up = 16 * 256 * (2048 + 256 + 256) + 3 * 2 * 256
    hidden, released_heads = 256 * 64 * 9 + 64, (64 + 1) * (1 + 2 + 2) + 3 * (256 * 64 * 9 + 64)
    # Sizes and offsets share theirs.
    assert parameter_count(model) == RESNET_101 + up + released_heads - hidden


def test_deformable_detr_is_as_large_as_its_released_codes_layers() -> None:
    with torch.device("meta"):
        model = build_detector(load_recipe("deformable_detr"))
    d, sampled = 256, 8 * 4 * 4
    levels = (512 + 1024 + 2048 + 3) * d + 2048 * d * 9 + d + 4 * 2 * d
    # Values and outputs, offsets and weights; two layers on each place; what queries ask one another; norms.
    attention, feed, among = 2 * (d + 1) * d + (d + 1) * sampled * 3, (d + 1) * 1024 + (1024 + 1) * d, 4 * (d + 1) * d
    encoder, decoder = attention + feed + 2 * 2 * d, attention + feed + among + 3 * 2 * d
    heads = 300 * 2 * d + 4 * d + (d + 1) * 2 + (d + 1) + 2 * (d + 1) * d + (d + 1) * 4
    assert parameter_count(model) == RESNET_50 + levels + 6 * (encoder + decoder) + heads


@pytest.mark.parametrize(("name", "classes"), [("mask_rcnn_no_mask", 1), ("mask_rcnn", 1), ("uldor", 2)])
def test_mask_rcnn_has_resnet_101_a_pyramid_and_three_anchors_on_each_cell(name: str, classes: int) -> None:
    model = published(name)
    assert [len(getattr(model.encoder.backbone, f"layer{stage}")) for stage in (1, 2, 3, 4)] == [3, 4, 23, 3]
    assert model.strides == (4, 8, 16, 32, 64)
    assert model.proposals.head.objectness.out_channels == 3
    assert model.proposals.anchor_generator.sizes == ((16,), (32,), (64,), (128,), (256,))
    assert linear(model.regions) == [(256 * 49, 1024), (1024, 1024)]
    assert model.regions.box_predictor.logits.out_features == classes + 1
    if name == "mask_rcnn_no_mask":
        assert model.regions.branch is None
    else:
        assert model.regions.branch.layers[1].mask_fcn_logits.weight.shape == (classes, 256, 1, 1)
        # Four 3x3 convolutions and a transposed one of 2x2, each of 256 channels.
        hidden = sum(p.numel() for p in model.regions.branch.parameters()) - classes * 257
        assert hidden == 4 * (256 * 256 * 9 + 256) + 256 * 256 * 4 + 256


def supervised(**parts: str) -> TwoStageDetector:
    with torch.device("meta"):
        return build_two_stage(TwoStageSpec(width=0.125), TwoStageSupervision(**parts), InputSpec())  # type: ignore[arg-type]


def test_every_part_of_the_supervision_has_its_own_switch() -> None:
    assert isinstance(supervised().proposals.objectness, IouObjectness)
    assert isinstance(supervised(objectness="bm").proposals.objectness, BmObjectness)
    assert isinstance(supervised(objectness="bmc").proposals.objectness, BmcObjectness)
    assert isinstance(supervised(objectness="bmc").proposals.regression, IouRegression)
    assert isinstance(supervised(regression="bmc").proposals.regression, BmcRegression)
    assert supervised(objectness="bmc", regression="bmc").regions.branch is None


@pytest.mark.parametrize("branch", ["bm", "abm", "ellipse", "grabcut"])
def test_the_branch_is_taught_maps_or_masks(branch: str) -> None:
    learnt = supervised(roi_branch=branch).regions.branch.criterion
    if branch in ("bm", "abm"):
        assert isinstance(learnt, MapLoss)
        assert (learnt.name, learnt.matched) == (branch, False)
        matched = supervised(roi_branch=branch, branch_map="matched").regions.branch.criterion
        assert (matched.name, matched.matched) == (branch, True)
    else:
        assert isinstance(learnt, MaskLoss)


def test_a_rule_that_is_followed_is_shown_with_its_numbers_and_the_others_as_published() -> None:
    def thresholds(**parts: object) -> list[float]:
        rules = supervised(**parts).proposals.rules  # type: ignore[arg-type]
        return [rules.iou.matcher.high_threshold, rules.bm.matcher.high_threshold, rules.bmc.boundary]

    assert thresholds() == [0.7, 0.5, 0.25]
    assert thresholds(rpn_iou=(0.6, 0.2)) == [0.6, 0.5, 0.25]
    assert thresholds(objectness="bm", rpn_iou=(0.45, 0.2)) == [0.7, 0.45, 0.25]
    assert thresholds(objectness="bmc", rpn_iou=(0.45, 0.2), boundary=0.4) == [0.7, 0.5, 0.4]


def test_any_encoder_can_carry_both_stages_and_be_pooled_from_its_own_way() -> None:
    class OneLevel(nn.Module):
        """Two channels at stride 16, from which its own pool makes three."""

        channels, strides, backbone = 2, (16,), None

    class OwnPool(nn.Module):
        """Not asked for anything here."""

    encoder, detector, supervision = OneLevel(), TwoStageSpec(head_channels=8, head_layers=1), TwoStageSupervision()
    proposals = build_proposals(encoder, detector, supervision)  # type: ignore[arg-type]
    assert proposals.head.conv.in_channels == 2
    assert proposals.strides == (16,)
    regions = build_regions(encoder, detector, supervision, pool=OwnPool(), pooled_channels=3)  # type: ignore[arg-type]
    assert isinstance(regions.box_roi_pool, OwnPool)
    assert linear(regions) == [(3 * 49, 8)]


@pytest.mark.parametrize(
    ("name", "most"), [("faster_rcnn_bmc", 4), ("3dce_bmc", 4), ("uldor", 4), ("retinanet_dense_ag", 2)]
)
def test_on_its_way_to_modules_a_recipes_detector_passes_few_functions(name: str, most: int) -> None:
    recipe = load_recipe(name, "small")
    passed = set()

    def see(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and "napari_uld" in frame.f_code.co_filename:
            held = frame.f_locals.values()
            if any(value is recipe.detector or value is recipe for value in held):
                passed.add(frame.f_code.co_name)

    sys.setprofile(see)
    try:
        build_detector(recipe)
    finally:
        sys.setprofile(None)
    assert "build_detector" in passed
    assert len(passed) <= most, passed
