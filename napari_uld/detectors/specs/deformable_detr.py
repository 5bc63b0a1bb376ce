"""The Deformable DETR family: its defaults are the paper's plain row."""

from typing import Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from napari_uld.detectors.specs.base import Fraction
from napari_uld.detectors.specs.family import SupervisionSpec, check_one_image
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.one_stage import FocalSupervision
from napari_uld.detectors.specs.resnet import ResNetSpec

# C3 to C5.
STAGES = 3


class DeformableDetrSpec(ResNetSpec):
    """Queries that ask a ResNet's features through a transformer with deformable attention."""

    family: Literal["deformable_detr"] = "deformable_detr"
    queries: PositiveInt = 300
    channels: PositiveInt = 256
    # Feature levels: C3 to C5, and coarser ones of C5.
    levels: int = Field(default=4, ge=STAGES)
    # Of the encoder, and of the decoder.
    layers: tuple[PositiveInt, PositiveInt] = (6, 6)
    heads: PositiveInt = 8
    # Places that a head looks at on each level.
    points: PositiveInt = 4
    feed_channels: PositiveInt = 1024
    dropout: Fraction = 0.1
    # Norms of the levels divide their channels into so many groups.
    groups: PositiveInt = 32
    # Ours: a query that says nothing is no detection.
    score_threshold: Fraction = 0.01
    detections: PositiveInt = 100
    classes: tuple[Literal["lesion"]] = ("lesion",)

    @model_validator(mode="after")
    def _check(self) -> "DeformableDetrSpec":
        for name, parts in (("heads", self.heads), ("groups", self.groups), ("a position's sines and cosines", 4)):
            if self.channels % parts:
                raise ValueError(f"{name} divide the channels: {self.channels} is no multiple of {parts}")
        return self

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        """Check that it sees one image."""
        check_one_image(inputs)


class DeformableDetrSupervision(FocalSupervision):
    """What a Deformable DETR learns from; weights are those of costs and losses both."""

    family: Literal["deformable_detr"] = "deformable_detr"
    classification_weight: PositiveFloat = 2.0
    boxes_weight: PositiveFloat = 5.0
    overlap_weight: PositiveFloat = 2.0
