import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import (
    AmbiguousScanError,
    DuplicateSlicesError,
    GeometryError,
    MissingSlicesError,
    MixedSlicesError,
    ScanError,
    UnevenSpacingError,
    UnsupportedScanError,
)

from .conftest import ct_dataset, pixels_of, positions_along_z, save


def test_a_series_is_read_in_hounsfield_units_with_its_geometry(write_series, tmp_path):
    pixels = pixels_of(5)
    write_series(pixels)
    volume = read_scan(tmp_path)
    np.testing.assert_array_equal(volume.hu, pixels.astype(np.int16) - 1024)
    assert volume.hu.dtype == np.int16
    assert volume.spacing == (2.0, 0.75, 0.5)
    assert volume.origin == (-10.0, -20.0, 100.0)
    assert volume.thickness == 3.0
    assert volume.slice_numbers.tolist() == [1, 2, 3, 4, 5]
    assert (volume.name, volume.series_uid, volume.source) == ("Chest", "1.2.3.4", tmp_path)
    assert volume.corrections == ()


def test_a_series_numbered_from_head_to_feet_grows_to_the_head(write_series, tmp_path):
    pixels = pixels_of(4)
    write_series(pixels, positions_along_z(4)[::-1])
    volume = read_scan(tmp_path)
    np.testing.assert_array_equal(volume.hu, pixels[::-1].astype(np.int16) - 1024)
    assert volume.slice_numbers.tolist() == [4, 3, 2, 1]
    assert volume.origin[2] == 100.0


def test_a_feet_first_prone_series_is_turned_to_left_back_and_head(write_series, tmp_path):
    pixels = pixels_of(3)
    # Rows run to the left, columns to the front: the normal points to the feet.
    write_series(pixels, ImageOrientationPatient=[1.0, 0, 0, 0, -1, 0])
    volume = read_scan(tmp_path)
    np.testing.assert_array_equal(volume.hu, pixels[:, ::-1].astype(np.int16) - 1024)
    assert volume.origin == (-10.0, -20.0 - 5 * 0.75, 100.0)
    np.testing.assert_array_equal(volume.direction, np.eye(3))


def test_a_sagittal_series_is_turned_by_permutation(write_series, tmp_path):
    pixels = pixels_of(4)  # 4 slices from right to left, rows to the feet, columns to the back
    positions = np.array([[10.0 + 2 * i, 0, 50] for i in range(4)])
    write_series(pixels, positions, ImageOrientationPatient=[0, 1.0, 0, 0, 0, -1])
    volume = read_scan(tmp_path)
    assert volume.shape == (6, 8, 4)
    assert volume.spacing == (0.75, 0.5, 2.0)
    # The first pixel of the first slice lies furthest to the right, front and head.
    assert volume.hu[-1, 0, 0] + 1024 == pixels[0, 0, 0]
    assert volume.hu[0, -1, -1] + 1024 == pixels[3, 5, 7]
    assert "sagittal" in volume.corrections[0]


def test_an_oblique_series_keeps_its_direction(write_series, tmp_path):
    c, s = np.cos(np.radians(10)), np.sin(np.radians(10))
    positions = np.array([[0, -s * 2 * i, c * 2 * i] for i in range(4)])
    write_series(pixels_of(4), positions, ImageOrientationPatient=[1.0, 0, 0, 0, c, s])
    volume = read_scan(tmp_path)
    assert volume.spacing[0] == pytest.approx(2)
    np.testing.assert_allclose(volume.direction, [[1, 0, 0], [0, c, -s], [0, s, c]], atol=1e-6)
    assert volume.corrections == ("the axes lie 10.0 degrees off the patient's: slices are shown as they were taken",)


def test_gantry_tilt_is_said_and_spacing_is_along_the_normal(write_series, tmp_path):
    c, s = np.cos(np.radians(15)), np.sin(np.radians(15))
    pixels = pixels_of(4)
    write_series(pixels, ImageOrientationPatient=[1.0, 0, 0, 0, c, s])  # the table moves along z
    volume = read_scan(tmp_path)
    assert volume.spacing[0] == pytest.approx(2 * c, abs=1e-6)
    np.testing.assert_array_equal(volume.hu, pixels.astype(np.int16) - 1024)
    assert volume.corrections[0].startswith("gantry tilt of 15.0 degrees: ")


