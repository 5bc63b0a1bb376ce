import cv2
import numpy as np
import pytest

from napari_uld.ct import find_scans, read_scan, read_slices, slices_on_disk
from napari_uld.errors import MissingSlicesError, MixedSlicesError, ScanError, UnevenSpacingError, UnsupportedScanError

HEADER = (
    "File_name,Patient_index,Study_index,Series_ID,Key_slice_index,Measurement_coordinates,Bounding_boxes,"
    "Lesion_diameters_Pixel_,Normalized_lesion_location,Coarse_lesion_type,Possibly_noisy,Slice_range,"
    "Spacing_mm_px_,Image_size,DICOM_windows,Patient_gender,Patient_age,Train_Val_Test\n"
)


def row(series, key, spacing="0.5, 0.75, 2", window="-175, 275"):
    return (
        f'{series}_{key:03d}.png,1,1,1,{key},"1, 2, 3, 4, 5, 6, 7, 8","1, 1, 4, 4","5, 2","0.5, 0.5, 0.5",3,0,'
        f'"{key - 1}, {key + 1}","{spacing}","6, 4","{window}",F,62.0,3\n'
    )


def png(folder, number, value=None, shape=(4, 6)):
    """A slice whose HU are its number (or `value`)."""
    folder.mkdir(parents=True, exist_ok=True)
    hu = number if value is None else value
    cv2.imwrite(str(folder / f"{number:03d}.png"), np.full(shape, hu + 32768, np.uint16))


@pytest.fixture
def root(tmp_path):
    """One whole series and one in two runs, as a partial download has them."""
    for number in range(10, 15):
        png(tmp_path / "Images_png" / "000001_01_01", number)
    for number in (3, 4, 5, 20, 21):
        png(tmp_path / "Images_png" / "000002_01_01", number)
    rows = [row("000001_01_01", 12), row("000002_01_01", 4), row("000002_01_01", 21, window="-1350, 150")]
    (tmp_path / "DL_info.csv").write_text(HEADER + "".join(rows) + row("000009_01_01", 7))
    return tmp_path


def test_only_what_is_on_disk_is_offered_one_scan_a_contiguous_run(root):
    assert [(entry.name, entry.slices) for entry in find_scans(root)] == [
        ("000001_01_01", 5),
        ("000002_01_01_003-005", 3),
        ("000002_01_01_020-021", 2),
    ]


def test_slices_grow_to_the_head_and_keep_their_numbers(root):
    volume = read_scan(root, "000001_01_01")
    assert volume.hu[:, 0, 0].tolist() == [14, 13, 12, 11, 10]
    assert volume.slice_numbers.tolist() == [14, 13, 12, 11, 10]
    assert volume.spacing == (2.0, 0.75, 0.5)
    assert volume.window == (-175.0, 275.0)
    assert volume.corrections == ()


def test_a_window_that_is_none_is_left_out_and_said(root):
    (root / "DL_info.csv").write_text(HEADER + row("000001_01_01", 12, window="275, -175"))
    volume = read_scan(root, "000001_01_01")
    assert volume.window is None
    assert "275 to -175 HU is no window" in volume.corrections[0]


def test_the_window_is_that_of_the_run_s_own_lesion(root):
    assert read_scan(root, "000002_01_01_003-005").window == (-175.0, 275.0)
    assert read_scan(root, "000002_01_01_020-021").window == (-1350.0, 150.0)


@pytest.mark.parametrize("where", [".", "Images_png", "DL_info.csv"])
def test_the_root_its_images_and_its_table_open_the_same(root, where):
    assert [entry.name for entry in find_scans(root / where)] == [entry.name for entry in find_scans(root)]


@pytest.mark.parametrize("where", ["000001_01_01", "000001_01_01/012.png"])
def test_a_series_folder_and_a_slice_of_it_open_with_the_table_above(root, where):
    volume = read_scan(root / "Images_png" / where)
    assert volume.name == "000001_01_01"
    assert volume.spacing == (2.0, 0.75, 0.5)


def test_without_a_table_the_spacing_is_assumed_and_said(root):
    (root / "DL_info.csv").unlink()
    volume = read_scan(root, "000001_01_01")
    assert volume.spacing == (5.0, 0.8, 0.8)
    assert volume.corrections == (
        "no DL_info.csv beside the series: spacing assumed to be 5 mm between slices and 0.8 x 0.8 mm within",
    )


