"""The slices of one DICOM file, checked and rescaled."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.errors import InvalidDicomError
from pydicom.uid import JPEGLSLossless, JPEGLSNearLossless

from napari_uld.ct.dicom_files import DAMAGED, Header, read_file, why_no_slice
from napari_uld.ct.dicom_headers import PlainHeader
from napari_uld.ct.dicom_hu import ReadSlice, read_slice
from napari_uld.ct.dicom_images import classic_images, thickness_of, window_of
from napari_uld.ct.dicom_pixels import read_pixels
from napari_uld.ct.dicom_streams import check_elements, check_pixel_data
from napari_uld.errors import ScanError


@dataclass(frozen=True, eq=False)
class ReadFile:
    """The slices of one file, and what its first header says of the scan.

    Parameters
    ----------
    slices
        Its images, or those frames of it that belong to the scan.
    thickness
        Nominal slice thickness in mm, or None.
    window
        (low, high) HU, or None.
    """

    slices: list[ReadSlice]
    thickness: float | None
    window: tuple[float, float] | None


def read_images(
    file: Path, wanted: Sequence[int] | None, known: PlainHeader | None, room: np.ndarray | None
) -> ReadFile:
    """Read one file.

    Parameters
    ----------
    file
        What to read.
    wanted
        Which frames of it, or None where it is a single image.
    known
        Its header, where that is plain and was read before.
    room
        Where a single image goes, int16 (rows, columns).

    Raises
    ------
    ScanError
        If it is damaged, or lacks what CT images must have.
    """
    try:
        plain = None if known is None else read_pixels(file, known)
        if known is not None and plain is not None:
            return _file_of([read_slice(plain.values, known, file, (), room, (plain.low, plain.high))], known)
        with file.open("rb") as stream:
            dataset = read_file(stream)
            ignored = [*check_elements(dataset, stream, file), *check_pixel_data(dataset, file)]
        if dataset.file_meta.TransferSyntaxUID in (JPEGLSLossless, JPEGLSNearLossless):
            # The first decoder pydicom would take, libjpeg, can hang for ever on a damaged stream.
            dataset.pixel_array_options(decoding_plugin="pyjpegls")
        pixels = dataset.pixel_array
        every = dict(classic_images(dataset))
        headers = [header for frame, header in every.items() if wanted is None or frame in wanted]
        left_out = Counter(filter(None, map(why_no_slice, every.values())))
        ignored += [f"{count} frame(s) of the file left out: {reason}" for reason, count in left_out.items()]
        # A single frame comes without an axis of frames.
        images = [pixels] if wanted is None else [pixels.reshape(-1, *pixels.shape[-2:])[frame] for frame in wanted]
        # In one piece: to ask for memory frame by frame takes as long as filling it.
        rooms = [room] if wanted is None else np.empty((len(images), *images[0].shape), np.int16)
        slices = [
            read_slice(image, header, file, ignored, one)
            for image, header, one in zip(images, headers, rooms, strict=True)
        ]
        return _file_of(slices, headers[0])
    except (InvalidDicomError, *DAMAGED) as error:
        raise ScanError(
            f"{file}: the slice cannot be read ({error}); it may be damaged or cut short: copy or export it again"
        ) from error


def _file_of(slices: list[ReadSlice], first: Header) -> ReadFile:
    """Look up what a file's first header says of the scan."""
    return ReadFile(slices, thickness_of(first), window_of(first))