@pytest.mark.parametrize(
    ("along", "error"),
    [([0, 2, 6, 8], MissingSlicesError), ([0, 2, 5.1, 7], UnevenSpacingError), ([0, 2, 2, 4], DuplicateSlicesError)],
)
def test_irregular_positions_are_refused(write_series, tmp_path, along, error):
    write_series(pixels_of(4), np.array([[0, 0, z] for z in along], float))
    with pytest.raises(error, match=str(tmp_path)):
        read_scan(tmp_path)


def test_a_file_that_was_copied_twice_is_left_out_and_said(write_series, tmp_path):
    files = write_series(pixels_of(3))
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy" / "zz.dcm").write_bytes(files[1].read_bytes())
    volume = read_scan(tmp_path)
    assert volume.shape[0] == 3
    assert volume.corrections == ("1 duplicate slice(s) with identical pixels left out: zz.dcm",)
    assert volume.slice_numbers.tolist() == [1, 2, 3]


def test_mixed_sizes_in_one_series_are_refused(write_series, tmp_path):
    write_series(pixels_of(2))
    save(ct_dataset(pixels_of(1, (8, 8))[0], (-10, -20, 104)), tmp_path / "odd.dcm")
    with pytest.raises(MixedSlicesError, match="odd.dcm"):
        read_scan(tmp_path)


def test_slope_and_intercept_are_taken_slice_by_slice(tmp_path):
    pixels = np.full((4, 4), 100, np.uint16)
    save(ct_dataset(pixels, (0, 0, 0), RescaleSlope=2, RescaleIntercept=-1000), tmp_path / "a.dcm")
    save(ct_dataset(pixels, (0, 0, 1), RescaleSlope=0.333, RescaleIntercept=-10.5), tmp_path / "b.dcm")
    assert read_scan(tmp_path).hu[:, 0, 0].tolist() == [-800, 23]  # 100 * .333 - 10.5 = 22.8


def test_absent_rescale_is_said(write_series, tmp_path):
    write_series(RescaleSlope=None, RescaleIntercept=None)
    assert "rescale slope or intercept is absent" in read_scan(tmp_path).corrections[0]


def test_a_rescale_slope_of_zero_is_refused(write_series, tmp_path):
    write_series(RescaleSlope=0)
    with pytest.raises(ScanError, match="slope 0"):
        read_scan(tmp_path)


def test_values_beyond_16_bits_are_clipped_and_said(write_series, tmp_path):
    write_series(np.array([[[65535, 0]], [[1, 2]]], np.uint16), RescaleIntercept=0)
    volume = read_scan(tmp_path)
    assert volume.hu.max() == 32767
    assert volume.corrections == ("values beyond the 16-bit range clipped",)


def test_padding_becomes_air_and_is_said(write_series, tmp_path):
    pixels = np.full((3, 4, 4), 1000, np.uint16)
    pixels[:, 0] = 63536
    write_series(pixels, PixelPaddingValue=63536)
    volume = read_scan(tmp_path)
    assert np.unique(volume.hu[:, 0]).tolist() == [-1024]
    assert np.unique(volume.hu[:, 1:]).tolist() == [-24]
    assert volume.corrections == ("padding outside the field of view set to -1024 HU",)


def test_padding_of_signed_pixels_is_known_where_the_header_gives_it_unsigned(tmp_path):
    pixels = np.array([[-2000, 100]], np.int16)
    for i in range(2):
        dataset = ct_dataset(pixels, (0, 0, i), RescaleIntercept=1500)
        dataset.add_new("PixelPaddingValue", "US", 63536)  # -2000 in 16 bits
        save(dataset, tmp_path / f"{i}.dcm")
    assert read_scan(tmp_path).hu[0].tolist() == [[-1024, 1600]]


def test_padding_below_air_becomes_air_and_is_said(write_series, tmp_path):
    pixels = np.full((3, 4, 4), 1000, np.int16)
    pixels[:, 0] = -2000
    write_series(pixels, PixelPaddingValue=-2000)
    volume = read_scan(tmp_path)
    assert np.unique(volume.hu[:, 0]).tolist() == [-1024]
    assert volume.corrections == ("padding outside the field of view set to -1024 HU",)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=["RLE", "JPEG 2000", "JPEG-LS"])
