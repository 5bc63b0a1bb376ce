"""From a description to a network: each of its tables becomes a part once, and the parts are put together."""

from pkgutil import resolve_name

import torch
from torch import nn
from torchvision.models.detection._utils import BoxCoder
from torchvision.ops import FeaturePyramidNetwork

from napari_uld.detectors.anchors import CentredAnchorGenerator
from napari_uld.detectors.backbones.densenet import DenseNet
from napari_uld.detectors.backbones.fused_densenet import FusedDenseNet
from napari_uld.detectors.backbones.resnet import ResNet
from napari_uld.detectors.backbones.shifted_densenet import ShiftedDenseNet
from napari_uld.detectors.backbones.vgg import Vgg
from napari_uld.detectors.encoders.align_shift import AlignShift
from napari_uld.detectors.encoders.key_image import KeyImage
from napari_uld.detectors.encoders.mulan import Mulan
from napari_uld.detectors.encoders.position_sensitive import PositionSensitive
from napari_uld.detectors.encoders.pyramid import Pyramid, PyramidEncoder
from napari_uld.detectors.encoders.windows import Windows
from napari_uld.detectors.heads.anchors import AnchorHead
from napari_uld.detectors.heads.position import PositionHead
from napari_uld.detectors.heads.proposals import ProposalHead, ProposalNetwork, Rules
from napari_uld.detectors.heads.rescorer import CropRescorer
from napari_uld.detectors.heads.roi import BoxHead, RoiStage
from napari_uld.detectors.heads.roi_branch import SegmentationBranch
from napari_uld.detectors.heads.roi_pools import PositionSensitiveRoiPool, PyramidRoiAlign, SingleLevelRoiPool
from napari_uld.detectors.heads.segmentation import Calibration, SegmentationPath
from napari_uld.detectors.losses.bounding_map import BM_POSITIVE_IOU, BmcObjectness, BmcRegression, BmObjectness
from napari_uld.detectors.losses.branch import DiceLoss, MapLoss, MaskLoss
from napari_uld.detectors.losses.focal import AnchorLoss, PixelLoss
from napari_uld.detectors.losses.iou import IouAssigner, IouObjectness, IouRegression
from napari_uld.detectors.losses.position import PositionLoss
from napari_uld.detectors.losses.samples import Objectness, Regression
from napari_uld.detectors.one_stage import OneStageDetector
from napari_uld.detectors.parts import Detector, SlabEncoder
from napari_uld.detectors.specs.align_shift import AlignShiftSpec
from napari_uld.detectors.specs.base import PYRAMID_LEVELS
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.mulan import MulanSpec
from napari_uld.detectors.specs.mvp import MvpSpec, MvpSupervision
from napari_uld.detectors.specs.one_stage import RetinaNetSpec, RetinaNetSupervision
from napari_uld.detectors.specs.rescorer import RescorerSpec
from napari_uld.detectors.specs.system import FAMILIES, System
from napari_uld.detectors.specs.two_stage import StagesSpec, TwoStageSpec, TwoStageSupervision
from napari_uld.detectors.two_stage import TwoStageDetector

BRANCH_SIZE = 14
# A pyramid's coarsest level serves proposals alone.
POOLED_LEVELS = 4
# RetinaNet's deltas are in units of .2, as in the code base that its paper builds on; that they are of the centre and
# the logarithm of the size, not of the corners, is ours, as everywhere in this project.
RETINANET_WEIGHTS = (5.0, 5.0, 5.0, 5.0)


def build_detector(system: System) -> Detector:
    """Build the network that is described, randomly initialised."""
    build = FAMILIES[system.detector.family].build
    if isinstance(build, str):
        build = resolve_name(build)
    detector: Detector = build(system.detector, system.supervision, system.input)
    if system.rescorer is not None:
        detector.attach(_rescorer(system.rescorer, system.input))
    return detector


