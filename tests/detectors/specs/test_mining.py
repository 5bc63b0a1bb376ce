"""What is mined while a recipe trains, in today's words and in those of before."""

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from napari_uld.detectors.specs.mining import (
    HardNegativesSpec,
    MeanTeacherNegativesSpec,
    MeanTeacherSpec,
    Mining,
    MiningSpec,
)
from napari_uld.detectors.specs.system import System

READ = TypeAdapter(Mining)
TWO_CLASSES = {"classes": ("lesion", "false_positive")}


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({}, MiningSpec()),
        ({"miner": "none"}, MiningSpec()),
        ({"miner": "hard_negatives", "score": 0.5}, HardNegativesSpec(score=0.5)),
        # Before there were several miners.
        ({"hard_negatives": False}, MiningSpec()),
        ({"hard_negatives": False, "overlap": 0.3, "score": 0.7, "per_image": 3}, MiningSpec()),
        ({"hard_negatives": True}, HardNegativesSpec()),
        (
            {"hard_negatives": True, "overlap": 0.2, "score": 0.6, "per_image": 2},
            HardNegativesSpec(overlap=0.2, score=0.6, per_image=2),
        ),
    ],
)
def test_a_table_names_its_miner_and_one_of_before_had_a_switch(table: dict[str, Any], expected: MiningSpec) -> None:
    read = READ.validate_python(table)
    assert read == expected
    assert type(read) is type(expected)


def test_what_is_read_is_written_in_full_and_read_again() -> None:
    spec = HardNegativesSpec(per_image=2)
    dumped = READ.dump_python(spec, mode="json")
    assert dumped == {"miner": "hard_negatives", "overlap": 0.3, "score": 0.7, "per_image": 2}
    assert READ.validate_python(dumped) == spec


@pytest.mark.parametrize(
    ("table", "sentence"),
    [
        ({"miner": "gold"}, "there is no miner 'gold': give one of none, hard_negatives"),
        ({"miner": "hard_negatives", "per_image": 0}, "per_image\n  Input should be greater than 0"),
        ({"miner": "none", "score": 0.5}, "score\n  Extra inputs"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(table: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        READ.validate_python(table)


def test_hard_negatives_need_a_class_and_masks_and_the_class_needs_hard_negatives() -> None:
    masks = {"roi_branch": "ellipse"}
    fitting = System(detector=TWO_CLASSES, supervision=masks)
    HardNegativesSpec().check_fit(fitting)
    MiningSpec().check_fit(System())
    for mining, system, sentence in (
        (HardNegativesSpec(), System(supervision=masks), "hard negatives need the class 'false_positive'"),
        (HardNegativesSpec(), System(detector=TWO_CLASSES), "roi_branch must be ellipse or grabcut"),
        (MiningSpec(), fitting, "'false_positive' is for hard negatives, which this recipe does not mine"),
    ):
        with pytest.raises(ValueError, match=sentence):
            mining.check_fit(system)


def test_hard_negatives_that_come_first_need_a_head_that_samples_background() -> None:
    MeanTeacherNegativesSpec().check_fit(System())
    MeanTeacherNegativesSpec().check_fit(System(detector={"family": "centernet"}))
    dense = System(detector={"family": "retinanet"}, supervision={"family": "retinanet"})
    MeanTeacherSpec().check_fit(dense)
    with pytest.raises(ValueError, match="a dense head samples none"):
        MeanTeacherNegativesSpec().check_fit(dense)


def test_a_mean_teacher_has_its_papers_numbers_and_its_policies_are_three() -> None:
    spec = READ.validate_python({"miner": "mean_teacher"})
    assert isinstance(spec, MeanTeacherSpec)
    assert (spec.policy, spec.score, spec.overlap, spec.overlap_by, spec.momentum) == ("add", 0.9, 0.7, "iou", 0.999)
    with pytest.raises(ValidationError, match="'add', 'ignore' or 'none'"):
        READ.validate_python({"miner": "mean_teacher", "policy": "maybe"})
    assert READ.validate_python({"miner": "mean_teacher_negatives"}).known == 0.1
