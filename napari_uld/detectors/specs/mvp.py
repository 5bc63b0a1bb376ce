"""The MVP-Net family: two stages on the pyramids of several windows. Its defaults are those of released code."""

from itertools import pairwise
from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from napari_uld.detectors.specs.base import Fraction
from napari_uld.detectors.specs.family import SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.resnet import ResNetSpec
from napari_uld.detectors.specs.two_stage import BoxStds, StagesSpec, TwoStageSupervision, check_pyramid


class MvpSpec(StagesSpec, ResNetSpec):
    """A two-stage network on a ResNet's pyramid of every image of a slab, all gated together channel by channel."""

    family: Literal["mvp"] = "mvp"
    pyramid_channels: PositiveInt = 256
    # Of how many channels the gate makes one.
    gate_reduction: PositiveInt = 16
    # Channels of the head that tells where along the body a slab lies.
    position_channels: PositiveInt = 1024
    anchor_sizes: tuple[PositiveFloat, ...] = (16, 32, 64, 128, 256)
    rpn_kernel: Literal[1, 3] = 1
    rpn_min_size: float = 0.0
    proposals_before_nms: tuple[PositiveInt, PositiveInt] = (2000, 1000)
    proposals_after_nms: tuple[PositiveInt, PositiveInt] = (2000, 1000)
    roi_pool: Literal["align"] = "align"
    head_channels: PositiveInt = 1024
    head_dropout: Fraction = 0.0
    box_stds: BoxStds = (0.1, 0.1, 0.2, 0.2)
    nms: Fraction = 0.5
    score_threshold: Fraction = 0.05

    @model_validator(mode="after")
    def _check_levels(self) -> "MvpSpec":
        check_pyramid(self.anchor_sizes)
        return self

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees slabs."""
        if inputs.volume:
            raise ValueError("this family sees slabs of slices: volume is for others")


class MvpSupervision(TwoStageSupervision):
    """What a two-stage network learns from, and where along the body its slabs lie."""

    family: str = "mvp"
    box_weight: PositiveFloat = 1.0
    # Weights of the position's part of the body and of its coordinate, from 0 to 1; where the parts end.
    part_weight: float = Field(default=0.1, ge=0)
    position_weight: float = Field(default=1.0, ge=0)
    body_parts: tuple[Fraction, ...] = (0.58, 0.72)

    @model_validator(mode="after")
    def _check_parts(self) -> "MvpSupervision":
        if any(end >= later for end, later in pairwise(self.body_parts)):
            raise ValueError(
                f"body_parts are where the body's parts end, each beyond the last; found {self.body_parts}"
            )
        return self

    @property
    def takes_position(self) -> bool:
        """Its auxiliary head learns nothing else."""
        return True
