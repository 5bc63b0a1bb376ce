"""What a Deformable DETR may be made of."""

from typing import Any

import pytest
from pydantic import ValidationError

from napari_uld.detectors.specs.deformable_detr import DeformableDetrSpec
from napari_uld.detectors.specs.system import System


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"channels": 100}, "heads divide the channels: 100 is no multiple of 8"),
        ({"channels": 72}, "groups divide the channels: 72 is no multiple of 32"),
        ({"levels": 2}, "greater than or equal to 3"),
        ({"classes": ("lesion", "false_positive")}, "at most 1 item"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        DeformableDetrSpec(**values)


@pytest.mark.parametrize("family", ["deformable_detr", "centernet_resnet"])
def test_it_sees_one_image(family: str) -> None:
    with pytest.raises(ValidationError, match="slices_per_image must be as large as slices"):
        System(detector={"family": family}, input={"slices": 9})
