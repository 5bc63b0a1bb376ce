"""From a description to a network."""

import logging
from pathlib import Path

import torch
from torch import nn

from napari_uld.detectors.backbones.resnet import ResNetFpn
from napari_uld.detectors.backbones.vgg import Vgg, VggStages
from napari_uld.detectors.encoders.fusion import KeyImage, PositionSensitive, PositionSensitiveRoiPool
from napari_uld.detectors.encoders.pyramid import Pyramid, SegmentationPath
from napari_uld.detectors.heads.anchors import CentredAnchorGenerator
from napari_uld.detectors.heads.proposals import ProposalHead, ProposalNetwork
from napari_uld.detectors.heads.roi import BoxHead, PyramidRoiAlign, RoiStage, SingleLevelRoiPool
from napari_uld.detectors.heads.roi_branch import MapLesson, MaskLesson, SegmentationBranch
from napari_uld.detectors.losses.supervision import (
    BmcObjectness,
    BmcRegression,
    BmObjectness,
    IouMatching,
    IouObjectness,
    IouRegression,
    Objectness,
    Regression,
)
from napari_uld.detectors.one_stage import AnchorLesson, Head, RetinaNet
from napari_uld.detectors.parts import Backbone, SliceFusion
from napari_uld.detectors.specs.system import (
    InputSpec,
    RetinaNetSpec,
    RetinaNetSupervision,
    System,
    TwoStageSpec,
    TwoStageSupervision,
)
from napari_uld.detectors.two_stage import TwoStageDetector

logger = logging.getLogger(__name__)

BRANCH_SIZE = 14
# A pyramid's coarsest level serves proposals alone.
POOLED_LEVELS = 4


Detector = TwoStageDetector | RetinaNet


def build_detector(system: System) -> Detector:
    """Build the network that is described, randomly initialised."""
    if isinstance(system.detector, RetinaNetSpec) and isinstance(system.supervision, RetinaNetSupervision):
        return build_retinanet(system.detector, system.supervision, system.input)
    if isinstance(system.detector, TwoStageSpec) and isinstance(system.supervision, TwoStageSupervision):
        return build_two_stage(system.detector, system.supervision, system.input)
    raise TypeError(f"A System holds parts of one family; found {system.detector} and {system.supervision}")


def build_two_stage(detector: TwoStageSpec, supervision: TwoStageSupervision, inputs: InputSpec) -> TwoStageDetector:
    """Build a two-stage network."""
    backbone = _backbone(detector, inputs)
    anchors = _anchors(detector, len(backbone.strides))
    objectness, regression = _proposal_supervision(supervision)
    proposals = ProposalNetwork(
        anchors,
        ProposalHead(backbone.out_channels, detector.rpn_channels, anchors.num_anchors_per_location()[0]),
        objectness=objectness,
        regression=regression,
        before_nms=detector.proposals_before_nms,
        after_nms=detector.proposals_after_nms,
        nms=detector.rpn_nms,
        min_size=detector.rpn_min_size,
    )
    fusion, pool, channels = _fusion(detector, backbone, inputs)
    regions = RoiStage(
        pool=pool,
        head=BoxHead(
            channels * detector.roi_size**2,
            layers=detector.head_layers,
            channels=detector.head_channels,
            classes=len(detector.classes) + 1,
            dropout=detector.head_dropout,
        ),
        branch=_branch(detector, supervision, backbone),
        iou=supervision.roi_iou,
        samples=supervision.roi_samples,
        positive=supervision.roi_positive,
        box_weight=supervision.box_weight,
        score_threshold=detector.score_threshold,
        nms=detector.nms,
        detections=detector.detections,
    )
    return TwoStageDetector(
        backbone=backbone,
        fusion=fusion,
        proposals=proposals,
        regions=regions,
        slices_per_image=inputs.slices_per_image,
    )


def build_retinanet(detector: RetinaNetSpec, supervision: RetinaNetSupervision, inputs: InputSpec) -> RetinaNet:
    """Build a RetinaNet, with a segmentation path where its supervision has masks."""
    backbone = VggStages(
        in_channels=inputs.slices,
        convolutions=detector.convolutions,
        width=detector.width,
        without_pools=detector.without_pools,
        norm=detector.norm,
    )
    channels, gated = detector.pyramid_channels, detector.attention_gates
    sizes = tuple(tuple(size * scale for scale in detector.anchor_scales) for size in detector.anchor_sizes)
    anchors = CentredAnchorGenerator(sizes, (detector.anchor_ratios,) * len(sizes), rounded=False)
    segmentation = None
    if supervision.mask_kind:
        segmentation = SegmentationPath(
            pyramid_channels=channels,
            c1_channels=backbone.out_channels[0],
            image_channels=inputs.slices,
            channels=detector.segmentation_channels,
            gated=gated,
        )
    return RetinaNet(
        backbone=backbone,
        pyramid=Pyramid(backbone.out_channels, finest=detector.finest_level, channels=channels, gated=gated),
        head=Head(
            channels,
            channels=detector.head_channels,
            layers=detector.head_layers,
            anchors=anchors.num_anchors_per_location()[0],
        ),
        anchor_generator=anchors,
        segmentation=segmentation,
        lesson=anchor_lesson(supervision),
        segmentation_weight=supervision.segmentation_weight,
        component_margin=detector.component_margin,
        candidates=detector.candidates,
        score_threshold=detector.score_threshold,
        nms=detector.nms,
        detections=detector.detections,
    )


