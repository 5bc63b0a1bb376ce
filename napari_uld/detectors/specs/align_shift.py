"""AlignShift: two stages on a truncated DenseNet of neighbouring slices. Its defaults are those of released code."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from napari_uld.detectors.specs.base import Fraction
from napari_uld.detectors.specs.family import SupervisionSpec, check_one_window
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.two_stage import BoxStds, StagesSpec

# What slices give of the channels that they exchange: by how far apart they lie, all of them however far, or nothing.
# Or they give of every channel what is learnt, which is A3D.
Shift = Literal["by_distance", "whole", "none", "learned"]


class AlignShiftSpec(StagesSpec):
    """A two-stage network on one level of a truncated DenseNet's pyramid, whose slices exchange channels."""

    family: Literal["align_shift"] = "align_shift"
    shift: Shift = "by_distance"
    # Layers of the three dense blocks, and channels that each adds; DenseNet-121 without its fourth block.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt] = (6, 12, 24)
    growth: PositiveInt = 32
    pyramid_channels: PositiveInt = 512
    anchor_sizes: tuple[PositiveFloat, ...] = (16, 24, 32, 48, 96, 192)
    rpn_channels: PositiveInt = 512
    rpn_min_size: float = 0.0
    roi_pool: Literal["max", "align"] = "align"
    box_stds: BoxStds = (0.1, 0.1, 0.2, 0.2)
    head_dropout: Fraction = 0.0
    nms: Fraction = 0.5
    score_threshold: Fraction = 0.001
    detections: PositiveInt = 50

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees slices one by one, in one window."""
        check_one_window(inputs)
        if inputs.slices_per_image != 1:
            raise ValueError(
                f"this family shifts channels from slice to slice: slices_per_image must be 1, "
                f"found {inputs.slices_per_image}"
            )
