"""Faster R-CNN on neighbouring slices, VGG-16 at stride 8."""

from collections.abc import Sequence

from torch import nn

from napari_uld.detectors.anchors import CentredAnchorGenerator
from napari_uld.detectors.proposals import ProposalHead, ProposalNetwork
from napari_uld.detectors.roi import BoxHead, RoiStage, SingleLevelRoiPool
from napari_uld.detectors.roi_branch import MapBranch
from napari_uld.detectors.supervision import Objectness, Regression
from napari_uld.detectors.two_stage import TwoStageDetector
from napari_uld.detectors.vgg import Vgg


def faster_rcnn(
    *,
    backbone: Vgg,
    objectness: Objectness,
    regression: Regression,
    branch: MapBranch | None,
    classes: int,
    anchor_sizes: Sequence[float],
    anchor_ratios: Sequence[float],
    rpn_channels: int,
    proposals_before_nms: tuple[int, int],
    proposals_after_nms: tuple[int, int],
    rpn_nms: float,
    rpn_min_size: float,
    roi_size: int,
    head_channels: int,
    head_dropout: float,
    roi_iou: float,
    roi_samples: int,
    roi_positive: float,
    box_weight: float,
    score_threshold: float,
    nms: float,
    detections: int,
) -> TwoStageDetector:
    """Compose Faster R-CNN; `DetectorSpec` and `SupervisionSpec` hold the published numbers.

    Parameters
    ----------
    backbone
        Features at one level.
    objectness, regression
        What the proposal network learns from.
    branch
        Segmentation branch on the proposals, or None.
    classes
        Number of lesion classes, the background not counted.
    """
    anchors = CentredAnchorGenerator((tuple(anchor_sizes),), (tuple(anchor_ratios),))
    return TwoStageDetector(
        backbone,
        ProposalNetwork(
            anchors,
            ProposalHead(backbone.out_channels, rpn_channels, anchors.num_anchors_per_location()[0]),
            objectness=objectness,
            regression=regression,
            before_nms=proposals_before_nms,
            after_nms=proposals_after_nms,
            nms=rpn_nms,
            min_size=rpn_min_size,
        ),
        RoiStage(
            pool=SingleLevelRoiPool(roi_size, backbone.stride),
            head=BoxHead(backbone.out_channels * roi_size**2, head_channels, classes + 1, head_dropout),
            branch=branch,
            iou=roi_iou,
            samples=roi_samples,
            positive=roi_positive,
            box_weight=box_weight,
            score_threshold=score_threshold,
            nms=nms,
            detections=detections,
        ),
    )


def parameter_count(model: nn.Module) -> int:
    """Trainable parameters of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
