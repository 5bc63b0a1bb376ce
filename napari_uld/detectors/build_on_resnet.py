"""From a description to a one-stage network on a ResNet."""

from functools import partial

from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.build_centres import detector_of_centres, direct_extent, flat_convolution
from napari_uld.detectors.encoders.projected import ProjectedStages
from napari_uld.detectors.encoders.pyramid import Pyramid, PyramidEncoder
from napari_uld.detectors.encoders.up_convolved import UpConvolved
from napari_uld.detectors.heads.deformable import DeformableAttention
from napari_uld.detectors.heads.points import PointHead, cell_boxes
from napari_uld.detectors.heads.queries import QueryHead
from napari_uld.detectors.losses.points import PointAssigner, PointLoss
from napari_uld.detectors.losses.queries import QueryLoss, Weights
from napari_uld.detectors.one_stage import OneStageDetector
from napari_uld.detectors.specs.base import PYRAMID_LEVELS
from napari_uld.detectors.specs.centres import CenterNetResNetSpec, CentreSupervision
from napari_uld.detectors.specs.deformable_detr import DeformableDetrSpec, DeformableDetrSupervision
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.one_stage import FcosSpec, FcosSupervision
from napari_uld.detectors.specs.resnet import ResNetSpec


def build_fcos(detector: FcosSpec, supervision: FcosSupervision, inputs: InputSpec) -> OneStageDetector:
    """Build an FCOS on P2 to P6; its coarsest level comes from C5, as RetinaNet's do."""
    backbone = _resnet(detector, inputs)
    stages = backbone.out_channels
    coarser = PYRAMID_LEVELS - len(stages)
    pyramid = Pyramid(stages, finest=2, channels=detector.pyramid_channels, gated=False, coarser=coarser, strided=True)
    encoder = PyramidEncoder(backbone, pyramid)
    loss = PointLoss(PointAssigner(supervision.limits), alpha=supervision.focal_alpha, gamma=supervision.focal_gamma)
    head = PointHead(
        encoder.channels,
        channels=detector.head_channels,
        layers=detector.head_layers,
        loss=loss,
        anchor_generator=cell_boxes(encoder.strides),
        strides=encoder.strides,
        candidates=detector.candidates,
        score_threshold=detector.score_threshold,
        nms=detector.nms,
        detections=detector.detections,
    )
    return OneStageDetector(encoder=encoder, head=head, slices_per_image=inputs.slices_per_image)


def build_centernet_resnet(
    detector: CenterNetResNetSpec, supervision: CentreSupervision, inputs: InputSpec
) -> OneStageDetector:
    """Build a CenterNet on a ResNet and what brings its last stage up again."""
    encoder = UpConvolved(_resnet(detector, inputs), channels=detector.up_channels)
    convolve = partial(flat_convolution, size=3)
    extent = direct_extent(detector, supervision, axes=2)
    return detector_of_centres(encoder, detector, supervision, inputs, convolution=convolve, extent=extent)


def build_deformable_detr(
    detector: DeformableDetrSpec, supervision: DeformableDetrSupervision, inputs: InputSpec
) -> OneStageDetector:
    """Build a Deformable DETR."""
    channels = detector.channels
    encoder = ProjectedStages(
        _resnet(detector, inputs), levels=detector.levels, channels=channels, groups=detector.groups
    )
    weights = Weights(supervision.classification_weight, supervision.boxes_weight, supervision.overlap_weight)
    head = QueryHead(
        channels,
        strides=encoder.strides,
        queries=detector.queries,
        layers=detector.layers,
        attention=partial(
            DeformableAttention, channels, heads=detector.heads, levels=detector.levels, points=detector.points
        ),
        hidden=detector.feed_channels,
        dropout=detector.dropout,
        loss=QueryLoss(weights, alpha=supervision.focal_alpha, gamma=supervision.focal_gamma),
        score_threshold=detector.score_threshold,
        detections=detector.detections,
    )
    return OneStageDetector(encoder=encoder, head=head, slices_per_image=inputs.slices_per_image)


def _resnet(detector: ResNetSpec, inputs: InputSpec) -> ResNet:
    return ResNet(
        in_channels=inputs.slices_per_image,
        blocks=detector.blocks,
        width=detector.width,
        stem_pool=detector.stem_pool,
    )
