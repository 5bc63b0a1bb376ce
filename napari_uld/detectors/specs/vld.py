"""The VLD family: lesions as bodies, found by their centres in volumes. Its defaults are the paper's."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from napari_uld.detectors.specs.base import Fraction
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec


class VldSpec(DetectorSpec):
    """A one-stage network on volumes: truncated DenseNet with its last block in pseudo 3D, and a head of centres."""

    family: Literal["vld"] = "vld"
    # Layers of the three dense blocks, and channels that each adds; DenseNet-121 without its fourth block.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt] = (6, 12, 24)
    growth: PositiveInt = 32
    # What 2D convolutions of the last block and the heads become.
    operator: Literal["i3d", "st3d", "acs"] = "acs"
    pyramid_channels: PositiveInt = 512
    head_channels: PositiveInt = 256
    # How a box is told from its centre: by its size, or by points on the lesion's surface.
    extent: Literal["size", "points"] = "points"
    points: PositiveInt = 16
    point_channels: PositiveInt = 128
    score_threshold: Fraction = 0.01
    detections: PositiveInt = 100
    classes: tuple[Literal["lesion"]] = ("lesion",)

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees volumes."""
        if not inputs.volume:
            raise ValueError("VLD sees volumes: input.volume must be true")
        if self.operator == "acs" and self.growth < LEAST_GROWTH:
            raise ValueError(f"of fewer than {LEAST_GROWTH} channels acs leaves none to a view: growth is too small")


# Below, a fifth of the channels is less than two views' one each.
LEAST_GROWTH = 16


class VldSupervision(SupervisionSpec):
    """What a VLD learns from: tight 3D boxes."""

    family: Literal["vld"] = "vld"
    boxes: Literal["tight"] = "tight"
    # Of the heat map's focal loss.
    alpha: float = Field(default=2.0, ge=0)
    beta: float = Field(default=4.0, ge=0)
    # Of sizes beside offsets, or of both losses of the points, beside the heat map's.
    extent_weight: PositiveFloat = 0.1
    # Of the triplet loss; none leaves it out: DRP instead of SPR.
    triplet_margin: PositiveFloat | Literal["none"] = 1.0
