"""Plain DICOM images: the wanted values of their headers, walked through once, and the pixels where they were found.

pydicom takes up to a millisecond for a header, a scan has hundreds, and most values are the same in all of them. What
is not plain (elements out of order, multi-frame, deflated, cut short, anything unknown) is not read here but by
pydicom, which then says what is wrong with it. pydicom converts the values here, too.
"""

import os
import struct
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from napari_uld.ct.dicom_files import DAMAGED

_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF  # a length that is not given: a delimiter follows
# Read at once, and at most, to find where the pixels begin (bytes).
_FIRST_READ, _LAST_READ = 1 << 14, 1 << 20
_SHORT = frozenset(str(vr).encode() for vr in STANDARD_VR - EXPLICIT_VR_LENGTH_32)
_LONG = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
_OWN = threading.local()
# Most of the work is Python's: more threads than this hinder each other, fewer do not hide a network drive's delay.
THREADS = 3
_KINDS = {0: np.dtype("<u2"), 1: np.dtype("<i2")}
_ELEMENT, _LENGTH, _IMPLICIT = struct.Struct("<HH2sH"), struct.Struct("<L"), struct.Struct("<HHL")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_META = {0x00020002: "MediaStorageSOPClassUID", 0x00020010: "TransferSyntaxUID"}
_CHARACTER_SET, _FUNCTIONAL_GROUPS = 0x00080005, (0x52009229, 0x52009230)
_PIXEL_REPRESENTATION, _AMBIGUOUS = 0x00280103, (0x00280120, 0x00280121)
_SYNTAXES = {ImplicitVRLittleEndian, ExplicitVRLittleEndian} | {
    syntax for syntax in AllTransferSyntaxes if syntax.is_encapsulated and syntax != DeflatedExplicitVRLittleEndian
}


@dataclass(frozen=True, eq=False)
class PlainHeader:
    """The wanted values of a plain file's header.

    Parameters
    ----------
    values
        By keyword; what the file lacks is not there.
    file_meta
        The same of its meta header.
    pixels_at, pixels_length
        Where the pixels begin in the file, and how many bytes its header gives them.
    size, changed
        The file's length and time of change when it was read.
    """

    values: Mapping[str, Any]
    file_meta: Mapping[str, Any] = field(repr=False)
    pixels_at: int
    pixels_length: int
    size: int
    changed: int

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give a value by its keyword."""
        return self.values.get(key, default)

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file is still the one that was read."""
        return self.size == status.st_size and self.changed == status.st_mtime_ns


class _NotPlainError(Exception):
    """There is something that pydicom has to judge."""


class _Raw(NamedTuple):
    """Elements as they stand in the file, and where the first that was not taken begins."""

    elements: dict[int, tuple[bytes | None, bytes]]
    end: int
    next_tag: int
    length: int


def tags_of(keywords: tuple[str, ...]) -> dict[int, str]:
    """Give the keywords by their tags."""
    return {int(tag_for_keyword(keyword) or 0): keyword for keyword in keywords}


def read_plain(stream: BinaryIO, wanted: Mapping[int, str]) -> PlainHeader | None:
    """Read the header of a plain image; None where pydicom has to.

    Parameters
    ----------
    stream
        A DICOM file, or something else, at its start.
    wanted
        Keywords of the values to keep, by tag.
    """
    status = os.fstat(stream.fileno())
    start = stream.read(_FIRST_READ)
    if start[128:132] != b"DICM":
        return None
    try:
        try:
            return _parsed(start, status, wanted)
        except (struct.error, IndexError):  # it is longer
            start += stream.read(_LAST_READ)
            return _parsed(start, status, wanted)
    except (_NotPlainError, *DAMAGED):
        return None


def _parsed(data: bytes, status: os.stat_result, wanted: Mapping[int, str]) -> PlainHeader:
    raw = _walk(data, 132, set(_META), meta=True)
    meta = {_META[tag]: _value(tag, *element, default_encoding) for tag, element in raw.elements.items()}
    syntax = meta["TransferSyntaxUID"]
    if syntax not in _SYNTAXES:
        raise _NotPlainError
    implicit = syntax == ImplicitVRLittleEndian
    raw = _walk(data, raw.end, {*wanted, _CHARACTER_SET}, implicit=implicit, before=0x0002FFFF)
    if raw.next_tag != _PIXEL_DATA:
        raise _NotPlainError
    encoding = _encoding(*raw.elements[_CHARACTER_SET]) if _CHARACTER_SET in raw.elements else default_encoding
    values = {}
    for tag, (vr, value) in raw.elements.items():
        if tag in _AMBIGUOUS and implicit:
            vr = b"SS" if raw.elements[_PIXEL_REPRESENTATION][1] == b"\1\0" else b"US"
        if tag in wanted:
            values[wanted[tag]] = _value(tag, vr, value, encoding)
    return PlainHeader(values, meta, raw.end, raw.length, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=1 << 12)
def _value(tag: int, vr: bytes | None, value: bytes, encoding: str | tuple[str, ...]) -> Any:
    """Have pydicom convert a value, once for all files that have it."""
    name = None if vr is None else vr.decode()
    raw = RawDataElement(BaseTag(tag), name, len(value), value, 0, vr is None, True)
    return convert_raw_data_element(raw, encoding=encoding if isinstance(encoding, str) else list(encoding)).value


