"""Families whose head guesses on every cell of a pyramid: RetinaNet and FCOS.

RetinaNet's defaults are the baseline of "Improving RetinaNet for CT lesion detection", FCOS's those of its own code.
"""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from napari_uld.detectors.specs.base import (
    PYRAMID_LEVELS,
    Convolutions,
    Fraction,
    IouPair,
    MaskName,
    Pooling,
)
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec, check_one_image
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.resnet import ResNetSpec


class GridSpec(DetectorSpec):
    """A pyramid of five levels, and two towers on each."""

    pyramid_channels: PositiveInt = 256
    head_layers: PositiveInt = 4
    head_channels: PositiveInt = 256
    candidates: PositiveInt = 1000
    nms: Fraction = 0.5
    score_threshold: Fraction = 0.05
    detections: PositiveInt = 300
    classes: tuple[Literal["lesion"]] = ("lesion",)


class RetinaNetSpec(GridSpec):
    """A one-stage network: VGG, feature pyramid, a classification and a regression tower; maybe a segmentation path."""

    family: Literal["retinanet"] = "retinanet"
    # VGG-19, a pooling after each group; C1 to C5 are the poolings' outputs.
    convolutions: Convolutions = (2, 2, 4, 4, 4)
    without_pools: tuple[Pooling, ...] = ()
    norm: Literal["none", "batch"] = "none"
    width: PositiveFloat = 1.0
    # The finest level with anchors; there are five.
    finest_level: Literal[2, 3] = 3
    # One size for each level, finest first; every scale and every ratio (height / width) of it on each cell.
    anchor_sizes: tuple[PositiveFloat, ...] = (32, 64, 128, 256, 512)
    anchor_scales: tuple[PositiveFloat, ...] = Field(default=(1.0, 2 ** (1 / 3), 2 ** (2 / 3)), min_length=1)
    anchor_ratios: tuple[PositiveFloat, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    # Standard deviation of the towers' initial weights, or He's: .01 leaves hardly a signal behind a narrow one.
    tower_std: PositiveFloat | Literal["kaiming"] = "kaiming"
    # Channels of the segmentation path, at P1 and at full resolution.
    segmentation_channels: PositiveInt = 32
    attention_gates: bool = False
    # p~ = p (1 + IoU) with the box about the predicted component, as much wider as annotated boxes are (input pixels).
    component_margin: float = Field(default=5.0, ge=0)

    @model_validator(mode="after")
    def _check(self) -> "RetinaNetSpec":
        if len(self.anchor_sizes) != PYRAMID_LEVELS:
            raise ValueError(f"a pyramid needs one of anchor_sizes for each of its {PYRAMID_LEVELS} levels")
        return self

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees one image, and that a segmentation path has a P2 to begin at."""
        check_one_image(inputs)
        if supervision.mask_kind and self.finest_level != 2:
            raise ValueError("a segmentation path begins at P2: finest_level must be 2")


class FocalSupervision(SupervisionSpec):
    """Guesses that learn by focal loss."""

    focal_alpha: Fraction = 0.25
    focal_gamma: float = Field(default=2.0, ge=0)


class RetinaNetSupervision(FocalSupervision):
    """What a RetinaNet learns from: boxes by focal loss, and dense masks where there is a segmentation path."""

    family: Literal["retinanet"] = "retinanet"
    # The pseudo mask that the segmentation path learns; without one there is no path.
    segmentation: Literal["none", "ellipse", "grabcut"] = "none"
    # An anchor is positive from the first IoU on, and negative below the second.
    anchor_iou: IouPair = (0.5, 0.4)
    segmentation_weight: PositiveFloat = 1.0

    @property
    def mask_kind(self) -> MaskName | None:
        """The pseudo mask that the segmentation path learns, None where there is none."""
        return None if self.segmentation == "none" else self.segmentation


class FcosSpec(GridSpec, ResNetSpec):
    """A one-stage network without anchors: ResNet, P2 to P6, and towers that tell distances to a lesion's sides."""

    family: Literal["fcos"] = "fcos"
    nms: Fraction = 0.6
    detections: PositiveInt = 100

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees one image."""
        check_one_image(inputs)


class FcosSupervision(FocalSupervision):
    """What an FCOS learns from."""

    family: Literal["fcos"] = "fcos"
    # Between one level and the next: how far (px) the farthest side may be from a cell's centre. Half the paper's, as
    # P2 to P6 have half the strides of its P3 to P7.
    limits: tuple[PositiveFloat, PositiveFloat, PositiveFloat, PositiveFloat] = (32, 64, 128, 256)

    @model_validator(mode="after")
    def _check(self) -> "FcosSupervision":
        if list(self.limits) != sorted(self.limits):
            raise ValueError(f"coarser levels are for larger lesions: limits must rise; found {self.limits}")
        return self