def test_a_series_without_a_row_says_that_its_spacing_is_assumed(root):
    (root / "DL_info.csv").write_text(HEADER + row("000001_01_01", 12))
    assert "has no row of series 000002_01_01" in read_scan(root, "000002_01_01_003-005").corrections[0]


def test_a_table_that_changes_is_read_again(root):
    assert read_scan(root, "000001_01_01").spacing[0] == 2.0
    (root / "DL_info.csv").write_text(HEADER + row("000001_01_01", 12, spacing="0.5, 0.75, 1"))
    assert read_scan(root, "000001_01_01").spacing[0] == 1.0


@pytest.mark.parametrize("hu", [-32768, -3024, -1024, 0, 3071, 32767])
def test_every_16_bit_value_is_read_exactly(tmp_path, hu):
    png(tmp_path / "000001_01_01", 1, hu)
    assert np.unique(read_scan(tmp_path / "000001_01_01").hu).tolist() == [hu]


def test_a_few_slices_share_the_world_of_the_whole_series(root):
    whole = read_scan(root, "000001_01_01")
    few = read_slices(root, "000001_01_01", [12, 11, 13])
    assert few.slice_numbers.tolist() == [13, 12, 11]
    np.testing.assert_array_equal(few.hu, whole.hu[1:4])
    assert (few.spacing, few.window) == (whole.spacing, whole.window)
    assert few.origin[2] == whole.origin[2] + 1 * whole.spacing[0]
    assert read_slices(root / "Images_png", "000001_01_01", [12]).spacing == whole.spacing


def test_every_second_slice_has_twice_the_spacing(root):
    few = read_slices(root, "000001_01_01", [10, 12, 14])
    assert few.spacing[0] == 4.0
    assert few.origin[2] == read_scan(root, "000001_01_01").origin[2]


def test_a_slice_that_is_not_on_disk_is_refused_by_name(root):
    with pytest.raises(MissingSlicesError, match=r"015\.png"):
        read_slices(root, "000001_01_01", [13, 14, 15])


@pytest.mark.parametrize("numbers", [[], [10, 11, 13], [10, 10]])
def test_uneven_slice_numbers_are_refused(root, numbers):
    with pytest.raises(UnevenSpacingError):
        read_slices(root, "000001_01_01", numbers)


def test_a_series_that_is_not_on_disk_is_refused_by_name(root):
    with pytest.raises(ScanError, match="no series 000009_01_01"):
        read_slices(root, "000009_01_01", [7])


def test_the_slices_on_disk_are_told(root):
    assert slices_on_disk(root, "000002_01_01") == (3, 4, 5, 20, 21)


def test_8_bit_slices_are_refused(root):
    folder = root / "Images_png" / "000001_01_01"
    cv2.imwrite(str(folder / "012.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(UnsupportedScanError, match=r"012\.png is a uint8 image"):
        read_scan(folder)


def test_numbered_previews_beside_dicom_files_do_not_hide_them(write_series, tmp_path):
    write_series()
    cv2.imwrite(str(tmp_path / "001.png"), np.zeros((4, 6), np.uint8))
    assert [(entry.kind, entry.slices) for entry in find_scans(tmp_path)] == [("dicom", 5)]


def test_a_folder_of_key_slices_is_refused_for_that_reason(tmp_path):
    cv2.imwrite(str(tmp_path / "000001_01_01_109.png"), np.zeros((4, 6), np.uint8))
    with pytest.raises(ScanError, match="8-bit illustrations"):
        find_scans(tmp_path)


def test_slices_of_different_size_are_refused(root):
    folder = root / "Images_png" / "000001_01_01"
    png(folder, 12, shape=(5, 6))
    with pytest.raises(MixedSlicesError, match=r"\(5, 6\)|\(4, 6\)"):
        read_scan(folder)


def test_a_damaged_slice_is_refused_by_name(root, capfd):
    file = root / "Images_png" / "000001_01_01" / "012.png"
    file.write_bytes(file.read_bytes()[:30])
    with pytest.raises(ScanError, match=r"012\.png cannot be read"):
        read_scan(file.parent)


def test_other_files_in_a_series_are_left_out_and_said(root):
    (root / "Images_png" / "000001_01_01" / "notes.txt").touch()
    (left,) = find_scans(root).left_out
    assert [file.name for file in left.files] == ["notes.txt"]


def test_a_table_without_any_image_says_what_is_required(tmp_path):
    (tmp_path / "DL_info.csv").write_text(HEADER + row("000001_01_01", 12))
    with pytest.raises(ScanError, match="Images_png/<series>/NNN.png"):
        find_scans(tmp_path)