@lru_cache
def _encoding(vr: bytes | None, value: bytes) -> tuple[str, ...]:
    return tuple(convert_encodings(_value(_CHARACTER_SET, vr, value, default_encoding)))


def _walk(
    data: bytes, at: int, wanted: set[int], *, implicit: bool = False, meta: bool = False, before: int = 0
) -> _Raw:
    """Walk through the elements up to the pixels, or through those of the meta header; each tag after the last."""
    found: dict[int, tuple[bytes | None, bytes]] = {}
    while True:
        if meta and data[at : at + 2] != b"\2\0":
            return _Raw(found, at, 0, 0)
        tag, vr, length, start = _element(data, at, implicit)
        if tag <= before or tag in _FUNCTIONAL_GROUPS:
            raise _NotPlainError
        if tag >= 0x7FE00000:
            return _Raw(found, start, tag, length)
        if length == _UNDEFINED:
            if vr not in (None, b"SQ"):
                raise _NotPlainError
            at = _after_items(data, start, implicit)
        else:
            at = start + length
            if tag in wanted:
                found[tag] = vr, data[start:at]
        before = tag


def _element(data: bytes, at: int, implicit: bool) -> tuple[int, bytes | None, int, int]:
    """Give tag, kind of value, length and start of the value of the element at a place."""
    if implicit:
        group, element, length = _IMPLICIT.unpack_from(data, at)
        return group << 16 | element, None, length, at + 8
    group, element, vr, length = _ELEMENT.unpack_from(data, at)
    if vr in _SHORT:
        return group << 16 | element, vr, length, at + 8
    if vr in _LONG:
        return group << 16 | element, vr, _LENGTH.unpack_from(data, at + 8)[0], at + 12
    raise _NotPlainError


def _after_items(data: bytes, at: int, implicit: bool) -> int:
    """Walk through a sequence of undefined length, and the sequences in it; give where it ends."""
    while True:
        group, element, length = _IMPLICIT.unpack_from(data, at)
        tag, at = group << 16 | element, at + 8
        if tag == _SEQUENCE_END and length == 0:
            return at
        if tag != _ITEM:
            raise _NotPlainError
        end = None if length == _UNDEFINED else at + length
        while at != end:
            group, element, length = _IMPLICIT.unpack_from(data, at)
            if group << 16 | element == _ITEM_END and end is None:
                at += 8
                break
            _, vr, length, at = _element(data, at, implicit)
            if length == _UNDEFINED and vr in (None, b"SQ"):
                at = _after_items(data, at, implicit)
            else:
                at += length
            if at > (len(data) if end is None else end):
                raise IndexError


def read_pixels(file: Path, header: PlainHeader) -> np.ndarray | None:
    """Read the pixels of a file that was found to be plain; None where pydicom has to.

    Only what cannot be read in two ways is read here: one grey image of 16 bits a pixel, not compressed, of exactly the
    length that its size requires, with nothing after it, in a file that is still the one whose header is known.

    Parameters
    ----------
    file
        Where they are.
    header
        The file's, as it was when it was found.

    Returns
    -------
    (rows, columns), int16 or uint16, until the same thread reads the next.
    """
    if not _is_simple(header):
        return None
    kind = _KINDS[header.get("PixelRepresentation")]
    pixels = _scratch(header.pixels_length).view(kind).reshape(header.get("Rows"), header.get("Columns"))
    with file.open("rb", buffering=0) as stream:
        if not header.is_of(os.fstat(stream.fileno())):
            return None
        stream.seek(header.pixels_at)
        if stream.readinto(pixels.data) != header.pixels_length:
            return None
    # What is kept in bits that are not the pixels' is another image's or an overlay.
    lowest, highest = np.iinfo(kind).min, np.iinfo(kind).max
    unused = 16 - int(header.get("BitsStored"))
    if unused and (int(pixels.min()) < lowest >> unused or int(pixels.max()) > highest >> unused):
        return None
    return pixels


def _scratch(length: int) -> np.ndarray:
    """Give a thread its own memory, each time the same: to ask for new one takes longer than reading into it."""
    if getattr(_OWN, "memory", np.empty(0)).nbytes < length:
        _OWN.memory = np.empty(length, np.uint8)
    return _OWN.memory[:length]


def _is_simple(header: PlainHeader) -> bool:
    """Tell whether all that pydicom requires of uncompressed pixels is there and leaves nothing to decide."""
    return (
        header.file_meta["TransferSyntaxUID"] in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        and header.pixels_at + header.pixels_length == header.size
        and header.get("SamplesPerPixel") == 1
        and header.get("NumberOfFrames") in (None, 1)
        and header.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and header.get("BitsAllocated") == 16
        and header.get("BitsStored") in range(1, 17)
        and header.get("PixelRepresentation") in (0, 1)
        and all(isinstance(header.get(side), int) for side in ("Rows", "Columns"))
        and 2 * header.get("Rows") * header.get("Columns") == header.pixels_length > 0
    )