@pytest.mark.parametrize("dtype", [np.uint16, np.int16])
def test_compressed_slices_are_read_exactly(tmp_path, syntax, dtype):
    pixels = pixels_of(3, (32, 32)).astype(dtype)
    if dtype == np.int16:
        pixels -= 2000
    for i, image in enumerate(pixels):
        dataset = ct_dataset(image, (0, 0, i))
        dataset.compress(syntax, generate_instance_uid=False)
        save(dataset, tmp_path / f"{i}.dcm")
    np.testing.assert_array_equal(read_scan(tmp_path).hu, pixels.astype(np.int16) - 1024)


def test_the_spacing_comes_from_positions_and_not_from_the_thickness(write_series, tmp_path):
    write_series(SliceThickness=3.0)
    volume = read_scan(tmp_path)
    assert (volume.spacing[0], volume.thickness) == (2.0, 3.0)


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless, JPEGLSLossless], ids=["RLE", "JPEG 2000", "JPEG-LS"])
def test_compressed_slices_cut_short_are_refused(tmp_path, syntax):
    dataset = ct_dataset(pixels_of(1, (32, 32))[0], (0, 0, 0))
    dataset.compress(syntax, generate_instance_uid=False)
    data = save(dataset, tmp_path / "a.dcm").read_bytes()
    for missing in (20, 60, 100):
        (tmp_path / "a.dcm").write_bytes(data[:-missing])
        with pytest.raises(ScanError, match="a.dcm"):
            read_scan(tmp_path)


def test_a_series_description_in_other_letters_is_read(write_series, tmp_path):
    write_series(SpecificCharacterSet="ISO_IR 192", SeriesDescription="Thorax nativ für Lunge 胸部")
    assert find_scans(tmp_path)[0].name == "Thorax nativ für Lunge 胸部"


def test_a_damaged_window_is_no_reason_to_refuse_a_scan(write_series, tmp_path):
    write_series(WindowCenter=40, WindowWidth=0)
    assert read_scan(tmp_path).window is None


def test_the_window_is_that_of_the_header(write_series, tmp_path):
    write_series(WindowCenter=[40, -600], WindowWidth=[400, 1500])
    assert read_scan(tmp_path).window == (-160.0, 240.0)


def test_repeated_instance_numbers_give_way_to_the_order(write_series, tmp_path):
    write_series(numbers=[1, 1, 2, 2, 3])
    volume = read_scan(tmp_path)
    assert volume.slice_numbers.tolist() == [0, 1, 2, 3, 4]
    assert "numbered in order from 0" in volume.corrections[0]


def test_two_series_are_told_apart_and_chosen_by_name(write_series, tmp_path):
    write_series(pixels_of(3))
    write_series(pixels_of(4), folder=tmp_path / "b", SeriesInstanceUID="1.2.3.5", SeriesDescription="Bone")
    assert [(entry.name, entry.slices) for entry in find_scans(tmp_path)] == [("Bone", 4), ("Chest", 3)]
    with pytest.raises(AmbiguousScanError, match="2 scans: Bone, Chest; choose one"):
        read_scan(tmp_path)
    assert read_scan(tmp_path, "Bone").shape[0] == 4
    with pytest.raises(ScanError, match="no scan called 'Liver'; it holds Bone, Chest"):
        read_scan(tmp_path, "Liver")


def test_two_series_of_one_description_get_different_names(write_series, tmp_path):
    write_series(pixels_of(3))
    write_series(pixels_of(4), folder=tmp_path / "b", SeriesInstanceUID="1.2.3.5")
    names = [entry.name for entry in find_scans(tmp_path)]
    assert names == ["Chest (1)", "Chest (2)"]
    assert sorted(read_scan(tmp_path, name).shape[0] for name in names) == [3, 4]


def test_series_without_uid_are_told_apart_by_what_they_say(write_series, tmp_path):
    write_series(pixels_of(3), SeriesInstanceUID="", SeriesNumber=1)
    write_series(pixels_of(4), folder=tmp_path / "b", SeriesInstanceUID="", SeriesNumber=2)
    assert sorted(entry.slices for entry in find_scans(tmp_path)) == [3, 4]


def test_a_series_without_uid_is_known_by_its_pixels(write_series, tmp_path):
    write_series(SeriesInstanceUID="")
    volume = read_scan(tmp_path)
    assert volume.series_uid == ""
    assert volume.scan_id.startswith("sha256:")


