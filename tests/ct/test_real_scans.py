"""The real scans that lie beside the project; skipped where they are not."""

import cv2
import numpy as np
import pytest

from napari_uld.ct import find_scans, read_scan, read_slices
from napari_uld.errors import AmbiguousScanError, UnsupportedScanError


def test_the_partial_deeplesion_download_offers_its_three_series(real_data):
    found = find_scans(real_data / "deeplesion")
    assert [(entry.name, entry.slices) for entry in found] == [
        ("000001_01_01", 13),
        ("000001_02_01", 16),
        ("000001_03_01", 61),
    ]


def test_a_deeplesion_series_has_the_pixels_spacing_and_window_of_its_files(real_data):
    folder = real_data / "deeplesion" / "Images_png" / "000001_03_01"
    volume = read_scan(folder)
    assert volume.shape == (61, 512, 512)
    assert volume.spacing == (1.0, 0.732422, 0.732422)
    assert volume.window == (-175.0, 275.0)
    assert (volume.native_slice(0), volume.native_slice(60)) == (118, 58)
    png = cv2.imread(str(folder / "088.png"), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(volume.hu[volume.z_of(88)], png.astype(int) - 32768)


def test_a_few_deeplesion_slices_equal_those_of_the_series(real_data):
    whole = read_scan(real_data / "deeplesion", "000001_01_01")
    few = read_slices(real_data / "deeplesion", "000001_01_01", [108, 109, 110])
    np.testing.assert_array_equal(few.hu, whole.hu[whole.z_of(110) : whole.z_of(108) + 1])


def test_jpeg_2000_without_series_uid_is_read_with_the_spacing_of_its_positions(real_data):
    volume = read_scan(real_data / "ct" / "totalseg_dicom_jpeg2000")
    assert volume.shape == (20, 512, 512)
    assert volume.spacing == (2.0, 0.976562, 0.976562)
    assert volume.thickness == 3.0
    assert volume.series_uid == ""
    assert volume.slice_numbers.tolist() == list(range(286, 266, -1))
    assert -1024 <= volume.hu.min() < -900
    assert volume.hu.max() > 1000


def test_the_sarcoma_is_the_same_as_nifti_and_as_dicom(real_data):
    folder = real_data / "ct" / "sarcoma_019"
    one, two = read_scan(folder / "CT_image.nii.gz"), read_scan(folder / "dicom")
    np.testing.assert_array_equal(one.hu, two.hu)
    np.testing.assert_allclose(one.spacing, two.spacing, atol=1e-5)
    np.testing.assert_allclose(one.origin, two.origin, atol=1e-3)
    np.testing.assert_allclose(one.direction, two.direction, atol=1e-6)


def test_the_structure_set_beside_the_sarcoma_is_left_out_and_said(real_data):
    (left,) = find_scans(real_data / "ct" / "sarcoma_019").left_out
    assert str(left) == "RS.dcm: a radiotherapy structure set (RTSTRUCT)"
    with pytest.raises(UnsupportedScanError, match="RTSTRUCT"):
        read_scan(real_data / "ct" / "sarcoma_019" / "dicom" / "mask")


def test_the_sarcoma_s_mask_is_refused(real_data):
    with pytest.raises(UnsupportedScanError, match="looks like a label mask"):
        read_scan(real_data / "ct" / "sarcoma_019" / "CT_mask.nii.gz")


def test_the_small_nifti_is_turned_and_keeps_values_below_air(real_data):
    volume = read_scan(real_data / "ct" / "totalseg_small.nii.gz")
    assert volume.shape == (30, 101, 122)
    assert volume.spacing == (3.0, 3.0, 3.0)
    assert volume.hu.min() == -1100


def test_ct_beside_segmentations_and_reports_is_read_and_they_are_left_out(real_data):
    folder = real_data / "ct" / "liver_seg_sr"
    found = find_scans(folder)
    assert sorted(entry.slices for entry in found) == [1, 3]
    assert sorted(left.reason for left in found.left_out) == ["a segmentation (SEG)", "a structured report (SR)"]
    with pytest.raises(AmbiguousScanError):
        read_scan(folder)
    volume = read_scan(folder / "ct-3slice")
    assert volume.spacing == (1.0, 0.810547, 0.810547)
    assert volume.slice_numbers.tolist() == [3, 2, 1]
    # The padding lies at -3024 HU in the files.
    assert (volume.hu.min(), volume.corrections) == (-1024, ("padding outside the field of view set to -1024 HU",))
