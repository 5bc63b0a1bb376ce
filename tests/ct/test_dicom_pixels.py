import os

import numpy as np
import pydicom
import pytest
from pydicom.uid import JPEGLSLossless

from napari_uld.ct import find_scans, read_entry, read_scan
from napari_uld.ct.dicom_pixels import read_pixels

from .conftest import ct_dataset, pixels_of, save
from .test_dicom_headers import PIXELS, dataset_of, header_of


def test_pixels_are_read_where_the_header_says(tmp_path):
    file = save(dataset_of(), tmp_path / "a.dcm")
    np.testing.assert_array_equal(read_pixels(file, header_of(file)).values, PIXELS)


def test_bits_that_are_not_the_pixels_are_left_to_pydicom(tmp_path):
    # An overlay in the highest bit, as old scanners have it.
    overlaid = ct_dataset(PIXELS | 0x8000, (0, 0, 0), BitsStored=12, HighBit=11)
    file = save(overlaid, tmp_path / "a.dcm")
    assert read_pixels(file, header_of(file)) is None
    np.testing.assert_array_equal(read_scan(tmp_path).hu[0] + 1024, PIXELS)


def test_a_file_that_changed_since_it_was_found_is_read_as_it_is_now(write_series, tmp_path):
    files = write_series(pixels_of(3))
    entry = find_scans(tmp_path)[0]
    changed = pydicom.dcmread(files[1])
    changed.RescaleIntercept, changed.PatientComments = -1000, "now its pixels begin elsewhere"
    save(changed, files[1])
    hu = read_entry(entry).hu
    np.testing.assert_array_equal(hu[1], pixels_of(3)[1].astype(int) - 1000)
    np.testing.assert_array_equal(hu[2], pixels_of(3)[2].astype(int) - 1024)


def test_slices_that_changed_places_since_they_were_found_are_put_in_their_new_order(write_series, tmp_path):
    files = write_series(pixels_of(3))
    entry = find_scans(tmp_path)[0]
    for file, z in ((files[0], 104), (files[2], 100)):
        moved = pydicom.dcmread(file)
        moved.ImagePositionPatient[2] = z
        save(moved, file)
        os.utime(file, ns=(0, 0))
    np.testing.assert_array_equal(read_entry(entry).hu, pixels_of(3)[::-1].astype(int) - 1024)


@pytest.mark.parametrize("kind", [np.uint16, np.int16])
def test_no_pixel_lies_beyond_the_limits_that_are_given(tmp_path, kind):
    pixels = PIXELS.astype(kind) - np.iinfo(kind).min // 2000
    file = save(ct_dataset(pixels, (0, 0, 0)), tmp_path / "a.dcm")
    values, low, high = read_pixels(file, header_of(file))
    np.testing.assert_array_equal(values, pixels)
    assert low <= pixels.min()
    assert high == pixels.max()


def test_compressed_pixels_are_left_to_pydicom(tmp_path):
    dataset = dataset_of()
    dataset.compress(JPEGLSLossless)
    file = save(dataset, tmp_path / "a.dcm")
    assert read_pixels(file, header_of(file)) is None


@pytest.mark.parametrize("tags", [{"Rows": 5}, {"BitsAllocated": 8}, {"SamplesPerPixel": 3}, {"NumberOfFrames": 2}])
def test_pixels_that_are_not_as_many_as_the_header_says_are_left_to_pydicom(tmp_path, tags):
    file = save(ct_dataset(PIXELS, (0, 0, 0), **tags), tmp_path / "a.dcm")
    assert read_pixels(file, header_of(file)) is None
