"""What a detector is made of, as a validated description: no torch here.

The defaults of the two-stage family are Faster R-CNN on three slices, as the 3DCE paper's code runs it;
those of the RetinaNet family the baseline of "Improving RetinaNet for CT lesion detection with dense masks".
"""

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PositiveFloat, PositiveInt, model_validator

# The class that detectors find, and the class that hard negatives are taught as.
LESION = "lesion"
FALSE_POSITIVE = "false_positive"
PYRAMID_LEVELS = 5
FAMILIES = ("two_stage", "retinanet")

Fraction = Annotated[float, Field(ge=0, le=1)]


def _check_order(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] < pair[1]:
        raise ValueError(f"the IoU of positive anchors must be at least that of negative ones; found {pair}")
    return pair


# IoUs from which an anchor is positive, and below which it is negative.
IouPair = Annotated[tuple[Fraction, Fraction], AfterValidator(_check_order)]
# One of VGG's poolings.
Pooling = Annotated[int, Field(ge=1, le=5)]


class Spec(BaseModel):
    """Base of all descriptions: frozen, and a key nobody knows is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class InputSpec(Spec):
    """How slices become a network's input: one image, or several that a fusion part joins."""

    slices: PositiveInt = 3
    slices_per_image: PositiveInt = 3
    interval_mm: PositiveFloat = 2.0
    # The window becomes [0, value_range], and the mean is subtracted.
    window: tuple[float, float] = (-1024.0, 3071.0)
    value_range: PositiveFloat = 255.0
    mean: float = 50.0
    # Millimetres of a pixel; 0 makes the long side `long_side` pixels whatever they measure.
    spacing_mm: float = Field(default=0.8, ge=0)
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


class TwoStageSpec(Spec):
    """A two-stage network: backbone, slice fusion, proposals and RoI heads."""

    family: Literal["two_stage"] = "two_stage"
    backbone: Literal["vgg", "resnet_fpn"] = "vgg"
    pretrained: Literal["imagenet", "none"] = "imagenet"
    # VGG: convolutions in each of its groups, which poolings are left out, and its norm. ResNet always has batch norm.
    convolutions: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 3, 3, 3)
    without_pools: tuple[Pooling, ...] = (4,)
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
    def _check(self) -> "TwoStageSpec":
        if self.backbone == "resnet_fpn" and len(self.anchor_sizes) != PYRAMID_LEVELS:
            raise ValueError(f"a pyramid needs one of anchor_sizes for each of its {PYRAMID_LEVELS} levels")
        if self.backbone == "resnet_fpn" and (self.roi_pool != "align" or self.fusion != "key_image"):
            raise ValueError("position-sensitive fusion and max pooling of regions work on one level, not on a pyramid")
        if not self.classes or self.classes[0] != LESION or set(self.classes[1:]) - {FALSE_POSITIVE}:
            raise ValueError(f"classes are {LESION!r}, and {FALSE_POSITIVE!r} where hard negatives are mined")
        return self


class RetinaNetSpec(Spec):
    """A one-stage network: VGG, feature pyramid, a classification and a regression tower; maybe a segmentation path."""

    family: Literal["retinanet"]
    pretrained: Literal["imagenet", "none"] = "imagenet"
    # VGG-19, a pooling after each group; C1 to C5 are the poolings' outputs.
    convolutions: tuple[PositiveInt, PositiveInt, PositiveInt, PositiveInt, PositiveInt] = (2, 2, 4, 4, 4)
    without_pools: tuple[Pooling, ...] = ()
    norm: Literal["none", "batch"] = "none"
    width: PositiveFloat = 1.0
    pyramid_channels: PositiveInt = 256
    # The finest level with anchors; there are five.
    finest_level: Literal[2, 3] = 3
    # One size for each level, finest first; every scale and every ratio (height / width) of it on each cell.
    anchor_sizes: tuple[PositiveFloat, ...] = (32, 64, 128, 256, 512)
    anchor_scales: tuple[PositiveFloat, ...] = Field(default=(1.0, 2 ** (1 / 3), 2 ** (2 / 3)), min_length=1)
    anchor_ratios: tuple[PositiveFloat, ...] = Field(default=(0.5, 1.0, 2.0), min_length=1)
    head_layers: PositiveInt = 4
    head_channels: PositiveInt = 256
    # Channels of the segmentation path, at P1 and at full resolution.
    segmentation_channels: PositiveInt = 32
    attention_gates: bool = False
    # p~ = p (1 + IoU) with the box about the predicted component, as much wider as annotated boxes are (input pixels).
    component_margin: float = Field(default=5.0, ge=0)
    candidates: PositiveInt = 1000
    nms: Fraction = 0.5
    score_threshold: Fraction = 0.05
    detections: PositiveInt = 300
    classes: tuple[Literal["lesion"]] = ("lesion",)

    @model_validator(mode="after")
    def _check(self) -> "RetinaNetSpec":
        if len(self.anchor_sizes) != PYRAMID_LEVELS:
            raise ValueError(f"a pyramid needs one of anchor_sizes for each of its {PYRAMID_LEVELS} levels")
        return self