def build_two_stage(detector: TwoStageSpec, supervision: TwoStageSupervision, inputs: InputSpec) -> TwoStageDetector:
    """Build a two-stage network on a VGG or a ResNet pyramid."""
    encoder: SlabEncoder
    pool, pooled_channels = None, None
    if detector.backbone == "resnet_fpn":
        resnet = ResNet(
            in_channels=inputs.slices_per_image,
            blocks=detector.blocks,
            width=detector.width,
            stem_pool=detector.stem_pool,
            zero_init=detector.zero_init,
        )
        encoder = PyramidEncoder(resnet, _mask_rcnn_pyramid(resnet.out_channels, detector.pyramid_channels))
    else:
        vgg = Vgg(
            in_channels=inputs.slices_per_image,
            convolutions=detector.convolutions,
            width=detector.width,
            # There is none behind the last convolution.
            without_pools=(*detector.without_pools, 5),
            norm=detector.norm,
        )
        encoder = KeyImage(vgg)
    proposals = build_proposals(encoder, detector, supervision)
    if detector.fusion == "position_sensitive":
        # Behind the proposals, so that a seed draws the weights that it always drew.
        encoder = PositionSensitive(encoder.backbone, detector.fusion_channels, detector.roi_size)
        pool = PositionSensitiveRoiPool(detector.roi_size, encoder.strides[0])
        pooled_channels = detector.fusion_channels * inputs.images
    return TwoStageDetector(
        encoder=encoder,
        proposals=proposals,
        regions=build_regions(encoder, detector, supervision, pool=pool, pooled_channels=pooled_channels),
        slices_per_image=inputs.slices_per_image,
    )


def build_mulan(detector: MulanSpec, supervision: TwoStageSupervision, inputs: InputSpec) -> TwoStageDetector:
    """Build a two-stage network on a truncated DenseNet, its images fused as MULAN does."""
    backbone = DenseNet(in_channels=inputs.slices_per_image, blocks=detector.blocks, growth=detector.growth)
    encoder = Mulan(backbone, images=inputs.images, channels=detector.pyramid_channels)
    return _two_stage_on(encoder, detector, supervision, inputs)


def build_align_shift(
    detector: AlignShiftSpec, supervision: TwoStageSupervision, inputs: InputSpec
) -> TwoStageDetector:
    """Build a two-stage network on a truncated DenseNet of slices, channels shifted between them or fused."""
    backbone = (
        FusedDenseNet(slices=inputs.slices, blocks=detector.blocks, growth=detector.growth)
        if detector.shift == "learned"
        else ShiftedDenseNet(blocks=detector.blocks, growth=detector.growth)
    )
    encoder = AlignShift(backbone, slices=inputs.slices, channels=detector.pyramid_channels, shift=detector.shift)
    return _two_stage_on(encoder, detector, supervision, inputs)


def build_mvp(detector: MvpSpec, supervision: MvpSupervision, inputs: InputSpec) -> TwoStageDetector:
    """Build a two-stage network on a ResNet's pyramids of several windows, and its head for the position."""
    resnet = ResNet(
        in_channels=inputs.slices_per_image,
        blocks=detector.blocks,
        width=detector.width,
        stem_pool=detector.stem_pool,
    )
    pyramid = _mask_rcnn_pyramid(resnet.out_channels, detector.pyramid_channels)
    encoder = Windows(resnet, pyramid, images=inputs.images, reduction=detector.gate_reduction)
    first = len(inputs.windows) // 2 * inputs.images_per_window
    position = PositionHead(
        detector.pyramid_channels,
        detector.position_channels,
        images=range(first, first + inputs.images_per_window),
        loss=PositionLoss(
            supervision.body_parts, part_weight=supervision.part_weight, weight=supervision.position_weight
        ),
    )
    return _two_stage_on(encoder, detector, supervision, inputs, auxiliary={"position": position})


def _two_stage_on(
    encoder: SlabEncoder,
    detector: StagesSpec,
    supervision: TwoStageSupervision,
    inputs: InputSpec,
    auxiliary: dict[str, nn.Module] | None = None,
) -> TwoStageDetector:
    """Both stages, as every two-stage host has them, on an encoder."""
    return TwoStageDetector(
        encoder=encoder,
        proposals=build_proposals(encoder, detector, supervision),
        regions=build_regions(encoder, detector, supervision),
        slices_per_image=inputs.slices_per_image,
        auxiliary=auxiliary,
    )


