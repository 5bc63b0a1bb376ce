"""Whether a DICOM file and its pixel data are whole: decoders fill what is missing with what they like.

Checked is what order, lengths and markers can show: where a file's elements end, a native image's length,
a code stream's start and end markers, its size, the lengths of its segments and tile parts.
"""

import io
import re
import struct
import zlib
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import BinaryIO

from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.filereader import data_element_generator, read_dataset, read_preamble
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    JPEG2000TransferSyntaxes,
    JPEGLSTransferSyntaxes,
    JPEGTransferSyntaxes,
    RLELossless,
)

from napari_uld.errors import ScanError

_SIZE_MARKERS = {*range(0xC0, 0xD0), 0xF7} - {0xC4, 0xC8, 0xCC}
# Inside entropy-coded data, 0xFF is followed by a stuffed zero, a restart marker or another 0xFF; nothing else.
_JPEG_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
# JPEG-LS stuffs a zero bit instead: the byte after 0xFF lies below 0x80.
_JPEG_LS_MARKER = re.compile(rb"\xff[\x80-\xcf\xd8-\xfe]")
_END = 0xD9
# Bytes of 0xFF that may stand before a marker, where a writer makes a length even; more have taken the place of data.
MOST_FILL = 2
_UNDEFINED, _DELIMITER = 0xFFFFFFFF, 8  # bytes
# What is longer is not read where it is not looked at (bytes).
_SHORT = 1 << 10
_PIXEL_DATA = 0x7FE00010


