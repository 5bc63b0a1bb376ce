"""What a detector is made of, as a validated description: no torch here.

The defaults are Faster R-CNN on three slices, as the 3DCE paper's code runs it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

# The class that detectors find, and the class that hard negatives are taught as.
LESION = "lesion"
FALSE_POSITIVE = "false_positive"
PYRAMID_LEVELS = 5

Fraction = Annotated[float, Field(ge=0, le=1)]


class Spec(BaseModel):
    """Base of all descriptions: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Spec):
    """How slices become a network's input: one image, or several that a fusion part joins."""

    slices: PositiveInt = 3
    slices_per_image: PositiveInt = 3
    interval_mm: PositiveFloat = 2.0
    window: tuple[float, float] = (-1024.0, 3071.0)
    mean: float = 50.0
    spacing_mm: PositiveFloat = 0.8
    long_side: PositiveInt = 512
    crop_to_body: bool = True

    @model_validator(mode="after")
    def _check(self) -> "InputSpec":
        if self.slices % 2 == 0:
            raise ValueError(f"slices must be odd (the key slice is the middle one); found {self.slices}")
        if self.slices % self.slices_per_image:
            raise ValueError(f"slices must be a multiple of slices_per_image; found {self.slices}")
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window must be (low, high) HU with low < high; found {self.window}")
        return self

    @property
    def images(self) -> int:
        """Images of a slab, the key slice in the middle one's middle."""
        return self.slices // self.slices_per_image

    @property
    def scale_to_512(self) -> float:
        """Factor from this input's pixels to those of a 512-pixel input: area thresholds are given for the latter."""
        return 512 / self.long_side


class DetectorSpec(Spec):
    """The network: backbone, slice fusion, proposals and RoI heads."""

    family: Literal["two_stage"] = "two_stage"
    backbone: Literal["vgg", "resnet_fpn"] = "vgg"
    pretrained: Literal["imagenet", "none"] = "imagenet"
    # VGG: convolutions in each of its groups, which poolings are left out, and its norm. ResNet always has batch norm.
    convolutions: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 3, 3, 3)
    without_pools: tuple[PositiveInt, ...] = (4,)
    norm: Literal["none", "batch"] = "none"
    # ResNet: bottleneck blocks in each of its stages, whether its stem pools, and the pyramid's channels.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 23, 3)
    stem_pool: bool = True
    pyramid_channels: PositiveInt = 256
    # Share of the published number of channels.
    width: PositiveFloat = 1.0
    # What a slab's other images tell: nothing (the key image alone), or 3DCE's position-sensitive maps.
    fusion: Literal["key_image", "position_sensitive"] = "key_image"
    fusion_channels: PositiveInt = 10
    # A one-level backbone has all sizes on every cell; a pyramid one size on each level, finest first.
    anchor_sizes: tuple[PositiveFloat, ...] = (16, 24, 32, 48, 96)
    anchor_ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    rpn_channels: PositiveInt = 256
    rpn_nms: Fraction = 0.7
    rpn_min_size: float = 8.0
    proposals_before_nms: tuple[PositiveInt, PositiveInt] = (12000, 6000)
    proposals_after_nms: tuple[PositiveInt, PositiveInt] = (2000, 300)
    roi_pool: Literal["max", "align"] = "max"
    roi_size: PositiveInt = 7
    head_layers: PositiveInt = 2
    head_channels: PositiveInt = 2048
    head_dropout: Fraction = 0.5
    branch_channels: PositiveInt = 256
    nms: Fraction = 0.3
    score_threshold: Fraction = 0.0
    detections: PositiveInt = 100
    classes: tuple[str, ...] = (LESION,)

    @model_validator(mode="after")
    def _check(self) -> "DetectorSpec":
        if self.backbone == "resnet_fpn" and len(self.anchor_sizes) != PYRAMID_LEVELS:
            raise ValueError(f"a pyramid needs one of anchor_sizes for each of its {PYRAMID_LEVELS} levels")
        if self.backbone == "resnet_fpn" and (self.roi_pool != "align" or self.fusion != "key_image"):
            raise ValueError("position-sensitive fusion and max pooling of regions work on one level, not on a pyramid")
        if not self.classes or self.classes[0] != LESION or set(self.classes[1:]) - {FALSE_POSITIVE}:
            raise ValueError(f"classes are {LESION!r}, and {FALSE_POSITIVE!r} where hard negatives are mined")
        return self


class SupervisionSpec(Spec):
    """What the network learns from: the parts of the bounding-map paper, each on its own switch."""

    objectness: Literal["iou", "bm", "bmc"] = "iou"
    regression: Literal["iou", "bmc"] = "iou"
    roi_branch: Literal["none", "bm", "abm", "ellipse", "grabcut"] = "none"
    rpn_iou: tuple[Fraction, Fraction] = (0.7, 0.3)
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
    # Eq. 12's area thresholds, px^2 of the padded box in a 512-pixel input.
    abm_areas: tuple[PositiveFloat, PositiveFloat] = (250.0, 1000.0)
    combine: Literal["sum", "max"] = "sum"

    @property
    def mask_kind(self) -> Literal["ellipse", "grabcut"] | None:
        """The pseudo mask that the RoI branch learns, None where it learns none."""
        return self.roi_branch if self.roi_branch in ("ellipse", "grabcut") else None
