"""What a whole system may be: parts of one family that fit together."""

import subprocess
import sys
from typing import Any, Literal

import pytest
from pydantic import PositiveInt, ValidationError
from torch import nn

from napari_uld.detectors.build import build_detector
from napari_uld.detectors.specs.family import DetectorSpec, SupervisionSpec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.one_stage import RetinaNetSupervision
from napari_uld.detectors.specs.system import FAMILIES, Family, System, system_of
from napari_uld.detectors.specs.two_stage import TwoStageSpec, TwoStageSupervision


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"detector": {"family": "yolo"}}, "there is no family 'yolo': give one of two_stage, retinanet"),
        ({"supervision": {"family": "yolo"}}, "there is no family 'yolo': give one of two_stage, retinanet"),
        ({"detector": {"family": "retinanet"}, "supervision": {"objectness": "bmc"}}, "objectness\n  Extra inputs"),
        ({"detector": {"family": "retinanet"}, "supervision": {"segmentation": "ellipse"}}, "must be 2"),
        ({"detector": {"family": "retinanet"}, "input": {"slices": 9}}, "as large as slices"),
        ({"detector": "vgg"}, "detector"),
        ({"detector": None}, "detector"),
        ({"input": {"slices": 9}}, "needs a fusion part"),
        ({"detector": {"family": "align_shift"}}, "slices_per_image must be 1, found 3"),
        (
            {"detector": {"family": "mvp"}, "input": {"volume": True, "slices_per_image": 1}},
            "this family sees slabs of slices: volume is for others",
        ),
        ({"detector": {"family": "mvp", "anchor_sizes": (16, 32)}}, "one of anchor_sizes for each of its 5 levels"),
        (
            {"detector": {"family": "mvp"}, "supervision": {"body_parts": (0.7, 0.5)}},
            r"each beyond the last; found \(0.7, 0.5\)",
        ),
        ({"detector": {"family": "mvp", "roi_pool": "max"}}, "roi_pool\n  Input should be 'align'"),
        ({"supervision": {"mask_loss": "dice"}}, 'mask_loss = "dice" needs roi_branch'),
        ({"detector": {"family": "centernet_3d"}}, "a 3D U-Net sees volumes: input.volume must be true"),
        ({"detector": {"family": "centernet", "extent": "points"}}, "extent\n  Extra inputs"),
        ({"supervision": {"boxes": "tight", "roi_branch": "ellipse"}}, "supervision.boxes must be padded"),
        ({"supervision": {"boxes": "tight", "objectness": "bmc"}}, "supervision.boxes must be padded"),
        (
            {"detector": TwoStageSpec(), "supervision": RetinaNetSupervision(family="retinanet")},
            "of the family retinanet, not two_stage",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        System(**values)


@pytest.mark.parametrize("family", ["two_stage", "retinanet", "centernet"])
@pytest.mark.parametrize(
    "inputs",
    [{"more_windows": [(-1350.0, 150.0)]}, {"volume": True, "slices_per_image": 1}],
    ids=["two windows", "a volume"],
)
def test_no_family_of_slabs_takes_several_windows_or_a_volume(family: str, inputs: dict[str, Any]) -> None:
    detector = {"family": family} | ({"fusion": "position_sensitive"} if family == "two_stage" else {})
    with pytest.raises(ValidationError, match="one window of slices"):
        System(detector=detector, input=inputs)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        ({"detector": {"width": 0}}, ("detector", "width")),
        ({"detector": {"colour": "red"}}, ("detector", "colour")),
        ({"detector": {"family": "retinanet", "colour": "red"}}, ("detector", "colour")),
        ({"supervision": {"rpn_samples": -1}}, ("supervision", "rpn_samples")),
        ({"input": {"window": ("a", 3)}}, ("input", "window", 0)),
    ],
)
def test_the_place_of_what_is_wrong_is_named(values: dict[str, Any], place: tuple[str | int, ...]) -> None:
    with pytest.raises(ValidationError) as refused:
        System(**values)
    assert [error["loc"] for error in refused.value.errors()] == [place]


def test_the_family_is_written_once_and_not_at_all_for_two_stages() -> None:
    assert System() == System(detector={}, supervision={"objectness": "bmc"}).model_copy(
        update={"supervision": TwoStageSupervision()}
    )
    dense = System(detector={"family": "retinanet", "finest_level": 2}, supervision={"segmentation": "grabcut"})
    assert isinstance(dense.supervision, RetinaNetSupervision)
    assert dense.supervision.mask_kind == "grabcut"


def test_a_system_comes_back_from_a_checkpoints_recipe_and_one_without_families_is_a_two_stage_one() -> None:
    dense = System(detector={"family": "retinanet", "finest_level": 2}, supervision={"segmentation": "grabcut"})
    assert system_of(dense.model_dump(mode="json") | {"method": {"name": "x"}}) == dense
    older = System().model_dump(mode="json")
    del older["supervision"]["family"]
    assert system_of(older) == System()


class StarSpec(DetectorSpec):
    """A family that nobody knows yet."""

    family: Literal["star"] = "star"
    points: PositiveInt = 5

    def check_fit(self, inputs: InputSpec, supervision: SupervisionSpec) -> None:
        if inputs.slices < self.points:
            raise ValueError("a star needs a slice for each of its points")


class StarSupervision(SupervisionSpec):
    family: Literal["star"] = "star"
    brightness: float = 1.0


class Star(nn.Module):
    def __init__(self, detector: StarSpec, supervision: StarSupervision, inputs: InputSpec) -> None:
        super().__init__()
        self.said = (detector.points, supervision.brightness, inputs.slices)


@pytest.fixture
def _star(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(FAMILIES, "star", Family(StarSpec, StarSupervision, Star))


@pytest.mark.usefixtures("_star")
def test_a_family_is_one_entry_in_the_table_and_then_is_read_written_and_built_like_any_other() -> None:
    system = System(detector={"family": "star", "points": 7}, supervision={"brightness": 3}, input={"slices": 9})
    assert isinstance(system.detector, StarSpec)
    assert isinstance(system.supervision, StarSupervision)
    dumped = system.model_dump(mode="json")
    assert dumped["detector"]["points"] == 7
    assert dumped["supervision"] == {"family": "star", "brightness": 3, "boxes": "padded"}
    assert system_of(dumped) == system
    built = build_detector(system)
    assert isinstance(built, Star)
    assert built.said == (7, 3, 9)


@pytest.mark.usefixtures("_star")
def test_a_new_familys_keys_and_its_fit_are_checked_and_it_is_among_those_there_are() -> None:
    for values, sentence in (
        ({"detector": {"family": "star", "width": 1.0}, "input": {"slices": 9}}, "detector.width\n  Extra"),
        ({"detector": {"family": "star"}}, "a slice for each of its points"),
        (
            {"detector": {"family": "yolo"}},
            f"one of {', '.join(FAMILIES)}",
        ),
    ):
        with pytest.raises(ValidationError, match=sentence):
            System(**values)


def test_a_recipe_is_read_without_torch() -> None:
    code = (
        "import sys; from napari_uld.detectors.specs.recipe import load_recipe;"
        "load_recipe('retinanet_dense_ag'); print('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