def _backbone(detector: TwoStageSpec, inputs: InputSpec) -> Backbone:
    if detector.backbone == "resnet_fpn":
        return ResNetFpn(
            in_channels=inputs.slices_per_image,
            blocks=detector.blocks,
            width=detector.width,
            stem_pool=detector.stem_pool,
            channels=detector.pyramid_channels,
        )
    return Vgg(
        in_channels=inputs.slices_per_image,
        convolutions=detector.convolutions,
        width=detector.width,
        without_pools=detector.without_pools,
        norm=detector.norm,
    )


def _anchors(detector: TwoStageSpec, levels: int) -> CentredAnchorGenerator:
    sizes = tuple((size,) for size in detector.anchor_sizes) if levels > 1 else (detector.anchor_sizes,)
    return CentredAnchorGenerator(sizes, (detector.anchor_ratios,) * levels)


def _fusion(detector: TwoStageSpec, backbone: Backbone, inputs: InputSpec) -> tuple[SliceFusion, nn.Module, int]:
    """Slice fusion, the pooling that goes with it, and the channels of what is pooled from a slab."""
    size = detector.roi_size
    if detector.fusion == "position_sensitive":
        fusion = PositionSensitive(backbone.out_channels, detector.fusion_channels, size)
        return fusion, PositionSensitiveRoiPool(size, backbone.strides[0]), detector.fusion_channels * inputs.images
    pool = SingleLevelRoiPool(size, backbone.strides[0]) if detector.roi_pool == "max" else _align(size, backbone)
    return KeyImage(), pool, backbone.out_channels


def _align(size: int, backbone: Backbone) -> PyramidRoiAlign:
    return PyramidRoiAlign(size, backbone.strides[:POOLED_LEVELS])


def _branch(detector: TwoStageSpec, supervision: TwoStageSupervision, backbone: Backbone) -> SegmentationBranch | None:
    if supervision.roi_branch == "none":
        return None
    return SegmentationBranch(
        backbone.out_channels,
        detector.branch_channels,
        classes=len(detector.classes),
        pool=_align(BRANCH_SIZE, backbone),
        lesson=MaskLesson() if supervision.mask_kind else MapLesson(supervision.roi_branch),
    )


def _proposal_supervision(supervision: TwoStageSupervision) -> tuple[Objectness, Regression]:
    positive, negative = supervision.rpn_iou
    matching = IouMatching(positive=positive, negative=negative, samples=supervision.rpn_samples)
    objectness: Objectness = BmcObjectness()
    if supervision.objectness != "bmc":
        objectness = BmObjectness(matching) if supervision.objectness == "bm" else IouObjectness(matching)
    if supervision.regression == "iou":
        return objectness, IouRegression(matching)
    return objectness, bmc_regression(supervision)


def bmc_regression(supervision: TwoStageSupervision) -> BmcRegression:
    """Eq. 8's rule with the recipe's numbers."""
    return BmcRegression(
        boundary=supervision.boundary,
        small_area=supervision.small_area,
        area_in_cells=supervision.area_unit == "cells",
        anchor_iou=supervision.anchor_iou,
    )


def anchor_lesson(supervision: RetinaNetSupervision) -> AnchorLesson:
    """Matching and losses with the recipe's numbers."""
    positive, negative = supervision.anchor_iou
    return AnchorLesson(
        positive=positive, negative=negative, alpha=supervision.focal_alpha, gamma=supervision.focal_gamma
    )


def load_imagenet(backbone: Backbone | VggStages) -> bool:
    """Take ImageNet's weights from torchvision's cache; without them go on from random ones and say so.

    Returns
    -------
    bool
        Whether weights were loaded. They fit the published width with three slices only.
    """
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    there = [folder / name for name in backbone.imagenet_files if (folder / name).is_file()]
    if not there:
        logger.warning(
            "ImageNet weights (%s) are not in torchvision's cache %s: training starts from random weights",
            " or ".join(backbone.imagenet_files),
            folder,
        )
        return False
    state = torch.load(there[0], map_location="cpu", weights_only=True)
    if not backbone.take_imagenet(state):
        logger.warning("%s is of the published backbone: this one differs from it", there[0])
        return False
    return True


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
