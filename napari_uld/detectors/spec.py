"""What a detector is made of, as a validated description: no torch here.

The defaults are Faster R-CNN on three slices, as the 3DCE paper's code runs it.
"""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

Fraction = Annotated[float, Field(ge=0, le=1)]


class Spec(BaseModel):
    """Base of all descriptions: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Spec):
    """How slices become a network's input."""

    slices: PositiveInt = 3
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
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window must be (low, high) HU with low < high; found {self.window}")
        return self

    @property
    def scale_to_512(self) -> float:
        """Factor from this input's pixels to those of a 512-pixel input: area thresholds are given for the latter."""
        return 512 / self.long_side


class DetectorSpec(Spec):
    """The network: backbone, proposals and RoI heads."""

    family: Literal["faster_rcnn"] = "faster_rcnn"
    backbone: Literal["vgg"] = "vgg"
    pretrained: Literal["imagenet", "none"] = "imagenet"
    # Convolutions in each of VGG's groups, share of its number of channels, and which poolings are left out.
    convolutions: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 3, 3, 3)
    width: PositiveFloat = 1.0
    without_pools: tuple[PositiveInt, ...] = (4,)
    norm: Literal["none", "batch"] = "none"
    anchor_sizes: tuple[PositiveFloat, ...] = (16, 24, 32, 48, 96)
    anchor_ratios: tuple[PositiveFloat, ...] = (0.5, 1.0, 2.0)
    rpn_channels: PositiveInt = 256
    rpn_nms: Fraction = 0.7
    rpn_min_size: float = 8.0
    proposals_before_nms: tuple[PositiveInt, PositiveInt] = (12000, 6000)
    proposals_after_nms: tuple[PositiveInt, PositiveInt] = (2000, 300)
    roi_size: PositiveInt = 7
    head_channels: PositiveInt = 2048
    head_dropout: Fraction = 0.5
    branch_channels: PositiveInt = 256
    nms: Fraction = 0.3
    score_threshold: Fraction = 0.0
    detections: PositiveInt = 100
    classes: tuple[str, ...] = ("lesion",)


class SupervisionSpec(Spec):
    """What the network learns from: the parts of the bounding-map paper, each on its own switch."""

    objectness: Literal["iou", "bmc"] = "iou"
    regression: Literal["iou", "bmc"] = "iou"
    roi_branch: Literal["none", "abm"] = "none"
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
    # Eq. 12's area thresholds, px^2 of the padded box in a 512-pixel input.
    abm_areas: tuple[PositiveFloat, PositiveFloat] = (250.0, 1000.0)
    combine: Literal["sum", "max"] = "sum"

    @property
    def needs_maps(self) -> bool:
        """Whether training targets carry bounding maps."""
        return "bmc" in (self.objectness, self.regression) or self.roi_branch != "none"
