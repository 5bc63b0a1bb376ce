"""One slice's defect is told of that slice, and padding below air is air."""

from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct import read_scan
from napari_uld.errors import ScanError

from .dicom_series import body, ct, save, setting, write

PADDED = "padding outside the field of view set to -1024 HU"


@pytest.mark.parametrize("tags", [["RescaleSlope", "RescaleIntercept"], ["RescaleIntercept"], ["RescaleSlope"]])
def test_slices_without_the_rescaling_that_others_have_are_named(tmp_path: Path, tags: list[str]) -> None:
    def change(dataset, index):
        if index in (3, 8):
            for tag in tags:
                delattr(dataset, tag)

    write(tmp_path, change=change)
    with pytest.raises(
        ScanError, match=r"absent on slice \d \(IM000\d\.dcm\), slice \d \(IM000\d\.dcm\), while"
    ) as error:
        read_scan(tmp_path)
    assert "IM0004.dcm" in str(error.value)
    assert "IM0009.dcm" in str(error.value)


@pytest.mark.parametrize("odd", [[0], [5], [11], [4, 5, 6], [2, 9]])
@pytest.mark.parametrize("intercept", [0, -2048])
def test_an_intercept_that_the_pixels_contradict_is_refused_by_slice(
    tmp_path: Path, odd: list[int], intercept: int
) -> None:
    write(tmp_path, change=setting(RescaleIntercept=lambda i: intercept if i in odd else -1024))
    with pytest.raises(ScanError, match=rf"{intercept} where most slices have -1024") as error:
        read_scan(tmp_path)
    found = str(error.value)
    assert f"IM{odd[0] + 1:04d}.dcm" in found
    assert f"IM{odd[-1] + 1:04d}.dcm" in found
    assert "IM0004.dcm" not in found


def test_an_intercept_of_its_own_that_the_pixels_follow_is_right(tmp_path: Path) -> None:
    hu = body()
    for index, image in enumerate(hu):
        intercept = -1024 if index % 3 else -2000
        save(ct(image, -5.0 * index, index, "1.2.3.4", intercept), tmp_path / f"{index}.dcm")
    volume = read_scan(tmp_path)
    np.testing.assert_array_equal(volume.hu[::-1], hu)
    assert volume.corrections == ()


def test_what_was_put_right_in_one_slice_names_it(tmp_path: Path) -> None:
    hu = body()
    stored = hu[4].astype(np.int32) + 1024
    stored[0] = 65535

    def change(dataset, index):
        if index == 4:
            dataset.PixelData = stored.astype(np.uint16).tobytes()

    write(tmp_path, hu, change=change)
    assert read_scan(tmp_path).corrections == ("values beyond the 16-bit range clipped on slice 5 (IM0005.dcm)",)


@pytest.mark.parametrize("value", [-2000, -3024, -8192, -32768])
@pytest.mark.parametrize("declared", [True, False])
def test_padding_below_air_is_air_and_said(tmp_path: Path, value: int, declared: bool) -> None:
    hu = body()
    padded = np.maximum(hu, -1000)
    padded[:, :3] = value

    def change(dataset, index):
        dataset.PixelRepresentation = 1
        dataset.RescaleIntercept = 0
        dataset.PixelData = padded[index].tobytes()
        if declared:
            dataset.PixelPaddingValue = value

    write(tmp_path, hu, change=change)
    volume = read_scan(tmp_path)
    assert (volume.hu[:, :3] == -1024).all()
    np.testing.assert_array_equal(volume.hu[::-1, 3:], padded[:, 3:])
    assert volume.corrections == (PADDED,)


def test_padding_that_lossy_compression_blurred_is_air(tmp_path: Path) -> None:
    hu = body()
    hu[:, :3] = -2000 + np.arange(32) % 7
    write(tmp_path, hu, change=signed(hu))
    assert (read_scan(tmp_path).hu[:, :3] == -1024).all()


def signed(hu: np.ndarray):
    def change(dataset, index):
        dataset.PixelRepresentation, dataset.RescaleIntercept = 1, 0
        dataset.PixelData = hu[index].tobytes()

    return change


def test_measured_values_a_little_below_air_stay(tmp_path: Path) -> None:
    hu = body()
    hu[:, :3] = -1100 - np.arange(32)
    write(tmp_path, hu, change=signed(hu))
    volume = read_scan(tmp_path)
    np.testing.assert_array_equal(volume.hu[::-1], hu)
    assert volume.corrections == ()


@pytest.mark.parametrize("unit", ["HU", "hu", " HU ", "Hounsfield Units", "HOUNSFIELD", "Hounsfield unit", "US"])
def test_hounsfield_units_are_known_however_they_are_spelt(tmp_path: Path, unit: str) -> None:
    write(tmp_path, change=setting(RescaleType=unit))
    assert read_scan(tmp_path).corrections == ()


@pytest.mark.parametrize("unit", ["HU_MOD", "hu_mod"])
def test_modified_hounsfield_units_are_read_with_a_word(tmp_path: Path, unit: str) -> None:
    write(tmp_path, change=setting(RescaleType=unit))
    assert "HU_MOD" in read_scan(tmp_path).corrections[0]


@pytest.mark.parametrize("unit", ["Z_EFF", "MGML", "ED", "OD"])
def test_other_units_are_refused(tmp_path: Path, unit: str) -> None:
    write(tmp_path, change=setting(RescaleType=unit))
    with pytest.raises(ScanError, match=f"its values are {unit}, not Hounsfield units"):
        read_scan(tmp_path)
