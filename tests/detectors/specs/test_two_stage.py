"""What a two-stage detector may be made of, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from napari_uld.detectors.specs.base import Spec
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
        (TwoStageSupervision, {"branch_map": "own"}, "'all' or 'matched'"),
        (TwoStageSupervision, {"rpn_iou": (0.3, 0.7)}, "at least that of negative"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(
    schema: type[Spec], values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        schema(**values)


def test_a_pyramid_and_hard_negatives_can_be_described() -> None:
    assert TwoStageSpec(**PYRAMID, classes=("lesion", "false_positive")).classes[1] == "false_positive"


@pytest.mark.parametrize(
    ("branch", "mask"), [("none", None), ("bm", None), ("abm", None), ("ellipse", "ellipse"), ("grabcut", "grabcut")]
)
def test_only_masks_are_learned_lesion_by_lesion(branch: Any, mask: str | None) -> None:
    assert TwoStageSupervision(roi_branch=branch).mask_kind == mask


@pytest.mark.parametrize(
    ("parts", "names"),
    [
        ({}, set()),
        ({"roi_branch": "abm"}, {"abm"}),
        ({"roi_branch": "abm", "branch_map": "matched"}, {"abm", "lesion_abms"}),
        ({"roi_branch": "bm", "branch_map": "matched"}, {"bm", "lesion_bms"}),
        ({"roi_branch": "ellipse", "branch_map": "matched"}, set()),
        ({"roi_branch": "none", "branch_map": "matched"}, set()),
    ],
)
def test_matched_gt_only_asks_for_each_lesions_own_map(parts: dict[str, Any], names: set[str]) -> None:
    maps = TwoStageSupervision(**parts, combine="max", abm_areas=(9, 99)).maps
    assert (maps.names, maps.combine, maps.areas) == (names, "max", (9, 99))
