"""What a detector may be made of, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from napari_uld.detectors.specs.base import Spec
from napari_uld.detectors.specs.inputs import InputSpec
from napari_uld.detectors.specs.one_stage import RetinaNetSpec, RetinaNetSupervision
from napari_uld.detectors.specs.system import System, system_of
from napari_uld.detectors.specs.two_stage import TwoStageSpec, TwoStageSupervision

PYRAMID: dict[str, Any] = {"backbone": "resnet_fpn", "anchor_sizes": (16, 32, 64, 128, 256), "roi_pool": "align"}


def test_the_published_scale_is_the_defaults() -> None:
    spec = TwoStageSpec()
    assert spec.anchor_sizes == (16, 24, 32, 48, 96)
    assert (spec.rpn_channels, spec.head_channels, spec.head_dropout, spec.nms) == (256, 2048, 0.5, 0.3)
    assert spec.proposals_before_nms == (12000, 6000)
    assert spec.proposals_after_nms == (2000, 300)


@pytest.mark.parametrize(
    ("schema", "values", "sentence"),
    [
        (InputSpec, {"slices": 4}, "odd"),
        (InputSpec, {"slices": 9, "slices_per_image": 5}, "multiple of slices_per_image"),
        (InputSpec, {"window": (100, 100)}, "low < high"),
        (TwoStageSpec, PYRAMID | {"anchor_sizes": (16, 32, 64, 128)}, "5 levels"),
        (TwoStageSpec, PYRAMID | {"roi_pool": "max"}, "not on a pyramid"),
        (TwoStageSpec, PYRAMID | {"fusion": "position_sensitive"}, "not on a pyramid"),
        (TwoStageSpec, {"classes": ()}, "classes are 'lesion'"),
        (TwoStageSpec, {"classes": ("false_positive", "lesion")}, "classes are 'lesion'"),
        (TwoStageSpec, {"classes": ("lesion", "cyst")}, "'false_positive' where hard negatives are mined"),
        (TwoStageSpec, {"nms": 1.5}, "less than or equal to 1"),
        (TwoStageSpec, {"colour": "red"}, "Extra inputs"),
        (TwoStageSupervision, {"objectness": "abm"}, "'iou', 'bm' or 'bmc'"),
        (TwoStageSupervision, {"regression": "bm"}, "'iou' or 'bmc'"),
        (TwoStageSupervision, {"anchor_iou": -0.1}, "greater than or equal to 0"),
        (RetinaNetSpec, {"family": "retinanet", "anchor_sizes": (32,)}, "5 levels"),
        (RetinaNetSpec, {"family": "retinanet", "finest_level": 4}, "2 or 3"),
        (RetinaNetSpec, {"family": "retinanet", "classes": ("lesion", "false_positive")}, "at most 1 item"),
        (System, {"detector": {"family": "yolo"}}, "'two_stage', 'retinanet'"),
        (
            System,
            {"detector": {"family": "retinanet"}, "supervision": {"objectness": "bmc"}},
            "objectness\n  Extra inputs",
        ),
        (System, {"detector": {"family": "retinanet"}, "supervision": {"segmentation": "ellipse"}}, "must be 2"),
        (System, {"detector": {"family": "retinanet"}, "input": {"slices": 9}}, "as large as slices"),
        (System, {"detector": "vgg"}, "detector"),
        (System, {"detector": None}, "detector"),
        (RetinaNetSupervision, {"family": "retinanet", "anchor_iou": (0.3, 0.5)}, "at least that of negative"),
        (TwoStageSupervision, {"rpn_iou": (0.3, 0.7)}, "at least that of negative"),
        (RetinaNetSpec, {"family": "retinanet", "anchor_scales": ()}, "at least 1 item"),
        (RetinaNetSpec, {"family": "retinanet", "without_pools": (9,)}, "less than or equal to 5"),
        (System, {"input": {"slices": 9}}, "needs a fusion part"),
        (
            System,
            {"detector": TwoStageSpec(), "supervision": RetinaNetSupervision(family="retinanet")},
            "of the family retinanet, not two_stage",
        ),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(
    schema: type[Spec], values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        schema(**values)


def test_a_pyramid_and_hard_negatives_can_be_described() -> None:
    assert TwoStageSpec(**PYRAMID, classes=("lesion", "false_positive")).classes[1] == "false_positive"


def test_slices_are_shared_out_among_images_and_areas_are_brought_to_512_px() -> None:
    spec = InputSpec(slices=27, long_side=256)
    assert spec.images == 9
    assert spec.scale_to_512 == 2


@pytest.mark.parametrize(
    ("branch", "mask"), [("none", None), ("bm", None), ("abm", None), ("ellipse", "ellipse"), ("grabcut", "grabcut")]
)
def test_only_masks_are_learned_lesion_by_lesion(branch: Any, mask: str | None) -> None:
    assert TwoStageSupervision(roi_branch=branch).mask_kind == mask


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
