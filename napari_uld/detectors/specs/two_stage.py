"""The two-stage family. Its defaults are Faster R-CNN on three slices, as the 3DCE paper's code runs it."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt, model_validator

from napari_uld.detectors.specs.base import (
    FALSE_POSITIVE,
    LESION,
    PYRAMID_LEVELS,
    Combine,
    Convolutions,
    Fraction,
    IouPair,
    MaskName,
    Pooling,
)
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec, TargetMaps, check_one_window
from napari_uld.detectors.specs.inputs import InputSpec

# Of a proposal's deltas (x, y, w, h), by which they are divided.
BoxStds = tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat]


class StagesSpec(DetectorSpec):
    """Both stages of a two-stage network, whatever encoder they stand on."""

    # On one level all sizes are on every cell; on a pyramid one size on each level, finest first.
    anchor_sizes: tuple[PositiveFloat, ...] = (16, 24, 32, 48, 96)
    anchor_ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    rpn_channels: PositiveInt = 256
    # Of the convolution before objectness and deltas: so many cells on a side.
    rpn_kernel: Literal[1, 3] = 3
    rpn_nms: Fraction = 0.7
    rpn_min_size: float = 8.0
    proposals_before_nms: tuple[PositiveInt, PositiveInt] = (12000, 6000)
    proposals_after_nms: tuple[PositiveInt, PositiveInt] = (2000, 300)
    roi_pool: Literal["max", "align"] = "max"
    roi_size: PositiveInt = 7
    head_layers: PositiveInt = 2
    head_channels: PositiveInt = 2048
    head_dropout: Fraction = 0.5
    # Standard deviations that the second stage counts its box deltas in.
    box_stds: BoxStds = (1.0, 1.0, 1.0, 1.0)
    branch_channels: PositiveInt = 256
    nms: Fraction = 0.3
    score_threshold: Fraction = 0.0
    detections: PositiveInt = 100

    @model_validator(mode="after")
    def _check_classes(self) -> "StagesSpec":
        if not self.classes or self.classes[0] != LESION or set(self.classes[1:]) - {FALSE_POSITIVE}:
            raise ValueError(f"classes are {LESION!r}, and {FALSE_POSITIVE!r} where hard negatives are mined")
        return self


def check_pyramid(anchor_sizes: tuple[float, ...]) -> None:
    """Check that a pyramid has one size of anchors for each of its levels.

    Raises
    ------
    ValueError
        If it has not.
    """
    if len(anchor_sizes) != PYRAMID_LEVELS:
        raise ValueError(f"a pyramid needs one of anchor_sizes for each of its {PYRAMID_LEVELS} levels")


class TwoStageSpec(StagesSpec):
    """A two-stage network on a VGG or a ResNet pyramid, which sees the key image alone or joins images as 3DCE does."""

    family: Literal["two_stage"] = "two_stage"
    backbone: Literal["vgg", "resnet_fpn"] = "vgg"
    # VGG: convolutions in each of its groups, which poolings are left out, and its norm. ResNet always has batch norm.
    convolutions: Convolutions = (2, 2, 3, 3, 3)
    without_pools: tuple[Pooling, ...] = (4,)
    norm: Literal["none", "batch"] = "none"
    # ResNet: bottleneck blocks in each of its stages, whether its stem pools, and the pyramid's channels.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 23, 3)
    stem_pool: bool = True
    # Whether each block's last norm begins at 0, so that it passes its input on: deep ones learn nothing else from
    # random weights.
    zero_init: bool = False
    pyramid_channels: PositiveInt = 256
    # Share of the published number of channels.
    width: PositiveFloat = 1.0
    # What a slab's other images tell: nothing (the key image alone), or 3DCE's position-sensitive maps.
    fusion: Literal["key_image", "position_sensitive"] = "key_image"
    fusion_channels: PositiveInt = 10

    @model_validator(mode="after")
    def _check_encoder(self) -> "TwoStageSpec":
        if self.backbone == "resnet_fpn":
            check_pyramid(self.anchor_sizes)
        if self.backbone == "resnet_fpn" and (self.roi_pool != "align" or self.fusion != "key_image"):
            raise ValueError("position-sensitive fusion and max pooling of regions work on one level, not on a pyramid")
        return self

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that there is an encoder for so many images."""
        check_one_window(inputs)
        if inputs.images > 1 and self.fusion == "key_image":
            raise ValueError("an input of several images needs a fusion part: fusion must be position_sensitive")


class TwoStageSupervision(SupervisionSpec):
    """What a two-stage network learns from: the parts of the bounding-map paper, each on its own switch."""

    family: str = "two_stage"
    objectness: Literal["iou", "bm", "bmc"] = "iou"
    regression: Literal["iou", "bmc"] = "iou"
    roi_branch: Literal["none", "bm", "abm", "ellipse", "grabcut"] = "none"
    # What a branch that learns masks is taught by.
    mask_loss: Literal["cross_entropy", "dice"] = "cross_entropy"
    rpn_iou: IouPair = (0.7, 0.3)
    rpn_samples: PositiveInt = 32
    roi_iou: Fraction = 0.5
    roi_samples: PositiveInt = 32
    roi_positive: Fraction = 0.25
    box_weight: PositiveFloat = 10.0
    # Eq. 8's boundary value B, its small-lesion rule's area and the unit that area is counted in.
    boundary: Fraction = 0.25
    small_area: PositiveFloat = 16.0
    area_unit: Literal["cells", "px"] = "cells"
    # Anchors that overlap their lesion less than this learn nothing; eq. 8 leaves out none.
    anchor_iou: Fraction = 0.0
    # The levels of a pyramid that a lesion's bounding map teaches: every one, as the papers' single level is, or the
    # one whose anchors are nearest to the lesion's size.
    bmc_levels: Literal["every", "by_size"] = "every"
    # Eq. 12's area thresholds, px^2 of .8 mm of the padded box.
    abm_areas: tuple[PositiveFloat, PositiveFloat] = (250.0, 1000.0)
    # Whose map a branch that learns BM or ABM sees in a proposal: all lesions', or its own lesion's alone.
    branch_map: Literal["all", "matched"] = "all"
    combine: Combine = "sum"

    @model_validator(mode="after")
    def _check_branch(self) -> "TwoStageSupervision":
        if self.mask_loss == "dice" and self.mask_kind is None:
            raise ValueError(
                f'mask_loss = "dice" needs roi_branch to be ellipse or grabcut, whose masks it compares; '
                f"found {self.roi_branch}"
            )
        return self

    @property
    def mask_kind(self) -> MaskName | None:
        """The pseudo mask that the RoI branch learns, None where it learns none."""
        return self.roi_branch if self.roi_branch in ("ellipse", "grabcut") else None

    @property
    def maps(self) -> TargetMaps:
        """The bounding maps that objectness, regression and the branch learn."""
        names = set()
        if self.objectness != "iou" or self.roi_branch == "bm":
            names.add("bm")
        if self.regression == "bmc" or (self.objectness == "bmc" and self.bmc_levels == "by_size"):
            names.add("lesion_bms")
        if self.roi_branch == "abm":
            names.add("abm")
        if self.branch_map == "matched" and self.roi_branch in ("bm", "abm"):
            names.add(f"lesion_{self.roi_branch}s")
        return TargetMaps(frozenset(names), self.combine, self.abm_areas)

    @property
    def takes_negatives(self) -> bool:
        """Both stages sample them first."""
        return True
