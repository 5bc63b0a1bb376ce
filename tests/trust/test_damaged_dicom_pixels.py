"""Damaged DICOM pixels that a decoder would fill in as it likes are refused, and block no other scan."""

import io
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from PIL import Image as Picture
from pydicom.dataset import Dataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import ScanError

from .dicom_series import body, ct, save, write

SYNTAXES = {"JPEG": JPEGBaseline8Bit, "JPEG 2000": JPEG2000Lossless, "JPEG-LS": JPEGLSLossless, "RLE": RLELossless}
# RLE has no end marker: its segments' lengths tell.
WITH_MARKERS = [name for name in SYNTAXES if name != "RLE"]


def compressed(name: str, index: int = 0, size: int = 64) -> Dataset:
    """A slice in a compressed transfer syntax."""
    hu = body(3, size)[index]
    dataset = ct(hu, -5.0 * index, index + 1, "1.2.3.4")
    if name != "JPEG":
        dataset.compress(SYNTAXES[name], generate_instance_uid=False)
        return dataset
    stream = io.BytesIO()
    Picture.fromarray(np.clip((hu + 1024) // 8, 0, 255).astype(np.uint8)).save(stream, "JPEG", quality=95)
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit, dataset.RescaleSlope = 7, 8
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    put(dataset, stream.getvalue())
    return dataset


def stream_of(dataset: Dataset) -> bytes:
    return next(generate_frames(dataset.PixelData, number_of_frames=1))


def put(dataset: Dataset, *fragments: bytes) -> None:
    """Put a code stream into a slice."""
    dataset.PixelData = encapsulate([b"".join(fragments)], fragments_per_frame=len(fragments))
    dataset["PixelData"].VR = "OB"
    dataset["PixelData"].is_undefined_length = True


@pytest.mark.parametrize("name", ["JPEG", "JPEG-LS"])
@pytest.mark.parametrize("after", [b"", b"\0\0\0"])
def test_a_streams_end_that_is_overwritten_is_no_fill(tmp_path: Path, name: str, after: bytes) -> None:
    dataset = compressed(name)
    whole = stream_of(dataset).rstrip(b"\0")
    put(dataset, whole[:-62], b"\xff" * 60, after, whole[-2:])
    save(dataset, tmp_path / "a.dcm")
    with pytest.raises(ScanError, match="bytes without meaning stand where its image should go on"):
        read_scan(tmp_path / "a.dcm")


@pytest.mark.parametrize("name", ["JPEG", "JPEG-LS"])
def test_a_byte_that_fills_up_before_the_end_marker_is_no_damage(tmp_path: Path, name: str) -> None:
    dataset = compressed(name)
    whole = stream_of(dataset).rstrip(b"\0")
    before = read_scan(save(dataset, tmp_path / "a.dcm"))
    put(dataset, whole[:-2], b"\xff", whole[-2:])
    after = read_scan(save(dataset, tmp_path / "b.dcm"))
    np.testing.assert_array_equal(before.hu, after.hu)


@pytest.mark.parametrize("name", SYNTAXES)
def test_whole_streams_are_read_as_a_second_decoder_reads_them(tmp_path: Path, name: str) -> None:
    files = [save(compressed(name, index), tmp_path / f"{index}.dcm") for index in range(3)]
    volume = read_scan(tmp_path)
    second = np.stack([sitk.GetArrayFromImage(sitk.ReadImage(str(file)))[0] for file in reversed(files)])
    # Decoders of lossy JPEG may round to either side: one stored value is 8 HU.
    np.testing.assert_allclose(volume.hu, np.rint(second), atol=8 if name == "JPEG" else 0)
    if name != "JPEG":
        np.testing.assert_array_equal(volume.hu[::-1], body(3, 64))


@pytest.mark.parametrize("share", [0.95, 0.6, 0.2])
@pytest.mark.parametrize("name", SYNTAXES)
def test_a_code_stream_cut_short_is_refused_by_name(tmp_path: Path, name: str, share: float) -> None:
    dataset = compressed(name)
    stream = stream_of(dataset)
    put(dataset, stream[: int(len(stream) * share)])
    file = save(dataset, tmp_path / "cut.dcm")
    with pytest.raises(ScanError, match=r"cut\.dcm.*copy or export it again"):
        read_scan(file)


@pytest.mark.parametrize("name", WITH_MARKERS)
def test_a_code_stream_of_which_the_end_is_zero_is_refused(tmp_path: Path, name: str) -> None:
    dataset = compressed(name)
    stream = stream_of(dataset)
    keep = int(len(stream) * 0.6)
    put(dataset, stream[:keep] + bytes(len(stream) - keep))
    with pytest.raises(ScanError, match=r"zeros\.dcm"):
        read_scan(save(dataset, tmp_path / "zeros.dcm"))


@pytest.mark.parametrize("name", ["JPEG 2000", "JPEG-LS"])
def test_a_code_stream_that_lost_its_middle_is_refused(tmp_path: Path, name: str) -> None:
    dataset = compressed(name)
    stream = stream_of(dataset)
    third = len(stream) // 3
    put(dataset, stream[:third] + stream[2 * third :])
    with pytest.raises(ScanError, match=r"middle\.dcm"):
        read_scan(save(dataset, tmp_path / "middle.dcm"))


def test_a_jpeg_with_a_marker_inside_its_scan_is_refused(tmp_path: Path) -> None:
    dataset = compressed("JPEG")
    stream = bytearray(stream_of(dataset))
    stream[len(stream) // 2 : len(stream) // 2 + 2] = b"\xff\x42"
    put(dataset, bytes(stream))
    with pytest.raises(ScanError, match=r"marker\.dcm: the slice is damaged or cut short \(.*code stream"):
        read_scan(save(dataset, tmp_path / "marker.dcm"))


@pytest.mark.parametrize("name", WITH_MARKERS)
def test_a_code_stream_of_another_size_is_refused(tmp_path: Path, name: str) -> None:
    dataset = compressed(name)
    dataset.Rows, dataset.Columns = 32, 128  # as many pixels
    with pytest.raises(ScanError, match=r"holds \(64, 64\) rows and columns, the header says \(32, 128\)"):
        read_scan(save(dataset, tmp_path / "size.dcm"))


@pytest.mark.parametrize("name", WITH_MARKERS)
def test_padding_and_fragments_are_no_damage(tmp_path: Path, name: str) -> None:
    dataset = compressed(name)
    stream = stream_of(dataset).rstrip(b"\0")
    whole = read_scan(save(dataset, tmp_path / "whole" / "a.dcm"))
    put(dataset, stream[:200], stream[200:] + b"\0" * (4 + len(stream) % 2))
    np.testing.assert_array_equal(read_scan(save(dataset, tmp_path / "parts" / "a.dcm")).hu, whole.hu)


def test_an_rle_table_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    dataset = compressed("RLE")
    stream = bytearray(stream_of(dataset))
    stream[8:12] = (80).to_bytes(4, "little")  # the second of two segments begins too early
    put(dataset, bytes(stream))
    with pytest.raises(ScanError, match=r"rle\.dcm"):
        read_scan(save(dataset, tmp_path / "rle.dcm"))


@pytest.mark.parametrize("by", [-2, -600, 64 + 2, 5000])
def test_uncompressed_pixels_have_exactly_the_images_length(tmp_path: Path, by: int) -> None:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    dataset.PixelData = dataset.PixelData[:by] if by < 0 else dataset.PixelData + bytes(by)
    with pytest.raises(ScanError, match=rf"{2048 + by} bytes of pixels found, 2048 required"):
        read_scan(save(dataset, tmp_path / "length.dcm"))


def test_a_few_bytes_after_the_pixels_are_ignored_and_said(tmp_path: Path) -> None:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    dataset.PixelData += bytes(8)
    assert "8 bytes after the pixels ignored" in read_scan(save(dataset, tmp_path / "more.dcm")).corrections


def test_a_slice_without_pixels_is_refused(tmp_path: Path) -> None:
    dataset = ct(body(1)[0], 0, 1, "1.2.3.4")
    del dataset.PixelData
    with pytest.raises(ScanError, match="no pixel data"):
        read_scan(save(dataset, tmp_path / "none.dcm"))


@pytest.mark.parametrize("share", [0.6, 0.05])
def test_a_deflated_file_cut_short_blocks_no_other_scan(tmp_path: Path, share: float) -> None:
    files = write(tmp_path / "cut")
    write(tmp_path / "whole", uid="1.2.3.5")
    for file in files:
        dataset = pydicom.dcmread(file)
        dataset.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
        save(dataset, file)
    assert read_scan(tmp_path / "cut").shape[0] == 12
    data = files[5].read_bytes()
    files[5].write_bytes(data[: max(int(len(data) * share), 400)])
    found = find_scans(tmp_path)
    assert [file for left in found.left_out for file in left.files] == [files[5]]
    whole = next(entry for entry in found if entry.path.name == "whole")
    assert read_scan(tmp_path, whole.name).shape[0] == 12
    with pytest.raises(ScanError, match=r"1 between slice 7 and slice 5.*IM0006\.dcm"):
        read_scan(tmp_path / "cut")
