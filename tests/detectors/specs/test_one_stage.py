"""What a RetinaNet may be made of, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from napari_uld.detectors.specs.base import Spec
from napari_uld.detectors.specs.one_stage import FcosSupervision, RetinaNetSpec, RetinaNetSupervision
from napari_uld.detectors.specs.system import System


@pytest.mark.parametrize(
    ("schema", "values", "sentence"),
    [
        (RetinaNetSpec, {"anchor_sizes": (32,)}, "5 levels"),
        (RetinaNetSpec, {"finest_level": 4}, "2 or 3"),
        (RetinaNetSpec, {"classes": ("lesion", "false_positive")}, "at most 1 item"),
        (RetinaNetSupervision, {"anchor_iou": (0.3, 0.5)}, "at least that of negative"),
        (RetinaNetSpec, {"anchor_scales": ()}, "at least 1 item"),
        (RetinaNetSpec, {"without_pools": (9,)}, "less than or equal to 5"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(
    schema: type[Spec], values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValidationError, match=sentence):
        schema(**{"family": "retinanet"} | values)


@pytest.mark.parametrize("kind", ["none", "ellipse", "grabcut"])
def test_its_masks_are_those_of_its_segmentation_path_and_it_learns_no_bounding_map(kind: Any) -> None:
    supervision = RetinaNetSupervision(segmentation=kind)
    assert supervision.mask_kind == (None if kind == "none" else kind)
    assert supervision.maps.names == frozenset()


def test_fcos_has_half_the_papers_ranges_and_they_must_rise() -> None:
    assert FcosSupervision().limits == (32, 64, 128, 256)
    with pytest.raises(ValidationError, match="limits must rise"):
        FcosSupervision(limits=(32, 16, 64, 128))


def test_fcos_sees_one_image() -> None:
    with pytest.raises(ValidationError, match="slices_per_image must be as large as slices"):
        System(detector={"family": "fcos"}, input={"slices": 9})