def test_what_is_no_slice_is_left_out_and_said(write_series, tmp_path):
    write_series()
    image = pixels_of(1)[0]
    save(ct_dataset(image, (0, 0, 0), ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "scout.dcm")
    save(ct_dataset(image, (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), tmp_path / "seg.dcm")
    save(ct_dataset(image, (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.481.3"), tmp_path / "rs.dcm")
    sr = ct_dataset(image, (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.88.33", Modality="SR")
    save(sr, tmp_path / "sr.dcm")
    save(ct_dataset(image, (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.2.1"), tmp_path / "multi.dcm")
    save(ct_dataset(image, (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.4"), tmp_path / "mr.dcm")
    save(ct_dataset(image, (0, 0, 0), RescaleType="Z_EFF"), tmp_path / "zeff.dcm")
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "empty").touch()
    (tmp_path / ".DS_Store").write_text("hidden")
    found = find_scans(tmp_path)
    assert [entry.slices for entry in found] == [5]
    reasons = {file.name: left.reason for left in found.left_out for file in left.files}
    assert reasons["scout.dcm"] == "a localiser"
    assert reasons["seg.dcm"] == "a segmentation (SEG)"
    assert reasons["rs.dcm"] == "a radiotherapy structure set (RTSTRUCT)"
    assert reasons["sr.dcm"] == "a structured report (SR)"
    assert "multi-frame enhanced CT" in reasons["multi.dcm"]
    assert "MR Image Storage" in reasons["mr.dcm"]
    assert "Z_EFF" in reasons["zeff.dcm"]
    assert reasons["notes.txt"] == reasons["empty"] == "not DICOM"
    assert ".DS_Store" not in reasons
    assert read_scan(tmp_path).shape[0] == 5


def test_a_folder_with_a_segmentation_only_is_refused_for_that_reason(tmp_path):
    save(ct_dataset(pixels_of(1)[0], (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), tmp_path / "seg.dcm")
    with pytest.raises(UnsupportedScanError, match=r"seg\.dcm: a segmentation \(SEG\)"):
        find_scans(tmp_path)


def test_one_slice_brings_its_series_and_no_other(write_series, tmp_path):
    files = write_series(pixels_of(3))
    write_series(pixels_of(4), folder=tmp_path / "b", SeriesInstanceUID="1.2.3.5")
    volume = read_scan(files[1])
    assert volume.slice_numbers.tolist() == [1, 2, 3]


def test_a_segmentation_file_is_refused_for_that_reason(tmp_path):
    file = save(ct_dataset(pixels_of(1)[0], (0, 0, 0), SOPClassUID="1.2.840.10008.5.1.4.1.1.66.4"), tmp_path / "s.dcm")
    with pytest.raises(UnsupportedScanError, match="a segmentation"):
        read_scan(file)


def test_files_without_preamble_are_read(tmp_path):
    pixels = pixels_of(3)
    for i, image in enumerate(pixels):
        dataset = ct_dataset(image, (0, 0, i), InstanceNumber=i)
        del dataset.file_meta
        pydicom.dcmwrite(tmp_path / f"{i}.ima", dataset, implicit_vr=True, little_endian=True)
    assert (tmp_path / "0.ima").read_bytes()[128:132] != b"DICM"
    np.testing.assert_array_equal(read_scan(tmp_path).hu, pixels.astype(np.int16) - 1024)


def test_a_file_cut_short_is_refused_by_name(write_series, tmp_path):
    file = write_series()[2]
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(ScanError, match=file.name):
        read_scan(tmp_path)


def test_a_file_cut_in_its_header_does_not_hide_the_gap_it_leaves(write_series, tmp_path):
    file = write_series()[2]
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(MissingSlicesError, match="1 between slice 2 and slice 4"):
        read_scan(tmp_path)
    assert file in [one for left in find_scans(tmp_path).left_out for one in left.files]


@pytest.mark.parametrize("tag", ["ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"])
def test_slices_without_geometry_are_refused_by_tag(write_series, tmp_path, tag):
    write_series(**{tag: None})
    with pytest.raises(GeometryError, match=tag):
        read_scan(tmp_path)


def test_absurd_pixel_spacing_is_refused(write_series, tmp_path):
    write_series(PixelSpacing=[0.0, 0.5])
    with pytest.raises(GeometryError, match="spacing"):
        read_scan(tmp_path)


def test_a_single_slice_is_read_with_its_thickness_as_spacing(write_series, tmp_path):
    write_series(pixels_of(1))
    volume = read_scan(tmp_path)
    assert volume.spacing == (3.0, 0.75, 0.5)
    assert "single slice" in volume.corrections[0]
