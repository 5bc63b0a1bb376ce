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
    branch: MapBranch | None = None,
    classes: int = 1,
    anchor_sizes: Sequence[float] = (16, 24, 32, 48, 96),
    anchor_ratios: Sequence[float] = (0.5, 1.0, 2.0),
    rpn_channels: int = 256,
    proposals_before_nms: tuple[int, int] = (12000, 6000),
    proposals_after_nms: tuple[int, int] = (2000, 300),
    rpn_nms: float = 0.7,
    rpn_min_size: float = 8.0,
    roi_size: int = 7,
    head_channels: int = 2048,
    head_dropout: float = 0.5,
    roi_iou: float = 0.5,
    roi_samples: int = 32,
    roi_positive: float = 0.25,
    box_weight: float = 10.0,
    score_threshold: float = 0.0,
    nms: float = 0.3,
    detections: int = 100,
) -> TwoStageDetector:
    """Compose Faster R-CNN; the defaults are the 3DCE paper's three-slice baseline.

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
