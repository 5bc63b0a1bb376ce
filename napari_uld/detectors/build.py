"""From a description to a network."""

import logging
from pathlib import Path

import torch

from napari_uld.detectors.faster_rcnn import faster_rcnn
from napari_uld.detectors.roi_branch import MapBranch
from napari_uld.detectors.spec import DetectorSpec, InputSpec, SupervisionSpec
from napari_uld.detectors.supervision import (
    BmcObjectness,
    BmcRegression,
    IouMatching,
    IouObjectness,
    IouRegression,
    Objectness,
    Regression,
)
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.detectors.vgg import Vgg

logger = logging.getLogger(__name__)

# Weights for inputs in [0, 255] less a mean, which is what this family feeds; the usual ones want unit variance.
IMAGENET_VGG16 = "vgg16_features-amdegroot-88682ab5.pth"


def build_detector(detector: DetectorSpec, supervision: SupervisionSpec, inputs: InputSpec) -> TwoStageDetector:
    """Build the network that the three descriptions describe, randomly initialised."""
    backbone = Vgg(
        in_channels=inputs.slices,
        convolutions=detector.convolutions,
        width=detector.width,
        without_pools=detector.without_pools,
        norm=detector.norm,
    )
    objectness, regression = _proposal_supervision(supervision)
    branch = None
    if supervision.roi_branch != "none":
        branch = MapBranch(backbone.out_channels, detector.branch_channels, supervision.roi_branch)
    return faster_rcnn(
        backbone=backbone,
        objectness=objectness,
        regression=regression,
        branch=branch,
        classes=len(detector.classes),
        anchor_sizes=detector.anchor_sizes,
        anchor_ratios=detector.anchor_ratios,
        rpn_channels=detector.rpn_channels,
        proposals_before_nms=detector.proposals_before_nms,
        proposals_after_nms=detector.proposals_after_nms,
        rpn_nms=detector.rpn_nms,
        rpn_min_size=detector.rpn_min_size,
        roi_size=detector.roi_size,
        head_channels=detector.head_channels,
        head_dropout=detector.head_dropout,
        roi_iou=supervision.roi_iou,
        roi_samples=supervision.roi_samples,
        roi_positive=supervision.roi_positive,
        box_weight=supervision.box_weight,
        score_threshold=detector.score_threshold,
        nms=detector.nms,
        detections=detector.detections,
    )


def _proposal_supervision(supervision: SupervisionSpec) -> tuple[Objectness, Regression]:
    positive, negative = supervision.rpn_iou
    matching = IouMatching(positive=positive, negative=negative, samples=supervision.rpn_samples)
    objectness: Objectness = BmcObjectness() if supervision.objectness == "bmc" else IouObjectness(matching)
    if supervision.regression == "iou":
        return objectness, IouRegression(matching)
    regression = BmcRegression(
        boundary=supervision.boundary,
        small_area=supervision.small_area,
        area_in_cells=supervision.area_unit == "cells",
    )
    return objectness, regression


def load_imagenet(backbone: Vgg) -> bool:
    """Take VGG-16's ImageNet weights from torchvision's cache; without them go on from random ones and say so.

    Returns
    -------
    bool
        Whether weights were loaded. They fit the published width with three slices only.
    """
    path = Path(torch.hub.get_dir()) / "checkpoints" / IMAGENET_VGG16
    if not path.is_file():
        logger.warning(
            "ImageNet weights are not in torchvision's cache (%s): training starts from random weights", path
        )
        return False
    state = torch.load(path, map_location="cpu", weights_only=True)
    numbers = sorted({int(key.split(".")[1]) for key in state if key.startswith("features.")})
    convolutions = backbone.convolutions()
    shapes = [state[f"features.{number}.weight"].shape for number in numbers]
    if shapes != [conv.weight.shape for conv in convolutions]:
        logger.warning("ImageNet weights are VGG-16's at full width on three slices: this backbone differs from it")
        return False
    with torch.no_grad():
        for conv, number in zip(convolutions, numbers, strict=True):
            conv.weight.copy_(state[f"features.{number}.weight"])
            if conv.bias is not None:
                conv.bias.copy_(state[f"features.{number}.bias"])
    return True
