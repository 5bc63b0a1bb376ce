"""Pixels of plain DICOM files, read from where finding the files left them."""

import os
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from napari_uld.ct.dicom_files import Header
from napari_uld.ct.dicom_headers import PlainHeader, asked_once

_THREADS_OWN = threading.local()
_KINDS = {0: np.dtype("<u2"), 1: np.dtype("<i2")}


class StoredPixels(NamedTuple):
    """An image as its file stores it, (rows, columns), and what no value of it is below or above."""

    values: np.ndarray
    low: int
    high: int


class _Simple(NamedTuple):
    """Pixels that cannot be read in two ways: their kind, size, and what their bits can hold."""

    kind: np.dtype
    size: tuple[int, int]
    lowest: int
    highest: int

    @property
    def length(self) -> int:
        """Bytes of all pixels."""
        return 2 * self.size[0] * self.size[1]


def read_pixels(file: Path, header: PlainHeader) -> StoredPixels | None:
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
    int16 or uint16, until the same thread reads the next.
    """
    simple = _simple(header)
    if simple is None or not header.size - header.pixels_at == header.pixels_length == simple.length:
        return None
    pixels = _scratch(simple.length).view(simple.kind).reshape(simple.size)
    with file.open("rb", buffering=0) as stream:
        if not header.is_of(os.fstat(stream.fileno())):
            return None
        stream.seek(header.pixels_at)
        if stream.readinto(pixels.data) != simple.length:
            return None
    low = int(pixels.min()) if simple.lowest else 0  # of unsigned pixels, none lies below
    high = int(pixels.max())
    # What is kept in bits that are not the pixels' is another image's or an overlay.
    return StoredPixels(pixels, low, high) if simple.lowest <= low and high <= simple.highest else None


def _scratch(length: int) -> np.ndarray:
    """Give a thread its own memory, each time the same: to ask for new one takes longer than reading into it."""
    memory = getattr(_THREADS_OWN, "memory", None)
    if memory is None or memory.nbytes < length:
        memory = _THREADS_OWN.memory = np.empty(length, np.uint8)
    return memory[:length]


@asked_once
def _simple(header: Header) -> _Simple | None:
    """Tell whether all that pydicom requires of uncompressed pixels is there and leaves nothing to decide."""
    if not (
        header.file_meta["TransferSyntaxUID"] in (ImplicitVRLittleEndian, ExplicitVRLittleEndian)
        and header.get("SamplesPerPixel") == 1
        and header.get("NumberOfFrames") in (None, 1)
        and header.get("PhotometricInterpretation") in ("MONOCHROME1", "MONOCHROME2")
        and header.get("BitsAllocated") == 16
        and header.get("BitsStored") in range(1, 17)
        and header.get("PixelRepresentation") in (0, 1)
        and all(isinstance(header.get(side), int) and header.get(side) > 0 for side in ("Rows", "Columns"))
    ):
        return None
    kind = _KINDS[header.get("PixelRepresentation")]
    unused = 16 - int(header.get("BitsStored"))
    limits = np.iinfo(kind)
    return _Simple(
        kind, (header.get("Rows"), header.get("Columns")), int(limits.min) >> unused, int(limits.max) >> unused
    )
