"""The MULAN family: two stages on a truncated DenseNet whose images meet twice. Its defaults are the paper's."""

from typing import Literal

from pydantic import PositiveInt

from napari_uld.detectors.specs.base import Fraction
from napari_uld.detectors.specs.family import SupervisionSpec, check_one_window
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.two_stage import StagesSpec


class MulanSpec(StagesSpec):
    """A two-stage network on one level of a truncated DenseNet's pyramid, fused of a slab's images."""

    family: Literal["mulan"] = "mulan"
    # Layers of the three dense blocks, and channels that each adds; DenseNet-121 without its fourth block.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt] = (6, 12, 24)
    growth: PositiveInt = 32
    pyramid_channels: PositiveInt = 512
    roi_pool: Literal["max", "align"] = "align"
    head_dropout: Fraction = 0.0
    nms: Fraction = 0.5
    score_threshold: Fraction = 0.05
    detections: PositiveInt = 50

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that its images are in one window."""
        check_one_window(inputs)
