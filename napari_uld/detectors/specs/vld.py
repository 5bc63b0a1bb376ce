"""The VLD family: lesions as bodies, found by their centres in volumes. Its defaults are the paper's."""

from typing import Literal

from pydantic import PositiveFloat, PositiveInt

from napari_uld.detectors.specs.centres import Blocks, CentreSpec, VolumeCentreSupervision
from napari_uld.detectors.specs.family import SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec


class VldSpec(CentreSpec):
    """A one-stage network on volumes: truncated DenseNet with its last block in pseudo 3D, and a head of centres."""

    family: Literal["vld"] = "vld"
    blocks: Blocks = (6, 12, 24)
    # Channels that each layer of a block adds.
    growth: PositiveInt = 32
    # What 2D convolutions of the last block and the heads become.
    operator: Literal["i3d", "st3d", "acs"] = "acs"
    pyramid_channels: PositiveInt = 512
    # How a box is told from its centre: by its size, or by points on the lesion's surface.
    extent: Literal["size", "points"] = "points"
    points: PositiveInt = 16
    point_channels: PositiveInt = 128

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees volumes."""
        if not inputs.volume:
            raise ValueError("VLD sees volumes: input.volume must be true")
        if self.operator == "acs" and self.growth < LEAST_GROWTH:
            raise ValueError(f"of fewer than {LEAST_GROWTH} channels acs leaves none to a view: growth is too small")


# Below, a fifth of the channels is less than two views' one each.
LEAST_GROWTH = 16


class VldSupervision(VolumeCentreSupervision):
    """What a VLD learns from."""

    family: Literal["vld"] = "vld"
    # Of the triplet loss; none leaves it out: DRP instead of SPR.
    triplet_margin: PositiveFloat | Literal["none"] = 1.0