def build_retinanet(detector: RetinaNetSpec, supervision: RetinaNetSupervision, inputs: InputSpec) -> OneStageDetector:
    """Build a RetinaNet, with a segmentation path where its supervision has masks."""
    backbone = Vgg(
        in_channels=inputs.slices_per_image,
        convolutions=detector.convolutions,
        width=detector.width,
        without_pools=detector.without_pools,
        norm=detector.norm,
    )
    channels, gated = detector.pyramid_channels, detector.attention_gates
    focal = {"alpha": supervision.focal_alpha, "gamma": supervision.focal_gamma}
    segmentation = None
    if supervision.mask_kind:
        segmentation = SegmentationPath(
            pyramid_channels=channels,
            c1_channels=backbone.out_channels[0],
            image_channels=inputs.slices_per_image,
            channels=detector.segmentation_channels,
            gated=gated,
            loss=PixelLoss(**focal, weight=supervision.segmentation_weight),
        )
    encoder = _retinanet_encoder(backbone, detector.finest_level, channels, gated)
    assigner = IouAssigner(positive=supervision.anchor_iou[0], negative=supervision.anchor_iou[1], forced=False)
    return OneStageDetector(
        encoder=encoder,
        head=AnchorHead(
            encoder.channels,
            channels=detector.head_channels,
            layers=detector.head_layers,
            tower_std=detector.tower_std,
            anchor_generator=_scaled_anchors(detector.anchor_sizes, detector.anchor_scales, detector.anchor_ratios),
            strides=encoder.strides,
            loss=AnchorLoss(assigner, BoxCoder(RETINANET_WEIGHTS), **focal),
            candidates=detector.candidates,
            score_threshold=detector.score_threshold,
            nms=detector.nms,
            detections=detector.detections,
        ),
        slices_per_image=inputs.slices_per_image,
        segmentation=segmentation,
        calibration=Calibration(detector.component_margin) if segmentation is not None else None,
        size_divisible=backbone.strides[-1],
    )


def _retinanet_encoder(backbone: Vgg, finest: int, channels: int, gated: bool) -> PyramidEncoder:
    """Five levels from `finest` on, the coarser ones by strides."""
    used = backbone.out_channels[finest - 1 :]
    pyramid = Pyramid(
        used, finest=finest, channels=channels, gated=gated, coarser=PYRAMID_LEVELS - len(used), strided=True
    )
    return PyramidEncoder(backbone, pyramid)


def _scaled_anchors(
    sizes: tuple[float, ...], scales: tuple[float, ...], ratios: tuple[float, ...]
) -> CentredAnchorGenerator:
    """One size on each level, at every scale and ratio."""
    by_level = tuple(tuple(size * scale for scale in scales) for size in sizes)
    return CentredAnchorGenerator(by_level, (ratios,) * len(sizes), rounded=False)


def _mask_rcnn_pyramid(channels: list[int], width: int) -> Pyramid:
    """P2 to P6, initialised as torchvision's pyramid is: by it, so that a seed draws the same weights."""
    with torch.random.fork_rng(devices=[]):
        pyramid = Pyramid(channels, finest=2, channels=width, gated=False, coarser=1, strided=False)
    drawn = FeaturePyramidNetwork(channels, width)
    projections = [*(skip.projection for skip in pyramid.skips), pyramid.top]
    for ours, theirs in zip([*projections, *pyramid.smooth], [*drawn.inner_blocks, *drawn.layer_blocks], strict=True):
        ours.load_state_dict(theirs[0].state_dict())
    return pyramid


