"""Plain DICOM images: the wanted values of their headers, walked through once, and where their pixels are.

pydicom takes up to a millisecond for a header, a scan has hundreds, and most values are the same in all of them: they
are converted and judged once for all files that have them. What is not plain (elements out of order, multi-frame,
deflated, cut short, anything unknown) is not read here but by pydicom, which then says what is wrong with it. pydicom
converts the values here, too, save those of one slice alone that are written as DICOM has it.
"""

import math
import os
import re
import struct
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, wraps
from io import FileIO
from typing import Any, BinaryIO, NamedTuple, TypeVar, TypeVarTuple

import numpy as np
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import keyword_for_tag, tag_for_keyword
from pydicom.dataelem import RawDataElement, convert_raw_data_element
from pydicom.tag import BaseTag
from pydicom.uid import (
    AllTransferSyntaxes,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)
from pydicom.valuerep import EXPLICIT_VR_LENGTH_32, STANDARD_VR

from napari_uld.ct.dicom_files import DAMAGED, Header

Rest = TypeVarTuple("Rest")
Answer = TypeVar("Answer")

_PIXEL_DATA = 0x7FE00010
_UNDEFINED = 0xFFFFFFFF  # a length that is not given: a delimiter follows
# Read at once, and at most, to find where the pixels begin (bytes).
_FIRST_READ, _LAST_READ = 1 << 14, 1 << 20
_SHORT = frozenset(str(vr).encode() for vr in STANDARD_VR - EXPLICIT_VR_LENGTH_32)
_LONG = frozenset(str(vr).encode() for vr in EXPLICIT_VR_LENGTH_32)
_ELEMENT, _LENGTH, _IMPLICIT = struct.Struct("<HH2sH"), struct.Struct("<L"), struct.Struct("<HHL")
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_META = {0x00020002, 0x00020010}  # MediaStorageSOPClassUID, TransferSyntaxUID
_CHARACTER_SET, _FUNCTIONAL_GROUPS = 0x00080005, (0x52009229, 0x52009230)
_PIXEL_REPRESENTATION, _AMBIGUOUS = 0x00280103, {0x00280120, 0x00280121}
_SYNTAXES = {ImplicitVRLittleEndian, ExplicitVRLittleEndian} | {
    syntax for syntax in AllTransferSyntaxes if syntax.is_encapsulated and syntax != DeflatedExplicitVRLittleEndian
}


class _Own(NamedTuple):
    """An element that belongs to one slice alone: its kind, and what it looks like where it is written as DICOM has it.

    Then it needs no conversion but Python's. Whatever else stands there is pydicom's to judge.
    """

    keyword: str
    vr: bytes
    pattern: re.Pattern[bytes]

    def has(self, vr: bytes | None, value: bytes) -> bool:
        """Tell whether a value is written so; no kind is given where elements come without it."""
        return vr in (None, self.vr) and self.pattern.fullmatch(value) is not None


_NUMBER = rb" *[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)? *"
# By tag.
_OWN = {
    0x00080018: _Own("SOPInstanceUID", b"UI", re.compile(rb"(?=[\d.]{1,64}\0?$)(0|[1-9]\d*)(\.(0|[1-9]\d*))*\0?")),
    0x0008002A: _Own("AcquisitionDateTime", b"DT", re.compile(rb"[\d.+-]+ ?")),
    0x00080032: _Own("AcquisitionTime", b"TM", re.compile(rb"[\d.]+ ?")),
    0x00080033: _Own("ContentTime", b"TM", re.compile(rb"[\d.]+ ?")),
    0x00200013: _Own("InstanceNumber", b"IS", re.compile(rb"(?=.{1,12}$) *[+-]?\d{1,9} *")),
    0x00200032: _Own("ImagePositionPatient", b"DS", re.compile(rb"\\".join([_NUMBER] * 3))),
}


@dataclass(frozen=True, eq=False)
class SharedHeader:
    """The wanted values that are no slice's own: the same object for all files of which they are the same.

    Parameters
    ----------
    values
        By keyword; what the files lack is not there.
    file_meta
        The same of their meta headers.
    """

    values: Mapping[str, Any]
    file_meta: Mapping[str, Any] = field(repr=False)

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give a value by its keyword."""
        return self.values.get(key, default)


@dataclass(frozen=True, eq=False)
class PlainHeader:
    """The wanted values of a plain file's header.

    Parameters
    ----------
    shared
        Those that it has in common with others.
    own
        Text of those that are this slice's own, where they are written as DICOM has it.
    pixels_at, pixels_length
        Where the pixels begin in the file, and how many bytes its header gives them.
    size, changed
        The file's length and time of change when it was read.
    """

    shared: SharedHeader
    own: Mapping[str, str]
    pixels_at: int
    pixels_length: int
    size: int
    changed: int

    @property
    def file_meta(self) -> Mapping[str, Any]:
        """The same of its meta header."""
        return self.shared.file_meta

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give a value by its keyword."""
        if key in self.own:
            return _value(int(tag_for_keyword(key) or 0), None, self.own[key].encode(), default_encoding)
        return self.shared.values.get(key, default)

    @cached_property
    def position(self) -> np.ndarray | None:
        """ImagePositionPatient as finite numbers (mm); None where it has to be asked for."""
        if "ImagePositionPatient" not in self.own:
            return None
        numbers = [float(number) for number in self.own["ImagePositionPatient"].split("\\")]
        return np.array(numbers) if all(map(math.isfinite, numbers)) else None

    def is_of(self, status: os.stat_result) -> bool:
        """Tell whether a file is still the one that was read."""
        return self.size == status.st_size and self.changed == status.st_mtime_ns