def check_elements(dataset: Dataset, stream: BinaryIO, file: Path) -> list[str]:
    """Say where the order and the end of a file's elements show that bytes were lost or added.

    Parameters
    ----------
    dataset
        As it was read, no element looked at.
    stream
        What it was read from.
    file
        What messages name.

    Raises
    ------
    ScanError
        If the file ends within an element, or its deflated data do not end where it does.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    elements = _inflated(stream, file) if syntax == DeflatedExplicitVRLittleEndian else _after_meta(stream)
    walked = data_element_generator(elements, syntax.is_implicit_VR, syntax.is_little_endian, defer_size=_SHORT)
    tags = [element.tag for element in walked if element.tag]  # in the file's order; zeros are padding
    said = [] if tags == sorted(set(tags)) else ["elements of the header are not in order, as they are after damage"]
    last = dataset.get_item(tags[-1])
    if not isinstance(last, RawDataElement):
        return said
    found = len(last.value or b"")
    if found < last.length < _UNDEFINED:
        raise _damaged(file, f"its last element has {found} of {last.length} bytes")
    elements.seek(last.value_tell + found + (_DELIMITER if last.length == _UNDEFINED else 0))
    rest = elements.read()
    if rest.strip(b"\0"):
        raise _damaged(file, f"{len(rest)} bytes after its last element")
    # What DICOM writes is even: one byte too many was added before, most likely to the pixels.
    if last.tag == _PIXEL_DATA and last.length < _UNDEFINED and (found + len(rest)) % 2:
        raise _damaged(file, f"an odd number of bytes, {found + len(rest)}, from its pixels to its end")
    return [*said, f"{len(rest)} bytes of padding after the last element left out"] if rest else said


def _after_meta(stream: BinaryIO) -> BinaryIO:
    """Go to where the elements of a file begin."""
    stream.seek(0)
    read_preamble(stream, force=True)
    read_dataset(stream, False, True, stop_when=lambda tag, vr, length: tag >> 16 != 2)
    return stream


def _inflated(stream: BinaryIO, file: Path) -> BinaryIO:
    """Inflate what follows the meta header of a file."""
    _after_meta(stream)
    inflate = zlib.decompressobj(-zlib.MAX_WBITS)
    data = inflate.decompress(stream.read())
    # Some writers end it as gzip does, with a checksum and the length.
    trailer = struct.pack("<2L", zlib.crc32(data), len(data) & 0xFFFFFFFF)
    if not inflate.eof or inflate.unused_data.removeprefix(trailer).strip(b"\0"):
        raise _damaged(file, "its deflated data do not end where the file does")
    return io.BytesIO(data)


def check_pixel_data(dataset: Dataset, file: Path) -> list[str]:
    """Refuse pixel data that are not whole; say what was ignored.

    Raises
    ------
    ScanError
        If pixel data are absent, shorter or longer than the image, or a code stream is damaged or cut short.
    """
    if "PixelData" not in dataset:
        raise _damaged(file, "the file has no pixel data, one image is required")
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return _check_native(dataset, file)
    count = int(dataset.get("NumberOfFrames") or 1)
    offsets = None
    if "ExtendedOffsetTable" in dataset:
        offsets = (dataset.ExtendedOffsetTable, dataset.ExtendedOffsetTableLengths)
    frames = list(generate_frames(dataset.PixelData, number_of_frames=count, extended_offsets=offsets))
    if len(frames) != count:
        raise _damaged(file, f"{len(frames)} compressed images found, {count} required")
    size = (int(dataset.Rows), int(dataset.Columns))
    for frame in frames:
        if syntax == RLELossless:
            planes = int(dataset.BitsAllocated) // 8 * int(dataset.get("SamplesPerPixel") or 1)
            found = _wrong_with_rle(frame, planes, size[0] * size[1])
        elif syntax in JPEG2000TransferSyntaxes:
            found = _wrong_with_jpeg_2000(frame, size)
        elif syntax in JPEGTransferSyntaxes or syntax in JPEGLSTransferSyntaxes:
            found = _wrong_with_jpeg(frame, size, _JPEG_LS_MARKER if syntax in JPEGLSTransferSyntaxes else _JPEG_MARKER)
        else:
            found = ""
        if found:
            raise _damaged(file, found)
    bits, stored = max(map(_bits, frames)), int(dataset.get("BitsStored") or 0)
    return [f"pixels of {bits} bits in its code stream, {stored} in its header, taken as they are"] * (bits > stored)


def _damaged(file: Path, found: str) -> ScanError:
    return ScanError(f"{file}: the slice is damaged or cut short ({found}): copy or export it again")


def _check_native(dataset: Dataset, file: Path) -> list[str]:
    """Compare the length of uncompressed pixels with the image's size."""
    row = int(dataset.Columns) * int(dataset.get("SamplesPerPixel") or 1) * int(dataset.BitsAllocated) // 8
    required = row * int(dataset.Rows) * int(dataset.get("NumberOfFrames") or 1)
    found = len(dataset.PixelData)
    # One byte more makes an odd length even; some writers fill up to a block. More is another image's size.
    if found < required or found - required > max(row, 1):
        raise _damaged(file, f"{found} bytes of pixels found, {required} required by its size")
    return [f"{found - required} bytes after the pixels ignored"] if found > required + required % 2 else []


def _wrong_with_rle(frame: bytes, planes: int, length: int) -> str:
    """Say what is wrong with an RLE image: each plane of bytes is a segment that unpacks to `length` bytes."""
    if len(frame) < 64:
        return f"RLE data of {len(frame)} bytes, at least 64 required"
    count, *offsets = struct.unpack("<16L", frame[:64])
    if count != planes:
        return f"{count} RLE segments, {planes} required"
    ends = [*offsets[:count], len(frame)]
    if offsets[0] != 64 or any(one >= other for one, other in pairwise(ends)):
        return "its RLE segments do not fit the data"
    wrong = any(not _unpacks_to(frame[one:other], length) for one, other in pairwise(ends))
    return "an RLE segment does not unpack to the image's size" if wrong else ""


def _unpacks_to(segment: bytes, length: int) -> bool:
    """Tell whether runs and copies of an RLE segment end exactly where the image does."""
    at, unpacked = 0, 0
    while unpacked < length and at < len(segment):
        head = segment[at]
        if head < 128:
            unpacked += head + 1
            at += head + 2
        elif head > 128:
            unpacked += 257 - head
            at += 2
        else:
            at += 1
    return unpacked == length and at <= len(segment) and not segment[at:].strip(b"\0")