class TwoStageSupervision(Spec):
    """What a two-stage network learns from: the parts of the bounding-map paper, each on its own switch."""

    family: Literal["two_stage"] = "two_stage"
    objectness: Literal["iou", "bm", "bmc"] = "iou"
    regression: Literal["iou", "bmc"] = "iou"
    roi_branch: Literal["none", "bm", "abm", "ellipse", "grabcut"] = "none"
    rpn_iou: IouPair = (0.7, 0.3)
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


class RetinaNetSupervision(Spec):
    """What a RetinaNet learns from: boxes by focal loss, and dense masks where there is a segmentation path."""

    family: Literal["retinanet"]
    # The pseudo mask that the segmentation path learns; without one there is no path.
    segmentation: Literal["none", "ellipse", "grabcut"] = "none"
    # An anchor is positive from the first IoU on, and negative below the second.
    anchor_iou: IouPair = (0.5, 0.4)
    focal_alpha: Fraction = 0.25
    focal_gamma: float = Field(default=2.0, ge=0)
    segmentation_weight: PositiveFloat = 1.0

    @property
    def mask_kind(self) -> Literal["ellipse", "grabcut"] | None:
        """The pseudo mask that the segmentation path learns, None where there is none."""
        return None if self.segmentation == "none" else self.segmentation


DetectorSpec = Annotated[TwoStageSpec | RetinaNetSpec, Field(discriminator="family")]
SupervisionSpec = Annotated[TwoStageSupervision | RetinaNetSupervision, Field(discriminator="family")]


class System(Spec):
    """A detector, what it sees and what it learns from: they fit together."""

    input: InputSpec = InputSpec()
    detector: DetectorSpec = TwoStageSpec()
    supervision: SupervisionSpec = TwoStageSupervision()

    @model_validator(mode="before")
    @classmethod
    def _family(cls, data: Any) -> Any:
        """A detector's family is its supervision's too: it is written once, and not at all for two stages."""
        if not isinstance(data, dict):
            return data
        tables = {name: data.get(name, {}) for name in ("detector", "supervision")}
        detector = tables["detector"]
        if isinstance(detector, Spec):
            family = getattr(detector, "family", "")
        elif isinstance(detector, dict):
            family = detector.get("family", "two_stage")
        else:
            return data
        named = {name: {"family": family} | table for name, table in tables.items() if isinstance(table, dict)}
        return data | named

    @model_validator(mode="after")
    def _check_parts(self) -> "System":
        if self.supervision.family != self.detector.family:
            raise ValueError(f"the supervision is of the family {self.supervision.family}, not {self.detector.family}")
        if self.input.images > 1 and isinstance(self.detector, RetinaNetSpec):
            raise ValueError("a RetinaNet sees one image: slices_per_image must be as large as slices")
        if self.input.images > 1 and isinstance(self.detector, TwoStageSpec) and self.detector.fusion == "key_image":
            raise ValueError("an input of several images needs a fusion part: fusion must be position_sensitive")
        if self.supervision.mask_kind and isinstance(self.detector, RetinaNetSpec) and self.detector.finest_level != 2:
            raise ValueError("a segmentation path begins at P2: finest_level must be 2")
        return self


def system_of(recipe: dict[str, Any]) -> System:
    """The parts of a recipe, as a checkpoint keeps it, that make the network."""
    return System(**{name: recipe[name] for name in System.model_fields})
