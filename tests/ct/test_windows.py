import numpy as np
import pytest

from napari_uld.ct import WINDOWS, to_uint8


def test_a_window_shows_low_as_black_high_as_white_and_the_middle_as_grey():
    hu = np.array([-2000, -1024, -175, 50, 275, 3000], dtype=np.int16)
    assert to_uint8(hu, (-175, 275)).tolist() == [0, 0, 0, 128, 255, 255]


def test_grey_values_are_rounded_not_cut_off():
    # 255 / 100 * 1 = 2.55 -> 3
    assert to_uint8(np.array([1], np.int16), (0, 100)).tolist() == [3]


def test_the_presets_are_the_usual_centres_and_widths():
    centre_width = {name: ((low + high) / 2, high - low) for name, (low, high) in WINDOWS.items()}
    assert centre_width == {
        "lung": (-600, 1500),
        "mediastinum": (50, 350),
        "liver": (60, 160),
        "bone": (400, 1800),
    }


def test_the_presets_cannot_be_changed():
    with pytest.raises(TypeError):
        WINDOWS["lung"] = (0.0, 1.0)  # type: ignore[index]


@pytest.mark.parametrize("window", [(10, 10), (20, 10), (float("nan"), 10), (0, float("inf"))])
def test_an_empty_window_is_refused(window):
    with pytest.raises(ValueError, match="low < high"):
        to_uint8(np.zeros(1, np.int16), window)