def _wrong_with_jpeg(frame: bytes, size: tuple[int, int], marker: re.Pattern[bytes]) -> str:
    """Walk through a JPEG or JPEG-LS code stream from marker to marker, and say what is wrong."""
    if frame[:2] != b"\xff\xd8":
        return "its code stream has no start marker"
    at, sizes = 2, []
    while True:
        while frame[at : at + 2] == b"\xff\xff":  # fill bytes
            at += 1
        if at + 2 > len(frame):
            return "its code stream has no end marker"
        if frame[at] != 0xFF:
            return "its code stream has no marker where one is required"
        code = frame[at + 1]
        if code == _END:
            break
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(frame):
            return "a segment of its code stream breaks off"
        if code in _SIZE_MARKERS:
            sizes.append(struct.unpack(">HH", frame[at + 5 : at + 9]))
        at += 2 + length
        if code == 0xDA:  # start of scan: its data run to the next marker
            found = marker.search(frame, at)
            if found is None:
                return "its code stream has no end marker"
            # With the marker's own.
            if b"\xff" * (MOST_FILL + 2) in frame[at : found.start() + 1]:
                return "bytes without meaning stand where its image should go on"
            at = found.start()
    if _is_too_much(frame[at + 2 :]):
        return "data follow its code stream's end marker"
    return _wrong_size(sizes, size)


def _wrong_with_jpeg_2000(frame: bytes, size: tuple[int, int]) -> str:
    """Walk through a JPEG 2000 code stream from tile part to tile part, and say what is wrong."""
    if frame[:12] == b"\x00\x00\x00\x0cjP  \r\n\x87\n":  # some writers wrap it in a file of its own
        frame = frame[max(0, frame.find(b"jp2c") + 4) :]
    if frame[:4] != b"\xff\x4f\xff\x51" or len(frame) < 40:
        return "its code stream has no start marker"
    width, height, left, top = struct.unpack(">4L", frame[8:24])
    at = 2
    while frame[at : at + 2] != b"\xff\x90":  # the main header, up to the first tile part
        length = int.from_bytes(frame[at + 2 : at + 4], "big")
        if frame[at : at + 1] != b"\xff" or length < 2:
            return "the header of its code stream is damaged"
        at += 2 + length
    while frame[at : at + 2] == b"\xff\x90":
        length = int.from_bytes(frame[at + 6 : at + 10], "big")
        if length == 0:  # the last one may run to the end
            at = frame.rfind(b"\xff\xd9")
        elif length < 14:
            return "a tile of its code stream has an impossible length"
        else:
            at += length
    if at < 0 or frame[at : at + 2] != b"\xff\xd9":
        return "its code stream has no end marker where its tiles end"
    if _is_too_much(frame[at + 2 :]):
        return "data follow its code stream's end marker"
    return _wrong_size([(height - top, width - left)], size)


def _bits(frame: bytes) -> int:
    """Give how many bits a pixel has by the code stream, one that was checked; 0 where it does not say."""
    if frame[:4] == b"\xff\x4f\xff\x51":
        return (frame[42] & 0x7F) + 1
    at = 2
    while frame[:2] == b"\xff\xd8" and at + 4 < len(frame):
        if frame[at + 1] in _SIZE_MARKERS:
            return frame[at + 4]
        at += 1 if frame[at + 1] == 0xFF else 2 + int.from_bytes(frame[at + 2 : at + 4], "big")
    return 0


def _is_too_much(rest: bytes) -> bool:
    """Tell whether something else than padding follows a code stream."""
    return bool(rest.strip(b"\0")) and bool(rest.strip(b"\xff"))


def _wrong_size(sizes: Sequence[tuple[int, ...]], required: tuple[int, int]) -> str:
    """Compare the sizes (rows, columns) that a code stream gives with the header's; 0 rows: given later."""
    wrong = [one for one in sizes if one[0] and one != required]
    if not sizes:
        return "its code stream gives no size"
    return f"its code stream holds {wrong[0]} rows and columns, the header says {required}" if wrong else ""
