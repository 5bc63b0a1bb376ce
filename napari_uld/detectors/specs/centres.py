"""Families that find lesions by their centres: what they share, and those of "Objects as Points".

The numbers are those of "Deep Volumetric Universal Lesion Detection".
"""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt

from napari_uld.detectors.specs.base import Fraction
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec, check_one_image, check_one_window
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.resnet import ResNetSpec

# Layers of the three dense blocks of a truncated DenseNet.
Blocks = tuple[PositiveInt, PositiveInt, PositiveInt]


class CentreSpec(DetectorSpec):
    """A head of centres, whatever it stands on."""

    head_channels: PositiveInt = 256
    score_threshold: Fraction = 0.01
    detections: PositiveInt = 100
    classes: tuple[Literal["lesion"]] = ("lesion",)


class CentreSupervision(SupervisionSpec):
    """What a head of centres learns from."""

    family: str = "centernet"
    # Of the heat map's focal loss.
    alpha: float = Field(default=2.0, ge=0)
    beta: float = Field(default=4.0, ge=0)
    # Of sizes beside offsets, or of both losses of points, beside the heat map's.
    extent_weight: PositiveFloat = 0.1

    @property
    def takes_negatives(self) -> bool:
        """Its heat map falls below 0 about them."""
        return True


class CenterNetSpec(CentreSpec):
    """A one-stage network on a truncated DenseNet, which sees one image or joins several as MULAN does."""

    family: Literal["centernet"] = "centernet"
    blocks: Blocks = (6, 12, 24)
    # Channels that each layer of a block adds.
    growth: PositiveInt = 32
    pyramid_channels: PositiveInt = 512

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that its images are in one window."""
        check_one_window(inputs)


class CenterNetResNetSpec(CentreSpec, ResNetSpec):
    """A one-stage network on a ResNet whose last stage goes up by transposed convolutions: that of the paper's code."""

    family: Literal["centernet_resnet"] = "centernet_resnet"
    # The larger of the two that the paper has.
    blocks: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (3, 4, 23, 3)
    # Of each of the three.
    up_channels: PositiveInt = 256
    head_channels: PositiveInt = 64

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees one image."""
        check_one_image(inputs)


class CenterNet3dSpec(CentreSpec):
    """A one-stage network of volumes on a shallow 3D U-Net."""

    family: Literal["centernet_3d"] = "centernet_3d"
    pretrained: Literal["none"] = "none"
    # Channels of each level, finest first.
    widths: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (32, 64, 128, 256, 320)

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees volumes."""
        if not inputs.volume:
            raise ValueError("a 3D U-Net sees volumes: input.volume must be true")


class VolumeCentreSupervision(CentreSupervision):
    """The same of volumes: tight 3D boxes."""

    family: str = "centernet_3d"
    boxes: Literal["tight"] = "tight"
