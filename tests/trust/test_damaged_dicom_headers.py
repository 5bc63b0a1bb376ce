"""Damaged DICOM headers: what order, ends and neighbours show is said or refused; no slice is lost silently."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEG2000Lossless, JPEGLSLossless

from napari_uld.ct import CTVolume, find_scans, read_scan
from napari_uld.errors import ScanError

from .dicom_series import body, ct, enhanced, save, write

SOP_CLASS = b"1.2.840.10008.5.1.4.1.1.2\0"


def series_without(folder: Path, **changes: object) -> CTVolume:
    """Open a series by its second slice after the header of the first was changed; it opens without the first."""
    files = write(folder)
    dataset = pydicom.dcmread(files[0])
    for tag, value in changes.items():
        setattr(dataset, tag, value)
    save(dataset, files[0])
    volume = read_scan(files[1])
    np.testing.assert_array_equal(volume.hu[::-1], body()[1:])
    return volume


def says(volume: CTVolume, *words: str) -> bool:
    return any(all(word in sentence for word in words) for sentence in volume.corrections)


@pytest.mark.parametrize("left", [2, 9, 20])
def test_a_slice_that_breaks_off_within_its_kind_is_missed(tmp_path: Path, left: int) -> None:
    files = write(tmp_path)
    data = files[0].read_bytes()
    files[0].write_bytes(data[: data.rindex(SOP_CLASS) + left])
    assert says(read_scan(files[1]), "left out: IM0001.dcm: damaged or cut short", "may be part of this scan")


def test_a_slice_without_anything_but_a_kind_is_missed(tmp_path: Path) -> None:
    files = write(tmp_path)
    data = files[0].read_bytes().replace(SOP_CLASS, SOP_CLASS[:-2] + b"20")  # nuclear medicine
    files[0].write_bytes(data[: data.rindex(SOP_CLASS[:-2]) + len(SOP_CLASS)])
    assert says(read_scan(files[1]), "left out: IM0001.dcm: damaged or cut short", "may be part of this scan")


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.99"}, "no CT image"),
        ({"SOPClassUID": "1.2.840.10008.5.1.4.1.1.66.4"}, "a segmentation"),
        ({"SamplesPerPixel": 3}, "a colour image"),
        ({"SamplesPerPixel": 0x4201, "SeriesInstanceUID": "1.2.3.5"}, "damaged: its header gives 16897 samples"),
        ({"RescaleType": "IU"}, "its values are IU"),
        ({"NumberOfFrames": 13}, "several frames"),
    ],
)
def test_what_names_a_scans_series_and_is_no_slice_of_it_is_said(
    tmp_path: Path, changes: dict[str, object], why: str
) -> None:
    volume = series_without(tmp_path, **changes)
    assert says(volume, "IM0001.dcm", why, "may be part of this scan")


def test_a_slice_that_lost_its_series_and_its_kind_is_missed(tmp_path: Path) -> None:
    files = write(tmp_path)
    data = files[0].read_bytes()
    at = data.rindex(SOP_CLASS)
    data = data[:at] + b"\0" * 20 + data[at + 20 :]
    files[0].write_bytes(data.replace(b"UI\x08\x001.2.3.4\0", b"UI\x08\x001.2.9.9\0"))
    assert says(read_scan(files[1]), "IM0001.dcm: damaged: its header names an impossible kind of object")


def test_a_localiser_in_a_scans_series_is_not_worth_a_word(tmp_path: Path) -> None:
    assert series_without(tmp_path, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]).corrections == ()


def test_a_slice_that_lost_its_series_and_has_a_kind_that_nobody_knows_is_missed(tmp_path: Path) -> None:
    changes = {"SOPClassUID": "1.3.840.10008.5.1.4.1.1.3", "SeriesInstanceUID": "1.3.2.4"}
    volume = series_without(tmp_path, **changes, ImagePositionPatient=None)
    assert says(volume, "1.3.840.10008.5.1.4.1.1.3", "may be part of this scan")


def test_a_hanging_protocol_is_not_taken_for_a_damaged_slice(tmp_path: Path) -> None:
    files = write(tmp_path)
    protocol = pydicom.dcmread(files[0])
    for element in list(protocol):
        if element.tag.group > 8 or element.keyword == "Modality":
            del protocol[element.tag]
    protocol.SOPClassUID = "1.2.840.10008.5.1.4.38.1"
    save(protocol, tmp_path / "protocol.dcm")
    assert read_scan(files[1]).corrections == ()


def test_an_image_without_a_place_and_of_another_size_is_no_slice(tmp_path: Path) -> None:
    files = write(tmp_path)
    page = ct(np.zeros((48, 64), np.int16), 0, 1, "1.2.3.77")
    del page.ImagePositionPatient
    save(page, tmp_path / "dose.dcm")
    assert read_scan(files[1]).corrections == ()


def test_a_screenshot_beside_a_scan_is_not_worth_a_word(tmp_path: Path) -> None:
    changes = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.7", "SeriesInstanceUID": "1.2.3.9"}
    assert series_without(tmp_path, **changes).corrections == ()


def test_a_report_that_names_a_scans_series_was_never_a_slice(tmp_path: Path) -> None:
    files = write(tmp_path)
    report = pydicom.dcmread(files[0])
    report.SOPClassUID, report.Modality = "1.2.840.10008.5.1.4.1.1.88.33", "SR"
    for name in ("Rows", "Columns", "PixelData", "SamplesPerPixel"):
        delattr(report, name)
    save(report, tmp_path / "report.dcm")
    assert read_scan(files[1]).corrections == ()


def test_a_slice_that_lost_its_series_is_missed(tmp_path: Path) -> None:
    volume = series_without(tmp_path, SeriesInstanceUID="1.2.3.5")
    assert says(volume, "IM0001.dcm beside it may be part of this scan")


@pytest.mark.parametrize(
    "changes",
    [
        {"SeriesInstanceUID": "1.2.3.5", "ImagePositionPatient": None},
        {"SeriesInstanceUID": "", "SeriesDescription": ""},
    ],
)
def test_a_slice_that_lost_its_series_and_more_is_missed(tmp_path: Path, changes: dict[str, object]) -> None:
    volume = series_without(tmp_path, **changes)
    assert says(volume, "IM0001.dcm beside it may be part of this scan")


@pytest.mark.parametrize("changes", [{"SeriesDescription": "Monitoring"}, {"ImagePositionPatient": [-10, -10, 70]}])
def test_a_single_image_of_another_kind_or_place_is_not_taken_for_a_slice(
    tmp_path: Path, changes: dict[str, object]
) -> None:
    assert series_without(tmp_path, SeriesInstanceUID="1.2.3.5", **changes).corrections == ()


@pytest.mark.parametrize("name", ["IM{:04d}", "{:d}", "1.2.840.{:d}.7"])
def test_a_slice_without_suffix_that_is_no_dicom_any_more_is_missed(tmp_path: Path, name: str) -> None:
    for index, file in enumerate(write(tmp_path)):
        file.rename(tmp_path / name.format(index + 1))
    spoilt = tmp_path / name.format(1)
    spoilt.write_bytes(b"\0" + spoilt.read_bytes())
    (tmp_path / "README").write_text("about")
    volume = read_scan(tmp_path)
    assert says(volume, f"left out: {spoilt.name}: not DICOM, though its name is like those of slices")
    assert not says(volume, "README")


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("more", [b"x", b"junk" * 5])
def test_bytes_after_the_last_element_are_refused(tmp_path: Path, more: bytes, compressed: bool) -> None:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    if compressed:
        dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    file = save(dataset, tmp_path / "a.dcm")
    file.write_bytes(file.read_bytes() + more)
    with pytest.raises(ScanError, match=r"a\.dcm: the slice is damaged or cut short \(.*last element"):
        read_scan(file)


@pytest.mark.parametrize("count", [2, 512])
def test_padding_after_the_last_element_is_left_out_and_said(tmp_path: Path, count: int) -> None:
    file = save(ct(body(1)[0], 0, 1, "1.2.3.4"), tmp_path / "a.dcm")
    file.write_bytes(file.read_bytes() + bytes(count))
    assert says(read_scan(file), f"{count} bytes of padding after the last element left out")


def test_a_byte_added_to_uncompressed_pixels_is_refused(tmp_path: Path) -> None:
    file = save(ct(body(1)[0], 0, 1, "1.2.3.4"), tmp_path / "a.dcm")
    data = file.read_bytes()
    file.write_bytes(data[:-500] + b"x" + data[-500:])
    with pytest.raises(ScanError, match="1 bytes after its last element|an odd number of bytes"):
        read_scan(file)


def test_trailing_padding_of_odd_length_is_no_damage(tmp_path: Path) -> None:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    dataset.DataSetTrailingPadding = bytes(100)
    file = save(dataset, tmp_path / "a.dcm")
    file.write_bytes(file.read_bytes() + b"\0")
    assert says(read_scan(file), "1 bytes of padding after the last element left out")


def test_an_element_after_the_pixels_that_breaks_off_is_refused(tmp_path: Path) -> None:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    dataset.DataSetTrailingPadding = bytes(100)
    file = save(dataset, tmp_path / "a.dcm")
    assert read_scan(file).shape == (1, 32, 32)
    file.write_bytes(file.read_bytes()[:-10])
    with pytest.raises(ScanError, match="its last element has 90 of 100 bytes"):
        read_scan(file)


def deflated(file: Path) -> CTVolume:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    return read_scan(save(dataset, file))


@pytest.mark.parametrize("more", [b"xy", b"\0\0x"])
def test_deflated_data_that_end_before_the_file_are_refused(tmp_path: Path, more: bytes) -> None:
    file = tmp_path / "a.dcm"
    whole = deflated(file)
    file.write_bytes(file.read_bytes() + b"\0")
    np.testing.assert_array_equal(read_scan(file).hu, whole.hu)
    file.write_bytes(file.read_bytes() + more)
    with pytest.raises(ScanError, match="deflated data do not end where the file does"):
        read_scan(file)


def test_the_checksum_that_some_writers_put_after_deflated_data_is_compared(tmp_path: Path) -> None:
    file = tmp_path / "a.dcm"
    whole = deflated(file)
    data = file.read_bytes()
    start = data.index(b"PYDICOM") + len("PYDICOM x.y.z ")
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    inflated = stream.decompress(data[start:])
    end = struct.pack("<2L", zlib.crc32(inflated), len(inflated))
    # What fills the file up to an even length is no part of the stream, whose own last byte may be zero.
    data = data[: len(data) - len(stream.unused_data)]
    file.write_bytes(data + end)
    np.testing.assert_array_equal(read_scan(file).hu, whole.hu)
    file.write_bytes(data + bytes([end[0] ^ 1]) + end[1:])
    with pytest.raises(ScanError, match="deflated data do not end where the file does"):
        read_scan(file)


def test_elements_that_are_not_in_order_are_said(tmp_path: Path) -> None:
    files = write(tmp_path)
    data = files[3].read_bytes()
    files[3].write_bytes(data.replace(b"\x18\x00\x50\x00DS", b"\x28\x09\x50\x00DS"))  # the thickness's tag
    assert says(read_scan(tmp_path), "elements of the header are not in order", "IM0004.dcm")


def test_an_element_that_is_there_twice_is_said(tmp_path: Path) -> None:
    files = write(tmp_path)
    data = files[3].read_bytes()
    study, series = b"\x20\x00\x0d\x00UI", b"\x20\x00\x0e\x00UI"
    assert data.count(study) == data.count(series) == 1
    files[3].write_bytes(data.replace(study, series))
    assert says(read_scan(tmp_path), "elements of the header are not in order", "IM0004.dcm")


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless])
def test_a_code_stream_with_more_bits_than_its_header_says_is_said(tmp_path: Path, syntax: str) -> None:
    files = write(tmp_path)
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.compress(syntax, generate_instance_uid=False)
        if file is files[4]:
            dataset.BitsStored, dataset.HighBit = 7, 6
        save(dataset, file)
    volume = read_scan(tmp_path)
    assert says(volume, "pixels of 16 bits in its code stream, 7 in its header", "IM0005.dcm")
    assert len(volume.corrections) == 1


def test_a_frame_that_is_no_slice_is_said(tmp_path: Path) -> None:
    dataset = enhanced(body(), [-5.0 * index for index in range(12)])
    frame = dataset.PerFrameFunctionalGroupsSequence[0]
    frame.PixelValueTransformationSequence[0].RescaleType = "IU"
    volume = read_scan(save(dataset, tmp_path / "e.dcm"))
    np.testing.assert_array_equal(volume.hu[::-1], body()[1:])
    assert says(volume, "1 frame(s) of the file left out: its values are IU, not Hounsfield units")


def test_damaged_files_of_another_folder_are_no_concern_of_a_scan(tmp_path: Path) -> None:
    write(tmp_path / "whole")
    other = write(tmp_path / "other", uid="1.2.3.5")
    other[0].write_bytes(b"")
    whole = next(entry for entry in find_scans(tmp_path) if entry.path.name == "whole")
    assert whole.said == ()