def asked_once(ask: Callable[[Header, *Rest], Answer]) -> Callable[[Header, *Rest], Answer]:
    """Have headers that share values share the answer to a question, which is not about what is one slice's own."""
    ask_shared = lru_cache(ask)

    @wraps(ask)
    def asked(header: Header, *rest: *Rest) -> Answer:
        if isinstance(header, PlainHeader):
            return ask_shared(header.shared, *rest)
        return ask(header, *rest)

    return asked


class _NotPlainError(Exception):
    """There is something that pydicom has to judge."""


class _Raw(NamedTuple):
    """Elements as they stand in the file, and where the first that was not taken begins."""

    shared: bytes
    own: dict[str, str]
    end: int
    next_tag: int
    length: int


def tags_of(keywords: tuple[str, ...]) -> dict[int, str]:
    """Give the keywords by their tags, and that of the letters that texts are written in."""
    return {int(tag_for_keyword(keyword) or 0): keyword for keyword in ("SpecificCharacterSet", *keywords)}


class Start(NamedTuple):
    """How a file begins, and what it was just before that was read."""

    data: bytes
    status: os.stat_result


def start_of(stream: BinaryIO | FileIO) -> Start:
    """Read how a file begins."""
    status = os.fstat(stream.fileno())
    return Start(stream.read(_FIRST_READ), status)


def read_plain(stream: BinaryIO | FileIO, wanted: Mapping[int, str], start: Start | None = None) -> PlainHeader | None:
    """Read the header of a plain image; None where pydicom has to.

    Parameters
    ----------
    stream
        A DICOM file, or something else, at its start.
    wanted
        Keywords of the values to keep, by tag.
    start
        What `start_of` read of it before: it is where that ends.
    """
    data, status = start or start_of(stream)
    if data[128:132] != b"DICM":
        return None
    try:
        try:
            return _parsed(data, status, wanted)
        except (struct.error, IndexError):  # it is longer
            data += stream.read(_LAST_READ)
            return _parsed(data, status, wanted)
    except (_NotPlainError, *DAMAGED):
        return None


def _parsed(data: bytes, status: os.stat_result, wanted: Mapping[int, str]) -> PlainHeader:
    meta = _walk(data, 132, _META, meta=True)
    implicit = _is_implicit(meta.shared)
    raw = _walk(data, meta.end, wanted, implicit=implicit, before=0x0002FFFF)
    if raw.next_tag != _PIXEL_DATA:
        raise _NotPlainError
    shared = _shared(meta.shared, raw.shared, implicit)
    return PlainHeader(shared, raw.own, raw.end, raw.length, status.st_size, status.st_mtime_ns)


@lru_cache
def _is_implicit(meta: bytes) -> bool:
    """Tell from the elements of a meta header whether those that follow it come without their kind."""
    syntax = _values(meta, implicit=False)["TransferSyntaxUID"]
    if syntax not in _SYNTAXES:
        raise _NotPlainError
    return syntax == ImplicitVRLittleEndian


@lru_cache
def _shared(meta: bytes, elements: bytes, implicit: bool) -> SharedHeader:
    """Convert elements once for all files in which they stand alike."""
    return SharedHeader(_values(elements, implicit), _values(meta, implicit=False))


def _values(elements: bytes, implicit: bool) -> dict[str, Any]:
    """Convert elements, one after the other as they stand in a file, to values by keyword."""
    found: dict[int, tuple[bytes | None, bytes]] = {}
    at = 0
    while at < len(elements):
        tag, vr, length, start = _element(elements, at, implicit)
        at = start + length
        found[tag] = vr, elements[start:at]
    encoding: str | tuple[str, ...] = default_encoding
    if _CHARACTER_SET in found:
        encoding = _encoding(*found[_CHARACTER_SET])
    if implicit:
        for tag in _AMBIGUOUS & found.keys():
            found[tag] = b"SS" if found[_PIXEL_REPRESENTATION][1] == b"\1\0" else b"US", found[tag][1]
    return {_keyword(tag): _value(tag, *element, encoding) for tag, element in found.items()}


_keyword = lru_cache(keyword_for_tag)


@lru_cache
def _encoding(vr: bytes | None, value: bytes) -> tuple[str, ...]:
    return tuple(convert_encodings(_value(_CHARACTER_SET, vr, value, default_encoding)))


@lru_cache(maxsize=1 << 10)
def _value(tag: int, vr: bytes | None, value: bytes, encoding: str | tuple[str, ...]) -> Any:
    """Have pydicom convert a value, once for all files that have it."""
    name = None if vr is None else vr.decode()
    raw = RawDataElement(BaseTag(tag), name, len(value), value, 0, vr is None, True)
    return convert_raw_data_element(raw, encoding=encoding if isinstance(encoding, str) else list(encoding)).value


def _walk(
    data: bytes, at: int, wanted: Container[int], *, implicit: bool = False, meta: bool = False, before: int = 0
) -> _Raw:
    """Walk through the elements up to the pixels, or through those of the meta header; each tag after the last."""
    shared: list[bytes] = []
    own: dict[str, str] = {}
    while True:
        if meta and data[at : at + 2] != b"\2\0":
            return _Raw(b"".join(shared), own, at, 0, 0)
        tag, vr, length, start = _element(data, at, implicit)
        if tag <= before or tag in _FUNCTIONAL_GROUPS:
            raise _NotPlainError
        if tag >= 0x7FE00000:
            return _Raw(b"".join(shared), own, start, tag, length)
        if length == _UNDEFINED:
            if vr not in (None, b"SQ"):
                raise _NotPlainError
            at = _after_items(data, start, implicit)
        else:
            end = start + length
            if tag in _OWN and _OWN[tag].has(vr, data[start:end]):
                own[_OWN[tag].keyword] = data[start:end].rstrip(b" \0").decode()
            elif tag in wanted:
                shared.append(data[at:end])
            at = end
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
