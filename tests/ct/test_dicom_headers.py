import os

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless

from napari_uld.ct import find_scans, read_entry, read_scan
from napari_uld.ct.dicom_headers import read_plain
from napari_uld.ct.dicom_images import _PLAIN_TAGS
from napari_uld.ct.dicom_pixels import read_pixels

from .conftest import ct_dataset, pixels_of, save

PIXELS = pixels_of(1)[0]


def dataset_of(**tags):
    dataset = ct_dataset(PIXELS, (0, 0, 0), SpecificCharacterSet="ISO_IR 192", SeriesDescription="Schädel", **tags)
    dataset.WindowCenter, dataset.WindowWidth, dataset.PixelPaddingValue = [40, 50], [400.5, 350], 63536
    item = Dataset()
    item.ReferencedSOPInstanceUID = "1.2.3"
    dataset.ReferencedStudySequence = Sequence([item])
    return dataset


def header_of(file):
    with file.open("rb") as stream:
        return read_plain(stream, _PLAIN_TAGS)


def check_like_pydicom(file):
    header, dataset = header_of(file), pydicom.dcmread(file)
    for keyword in _PLAIN_TAGS.values():
        found, expected = header.get(keyword), dataset.get(keyword)
        assert (found, str(found), type(found)) == (expected, str(expected), type(expected)), keyword
    pixels = dataset.get_item("PixelData")
    assert (header.pixels_at, header.pixels_length) == (pixels.value_tell, pixels.length)
    assert header.file_meta["TransferSyntaxUID"] == dataset.file_meta.TransferSyntaxUID


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
@pytest.mark.parametrize("undefined", [(False, False), (True, False), (True, True)])
def test_values_and_place_of_the_pixels_are_those_of_pydicom(tmp_path, syntax, undefined):
    dataset = dataset_of()
    dataset["ReferencedStudySequence"].is_undefined_length = undefined[0]
    dataset.ReferencedStudySequence[0].is_undefined_length_sequence_item = undefined[1]
    if syntax == JPEGLSLossless:
        dataset.compress(syntax)
    dataset.file_meta.TransferSyntaxUID = syntax
    check_like_pydicom(save(dataset, tmp_path / "a.dcm"))


def test_a_header_longer_than_what_is_read_first_is_read_whole(tmp_path):
    check_like_pydicom(save(dataset_of(ImageComments="long " * 8000), tmp_path / "a.dcm"))


@pytest.mark.parametrize(
    "spoil",
    [
        lambda data: data[132:],  # no preamble
        lambda data: data[:400],  # cut short within the header
        lambda data: data.replace(b"\x28\0\x10\0US", b"\x08\0\x10\0US"),  # out of order
        lambda data: data.replace(b"\x28\0\x10\0US", b"\x28\0\x10\0U?"),  # no kind of value
        lambda data: data.replace(b"\xe0\x7f\x10\0OW", b"\xe0\x7f\x08\0OW"),  # other pixels
    ],
)
def test_what_is_not_plain_is_left_to_pydicom(tmp_path, spoil):
    file = save(dataset_of(), tmp_path / "a.dcm")
    file.write_bytes(spoil(file.read_bytes()))
    assert header_of(file) is None


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
