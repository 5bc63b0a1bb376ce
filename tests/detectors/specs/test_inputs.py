"""How slices become an input, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from napari_uld.detectors.specs.inputs import InputSpec

LUNG, BONE = (-1350.0, 150.0), (-500.0, 1300.0)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"slices": 4}, "odd"),
        ({"slices": 9, "slices_per_image": 5}, "multiple of slices_per_image"),
        ({"window": (100, 100)}, "low < high"),
        ({"more_windows": [LUNG, (50, -50)]}, r"low < high; found \(50.0, -50.0\)"),
        ({"spacing_mm": -1}, "greater than or equal to 0"),
        ({"volume": True}, "slices_per_image = 1"),
        ({"volume": True, "slices_per_image": 1, "more_windows": [LUNG]}, "one window"),
        ({"volume": True, "slices_per_image": 1, "spacing_mm": 0}, "a spacing_mm"),
        ({"phases": ["arterial"]}, "phases need volume = true"),
        ({"volume": True, "slices_per_image": 1, "phases": ["a", "a"]}, "different names; found a, a"),
    ],
)
def test_what_cannot_be_is_refused_with_what_it_should_be(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        InputSpec(**values)


def test_slices_are_shared_out_among_images() -> None:
    assert InputSpec(slices=27).images == 9


def test_each_further_window_makes_as_many_images_again() -> None:
    spec = InputSpec(slices=9, more_windows=(LUNG, BONE))
    assert spec.windows == ((-1024.0, 3071.0), LUNG, BONE)
    assert (spec.images_per_window, spec.images) == (3, 9)


def test_a_volume_is_one_image_of_any_depth() -> None:
    assert InputSpec(volume=True, slices=32, slices_per_image=1).images == 1


def test_a_volume_has_a_channel_for_each_phase_and_one_without_any() -> None:
    volume = {"volume": True, "slices": 32, "slices_per_image": 1}
    assert InputSpec(**volume).channels == 1
    assert InputSpec(**volume, phases=("portal venous", "arterial", "unenhanced")).channels == 3
    assert InputSpec(slices=9).channels == 3


@pytest.mark.parametrize(
    ("interpolate", "thickness", "step"), [(True, 1.0, 2.0), (True, 5.0, 2.0), (False, 1.0, 2.0), (False, 5.0, 5.0)]
)
def test_slices_lie_an_interval_apart_or_where_thick_ones_are_not_interpolated_as_the_scans_own(
    interpolate: bool, thickness: float, step: float
) -> None:
    assert InputSpec(interpolate_thick=interpolate).step_mm(thickness) == step