def build_proposals(encoder: SlabEncoder, detector: StagesSpec, supervision: TwoStageSupervision) -> ProposalNetwork:
    """Build the first stage on an encoder: every two-stage host's."""
    levels = len(encoder.strides)
    sizes = tuple((size,) for size in detector.anchor_sizes) if levels > 1 else (detector.anchor_sizes,)
    anchors = CentredAnchorGenerator(sizes, (detector.anchor_ratios,) * levels)
    samples = supervision.rpn_samples
    bmc = BmcRegression(
        boundary=supervision.boundary,
        small_area=supervision.small_area,
        area_in_cells=supervision.area_unit == "cells",
        anchor_iou=supervision.anchor_iou,
        by_size=supervision.bmc_levels == "by_size",
    )
    objectness: dict[str, Objectness] = {
        "iou": IouObjectness(samples),
        "bm": BmObjectness(samples),
        "bmc": BmcObjectness(by_size=bmc.by_size),
    }
    regression: dict[str, Regression] = {"iou": IouRegression(samples), "bmc": bmc}
    return ProposalNetwork(
        anchors,
        ProposalHead(
            encoder.channels, detector.rpn_channels, anchors.num_anchors_per_location()[0], detector.rpn_kernel
        ),
        strides=encoder.strides,
        assigner=_assigner(*supervision.rpn_iou),
        objectness=objectness[supervision.objectness],
        regression=regression[supervision.regression],
        rules=_rules(supervision.objectness, supervision.rpn_iou[0], bmc),
        before_nms=detector.proposals_before_nms,
        after_nms=detector.proposals_after_nms,
        nms=detector.rpn_nms,
        min_size=detector.rpn_min_size,
    )


def _assigner(positive: float, negative: float) -> IouAssigner:
    return IouAssigner(positive=positive, negative=negative, forced=True)


def _rules(objectness: str, positive: float, bmc: BmcRegression) -> Rules:
    """The rules to look at: one that is not followed as published, at the supervision's other values."""
    published, negative = TwoStageSupervision().rpn_iou
    iou = positive if objectness == "iou" else published
    bm = positive if objectness == "bm" else BM_POSITIVE_IOU
    return Rules(_assigner(iou, min(negative, iou)), _assigner(bm, min(negative, bm)), bmc)


def build_regions(
    encoder: SlabEncoder,
    detector: StagesSpec,
    supervision: TwoStageSupervision,
    *,
    pool: nn.Module | None = None,
    pooled_channels: int | None = None,
) -> RoiStage:
    """Build the second stage on an encoder: every two-stage host's.

    Parameters
    ----------
    pool, pooled_channels
        Pools regions from each image of the encoder's context, and the channels of all of them; by default as the
        description says, from the key slice's features.
    """
    size, pooled = detector.roi_size, encoder.strides[:POOLED_LEVELS]
    if pool is None:
        pool = SingleLevelRoiPool(size, pooled[0]) if detector.roi_pool == "max" else PyramidRoiAlign(size, pooled)
    head = BoxHead(
        (pooled_channels or encoder.channels) * size**2,
        layers=detector.head_layers,
        channels=detector.head_channels,
        classes=len(detector.classes) + 1,
        dropout=detector.head_dropout,
    )
    branch = None
    if supervision.roi_branch != "none":
        matched = supervision.branch_map == "matched"
        branch = SegmentationBranch(
            encoder.channels,
            detector.branch_channels,
            classes=len(detector.classes),
            pool=PyramidRoiAlign(BRANCH_SIZE, pooled),
            loss=_mask_loss(supervision) if supervision.mask_kind else MapLoss(supervision.roi_branch, matched=matched),
        )
    return RoiStage(
        pool=pool,
        head=head,
        branch=branch,
        iou=supervision.roi_iou,
        samples=supervision.roi_samples,
        positive=supervision.roi_positive,
        box_weight=supervision.box_weight,
        box_stds=detector.box_stds,
        score_threshold=detector.score_threshold,
        nms=detector.nms,
        detections=detector.detections,
    )


def _mask_loss(supervision: TwoStageSupervision) -> MaskLoss:
    return DiceLoss() if supervision.mask_loss == "dice" else MaskLoss()


def _rescorer(spec: RescorerSpec, inputs: InputSpec) -> CropRescorer:
    return CropRescorer(
        inputs.slices_per_image,
        channels=spec.channels,
        convolutions=spec.convolutions,
        crop=spec.crop,
        context=spec.context,
        iou=spec.iou,
        samples=spec.samples,
    )


def parameter_count(model: Detector) -> int:
    """Trainable parameters of a model."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)
