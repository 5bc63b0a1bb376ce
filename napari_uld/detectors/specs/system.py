"""A whole system: what a network sees, what it is made of, and what it learns from. One table says what a family is."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from pydantic import BeforeValidator, SerializeAsAny, model_validator

from napari_uld.detectors.specs.align_shift import AlignShiftSpec
from napari_uld.detectors.specs.base import Spec
from napari_uld.detectors.specs.centres import (
    CenterNet3dSpec,
    CenterNetResNetSpec,
    CenterNetSpec,
    CentreSupervision,
    VolumeCentreSupervision,
)
from napari_uld.detectors.specs.deformable_detr import DeformableDetrSpec, DeformableDetrSupervision
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.mulan import MulanSpec
from napari_uld.detectors.specs.mvp import MvpSpec, MvpSupervision
from napari_uld.detectors.specs.one_stage import FcosSpec, FcosSupervision, RetinaNetSpec, RetinaNetSupervision
from napari_uld.detectors.specs.rescorer import RescorerSpec
from napari_uld.detectors.specs.two_stage import TwoStageSpec, TwoStageSupervision
from napari_uld.detectors.specs.vld import VldSpec, VldSupervision

if TYPE_CHECKING:
    from napari_uld.detectors.parts import Detector

# From the descriptions of one family (detector, supervision, input) to its network.
Builder = Callable[[Any, Any, InputSpec], "Detector"]


class Family(NamedTuple):
    """What a family of detectors is.

    Parameters
    ----------
    detector, supervision
        The schemas of its recipes' tables.
    build
        Makes its network, randomly initialised; or its name, "module:function", since reading a recipe needs no torch.
    """

    detector: type[DetectorSpec]
    supervision: type[SupervisionSpec]
    build: Builder | str


FAMILIES: dict[str, Family] = {
    "two_stage": Family(TwoStageSpec, TwoStageSupervision, "napari_uld.detectors.build:build_two_stage"),
    "retinanet": Family(RetinaNetSpec, RetinaNetSupervision, "napari_uld.detectors.build:build_retinanet"),
    "mulan": Family(MulanSpec, TwoStageSupervision, "napari_uld.detectors.build:build_mulan"),
    "align_shift": Family(AlignShiftSpec, TwoStageSupervision, "napari_uld.detectors.build:build_align_shift"),
    "mvp": Family(MvpSpec, MvpSupervision, "napari_uld.detectors.build:build_mvp"),
    "centernet": Family(CenterNetSpec, CentreSupervision, "napari_uld.detectors.build_centres:build_centernet"),
    "centernet_3d": Family(
        CenterNet3dSpec, VolumeCentreSupervision, "napari_uld.detectors.build_centres:build_centernet_3d"
    ),
    "vld": Family(VldSpec, VldSupervision, "napari_uld.detectors.build_centres:build_vld"),
    "fcos": Family(FcosSpec, FcosSupervision, "napari_uld.detectors.build_on_resnet:build_fcos"),
    "centernet_resnet": Family(
        CenterNetResNetSpec, CentreSupervision, "napari_uld.detectors.build_on_resnet:build_centernet_resnet"
    ),
    "deformable_detr": Family(
        DeformableDetrSpec,
        DeformableDetrSupervision,
        "napari_uld.detectors.build_on_resnet:build_deformable_detr",
    ),
}
DEFAULT_FAMILY = "two_stage"


def _family_of(table: dict[str, Any]) -> Family:
    name = table.get("family", DEFAULT_FAMILY)
    if not isinstance(name, str) or name not in FAMILIES:
        raise ValueError(f"there is no family {name!r}: give one of {', '.join(FAMILIES)}")
    return FAMILIES[name]


def _detector(value: Any) -> Any:
    return _family_of(value).detector.model_validate(value) if isinstance(value, dict) else value


def _supervision(value: Any) -> Any:
    return _family_of(value).supervision.model_validate(value) if isinstance(value, dict) else value


class System(Spec):
    """A detector, what it sees and what it learns from: they fit together."""

    input: InputSpec = InputSpec()
    detector: Annotated[SerializeAsAny[DetectorSpec], BeforeValidator(_detector)] = TwoStageSpec()
    supervision: Annotated[SerializeAsAny[SupervisionSpec], BeforeValidator(_supervision)] = TwoStageSupervision()
    # Trained by a recipe of its own, from a checkpoint of the detector.
    rescorer: RescorerSpec | None = None

    @model_validator(mode="before")
    @classmethod
    def _name_family(cls, data: Any) -> Any:
        """A detector's family is its supervision's too: it is written once, and not at all for two stages."""
        if not isinstance(data, dict):
            return data
        tables = {name: data.get(name, {}) for name in ("detector", "supervision")}
        detector = tables["detector"]
        if isinstance(detector, DetectorSpec):
            family = detector.family
        elif isinstance(detector, dict):
            family = detector.get("family", DEFAULT_FAMILY)
        else:
            return data
        return data | {name: {"family": family} | table for name, table in tables.items() if isinstance(table, dict)}

    @model_validator(mode="after")
    def _check_fit(self) -> "System":
        if self.supervision.family != self.detector.family:
            raise ValueError(f"the supervision is of the family {self.supervision.family}, not {self.detector.family}")
        if self.rescorer is not None and (self.input.volume or self.input.more_windows):
            raise ValueError("a rescorer looks at slabs in one window: input.volume and more_windows are not for it")
        if self.supervision.boxes == "tight" and (self.supervision.mask_kind or self.supervision.maps.names):
            raise ValueError(
                "pseudo masks and bounding maps are made of padded boxes: supervision.boxes must be padded"
            )
        self.detector.check_fit(self.input, self.supervision)
        return self


def system_of(recipe: dict[str, Any]) -> System:
    """The parts of a recipe, as a checkpoint keeps it, that make the network."""
    return System(**{name: recipe[name] for name in System.model_fields if name in recipe})
