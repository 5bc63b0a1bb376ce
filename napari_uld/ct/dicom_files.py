"""DICOM files: read whatever they start with, and told apart into CT images and everything else."""

import struct
import zlib
from functools import lru_cache
from typing import Any, BinaryIO, Protocol

import pydicom
from pydicom.dataset import Dataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, ImplicitVRLittleEndian

# CT images that hold all their slices as frames of one file.
MULTI_FRAME = {
    "1.2.840.10008.5.1.4.1.1.2.1": "a multi-frame enhanced CT",
    "1.2.840.10008.5.1.4.1.1.2.2": "a multi-frame legacy converted CT",
}
LOCALISER = "a localiser"
# Names of what is often found beside CT images, by SOP class.
_OTHER_OBJECTS = {
    "1.2.840.10008.1.3.10": "a DICOMDIR index",
    "1.2.840.10008.5.1.4.1.1.66.4": "a segmentation (SEG)",
    "1.2.840.10008.5.1.4.1.1.481.3": "a radiotherapy structure set (RTSTRUCT)",
}
# All that pydicom and its decoders raise on damaged headers or pixels.
DAMAGED = (
    *(AttributeError, BytesLengthException, EOFError, IndexError, KeyError, MemoryError, NotImplementedError),
    *(OSError, OverflowError, RuntimeError, TypeError, ValueError, struct.error, zlib.error),
)
# How writers spell Hounsfield units; "US" is DICOM's word for "not said".
_HU_NAMES = {"hu", "us", "", "hounsfield", "hounsfieldunit", "hounsfieldunits"}
_MODIFIED_HU = "hu_mod"


class Header(Protocol):
    """What is asked of a file's header, be it pydicom's or one that holds the wanted values only."""

    @property
    def file_meta(self) -> Any:
        """The same of its meta header."""

    def get(self, key: str, default: Any = None, /) -> Any:
        """Give an element's value by its keyword."""


def read_file(stream: BinaryIO, **options: object) -> Dataset:
    """Read a DICOM file from its start, also one that starts without the preamble.

    Raises
    ------
    InvalidDicomError
        If it is none.
    """
    stream.seek(0)
    start = stream.read(132)
    stream.seek(0)
    if start[128:] == b"DICM":
        return pydicom.dcmread(stream, **options)  # type: ignore[arg-type]
    # Old exports start with the first element of group 2 or 8 straight away.
    if start[:2] not in (b"\x02\x00", b"\x08\x00") or len(start) < 132:
        raise InvalidDicomError
    dataset = pydicom.dcmread(stream, force=True, **options)  # type: ignore[arg-type]
    if "SOPClassUID" not in dataset:
        raise InvalidDicomError
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit = dataset.original_encoding[0]
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else ExplicitVRLittleEndian
    return dataset


def sop_class(header: Header) -> UID:
    """Give the SOP class, also where only the file's meta header has it."""
    return _uid(str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""))


_uid = lru_cache(UID)


def why_no_image(header: Header) -> str:
    """Say why a DICOM object is no CT image; empty where it is one."""
    kind = sop_class(header)
    if kind in _OTHER_OBJECTS:
        return _OTHER_OBJECTS[kind]
    if header.get("Modality") == "SR":
        return "a structured report (SR)"
    # Some anonymisers empty the SOP class: an image of modality CT is then taken for what it says.
    if kind not in (CTImageStorage, *MULTI_FRAME) and (kind or header.get("Modality") != "CT"):
        return f"no CT image: {kind.name or 'unknown kind'}, modality {header.get('Modality') or 'unknown'}"
    if kind in MULTI_FRAME:
        if not header.get("PerFrameFunctionalGroupsSequence"):
            return f"{MULTI_FRAME[kind]} whose header has no functional groups (export it again)"
    elif int(header.get("NumberOfFrames") or 1) > 1:
        return "several frames in one CT image (export it as classic single-slice CT)"
    return ""


def is_nameless_ct(header: Header) -> bool:
    """Tell whether a header is a CT image's in all but a kind of object that DICOM does not know, as after damage."""
    kind = sop_class(header)
    return kind.name == kind and header.get("Modality") == "CT" and bool(header.get("Rows"))


def why_no_slice(header: Header) -> str:
    """Say why an image, or a frame as a classic image, is no slice of a CT volume; empty where it is one."""
    if "LOCALIZER" in [str(value).upper() for value in header.get("ImageType") or []]:
        return LOCALISER
    if int(header.get("SamplesPerPixel") or 1) > 1:
        return "a colour image"
    if not _is_hounsfield(header):
        return f"its values are {header.get('RescaleType')}, not Hounsfield units"
    return ""


def why_damaged(header: Header) -> str:
    """Say what a header lacks that every image has; empty where it is whole."""
    kind = sop_class(header)
    # Presets and protocols have neither, and are no images; of a kind that nobody knows it cannot be told.
    may_be_image = kind.name == kind or "Image" in kind.name
    if may_be_image and not header.get("Modality") and not header.get("Rows"):
        return "damaged or cut short: its header breaks off before it says what it is"
    if kind and not kind.is_valid:
        return "damaged: its header names an impossible kind of object"
    samples = int(header.get("SamplesPerPixel") or 1)
    if samples not in (1, 3, 4):
        return f"damaged: its header gives {samples} samples to a pixel"
    is_ct = kind in (CTImageStorage, *MULTI_FRAME) or header.get("Modality") == "CT"
    if is_ct and not (header.get("Rows") and header.get("Columns")):
        return "damaged: its header gives no image size"
    return ""


def _unit(header: Header) -> str:
    return str(header.get("RescaleType") or "").strip(" \0").lower()


def _is_hounsfield(header: Header) -> bool:
    unit = _unit(header)
    return unit == _MODIFIED_HU or unit.replace(" ", "").replace("_", "") in _HU_NAMES


def unit_note(header: Header) -> list[str]:
    """Say where values are Hounsfield units with a reservation."""
    if _unit(header) != _MODIFIED_HU:
        return []
    return ["values are modified Hounsfield units (HU_MOD): they may differ from those of other scans"]
