"""From stored DICOM pixels to Hounsfield units, and whether the slices of one series agree on how."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from napari_uld.ct.dicom_files import Header, unit_note
from napari_uld.ct.dicom_images import slice_of
from napari_uld.ct.geometry import Slice
from napari_uld.ct.windows import AIR_HU
from napari_uld.errors import ScanError, UnsupportedScanError

# Nothing a scanner measures lies below this; a value that stands there for "not measured" varies by little,
# also after lossy compression (HU).
LOWEST_MEASURED = -1500
PADDING_SPREAD = 64
# An intercept that is wrong shows as a step of at least so many HU.
INTERCEPT_STEP = 100
# It is looked for in about so many pixels along each side of a slice.
SAMPLED = 64
_INT16 = np.iinfo(np.int16)
PADDING_SAID = f"padding outside the field of view set to {AIR_HU} HU"


@dataclass(frozen=True, eq=False)
class ReadSlice:
    """One slice, how it was rescaled, and what was put right in it.

    Parameters
    ----------
    slice
        Voxels and geometry.
    rescale
        Slope and intercept, or None where the header lacks one of them.
    said
        What was put right, one sentence each.
    sample
        Some of its pixels before anything was put right, (rows, columns) HU; it may share the slice's memory.
    """

    slice: Slice
    rescale: tuple[float, float] | None
    said: tuple[str, ...]
    sample: np.ndarray


def rescale_of(header: Header, file: Path) -> tuple[float, float] | None:
    """Give slope and intercept, or None where one is absent.

    Raises
    ------
    ScanError
        If they are not finite or the slope is 0.
    """
    slope, intercept = header.get("RescaleSlope"), header.get("RescaleIntercept")
    if slope is None or intercept is None:
        return None
    slope, intercept = float(slope), float(intercept)
    if not (math.isfinite(slope) and math.isfinite(intercept) and slope != 0):
        raise ScanError(
            f"{file}: rescale slope {slope}, intercept {intercept}; finite and not 0 required: export again"
        )
    return slope, intercept


def read_slice(
    pixels: np.ndarray,
    header: Header,
    file: Path,
    said: Sequence[str],
    room: np.ndarray | None = None,
    limits: tuple[int, int] | None = None,
) -> ReadSlice:
    """Rescale stored pixels (rows, columns) to int16 HU, padding to air; say what was put right.

    Parameters
    ----------
    pixels
        As the file stores them.
    header
        That of a classic image.
    file
        What messages name.
    said
        What was put right before.
    room
        Where the slice goes, int16 (rows, columns), if it is of that size.
    limits
        What no pixel is below or above, where that is known.

    Raises
    ------
    UnsupportedScanError
        If the pixels are not one grey slice.
    ScanError
        If the rescaling is impossible, or the header lacks the slice's geometry.
    """
    if pixels.ndim != 2:
        raise UnsupportedScanError(f"{file}: pixels of shape {pixels.shape}, one grey slice required; export it as CT")
    rescale = rescale_of(header, file)
    slope, intercept = rescale or (1.0, 0.0)
    if room is None or room.shape != pixels.shape:
        room = np.empty(pixels.shape, np.int16)
    limits = limits or (pixels.min(), pixels.max())
    hu, lowest = _rescaled(pixels, limits, slope, intercept, room)
    padding = _padding(pixels, limits, hu, lowest, header)
    every = max(1, min(hu.shape) // SAMPLED)
    sample = hu[::every, ::every]
    if padding is not None or hu is not room:
        sample = sample.copy()
    hu, more = _mended(hu, padding)
    if hu is not room:
        room[...] = hu
    return ReadSlice(slice_of(header, file, room), rescale, (*said, *unit_note(header), *more), sample)


def _rescaled(
    pixels: np.ndarray, limits: tuple[int, int], slope: float, intercept: float, room: np.ndarray
) -> tuple[np.ndarray, float]:
    """Give HU, in the room if all of them fit into 16 bits, else as a wider array; and what none of them is below."""
    if slope != 1 or not intercept.is_integer():
        hu = np.rint(pixels * np.float64(slope) + intercept)
        return hu, hu.min()
    low, high = int(limits[0]) + int(intercept), int(limits[1]) + int(intercept)
    if pixels.dtype in (np.int16, np.uint16) and _INT16.min <= low and high <= _INT16.max:
        # What overflows on the way comes back.
        shift = np.int64(intercept).astype(np.int16)
        return np.add(pixels.view(np.int16), shift, out=room), low
    hu = pixels.astype(np.int32) + np.int32(intercept)
    return hu, hu.min()


def _mended(hu: np.ndarray, padding: np.ndarray | None) -> tuple[np.ndarray, list[str]]:
    """Set padding to air and clip to int16."""
    said = []
    # To pick the pixels out takes several times as long.
    if padding is not None and (padding & (hu != AIR_HU)).any():
        np.copyto(hu, AIR_HU, where=padding)
        said.append(PADDING_SAID)
    if hu.dtype != np.int16 and (hu.min() < _INT16.min or hu.max() > _INT16.max):
        said.append("values beyond the 16-bit range clipped")
        hu = np.clip(hu, _INT16.min, _INT16.max)
    return hu.astype(np.int16, copy=False), said


def _padding(
    pixels: np.ndarray, limits: tuple[int, int], hu: np.ndarray, lowest: float, header: Header
) -> np.ndarray | None:
    """Mark the padded pixels: those that the header names, and one value far below air; None where there is none."""
    padding = None
    value = header.get("PixelPaddingValue")
    if value is not None:
        limit = header.get("PixelPaddingRangeLimit")
        # Some writers give -2000 as 63536: wrapping to the pixels' type mends it.
        ends = np.array([value, value if limit is None else limit], dtype=np.int64).astype(pixels.dtype)
        if ends.min() <= limits[1] and ends.max() >= limits[0]:
            padding = (pixels >= ends.min()) & (pixels <= ends.max())
    if lowest >= LOWEST_MEASURED:
        return padding
    below = hu < LOWEST_MEASURED if padding is None else (hu < LOWEST_MEASURED) & ~padding
    # A range of values down there is no padding: noise, or no Hounsfield units at all.
    if below.any() and np.ptp(hu[below]) <= PADDING_SPREAD:
        return below if padding is None else padding | below
    return padding


def check_rescales(slices: Sequence[ReadSlice], source: Path) -> None:
    """Refuse a series of which some slices lack the rescaling, or have one that their neighbours contradict.

    Raises
    ------
    ScanError
        Which names the slices.
    """
    without = [one.slice for one in slices if one.rescale is None]
    known = [one.rescale for one in slices if one.rescale is not None]
    if without and known:
        slope, intercept = max(set(known), key=known.count)
        raise ScanError(
            f"{source}: rescale slope or intercept is absent on {named(without)}, while the other {len(known)} of "
            f"{len(slices)} slices have slope {slope:g} and intercept {intercept:g}; values without them may not be "
            "Hounsfield units: export these slices again"
        )
    if len(set(known)) > 1:
        _check_intercepts(slices, known, source)


def _check_intercepts(slices: Sequence[ReadSlice], known: list[tuple[float, float]], source: Path) -> None:
    """Refuse slices whose pixels continue their neighbours' only with the neighbours' intercept."""
    normal = np.cross(slices[0].slice.orientation[:3], slices[0].slice.orientation[3:])
    commonest = max(dict.fromkeys(known), key=known.count)
    wrong = set()
    for one, other in pairwise(sorted(slices, key=lambda read: float(read.slice.position @ normal))):
        if one.rescale is None or other.rescale is None or one.sample.shape != other.sample.shape:
            continue
        step = other.rescale[1] - one.rescale[1]
        if one.rescale[0] != other.rescale[0] or abs(step) < INTERCEPT_STEP:
            continue
        jump = other.sample.astype(np.float32) - one.sample
        if np.abs(jump - step).mean() < 0.5 * np.abs(jump).mean():
            wrong.add(other.rescale if one.rescale == commonest else one.rescale)
    if wrong:
        raise ScanError(
            f"{source}: the rescale intercept of {named([one.slice for one in slices if one.rescale in wrong])} is "
            f"{', '.join(f'{intercept:g}' for _, intercept in sorted(wrong))} where most slices have "
            f"{commonest[1]:g}, and the pixels continue those of their neighbours only with one intercept for all; "
            "correct it or export the series again"
        )


def notes_of(slices: Sequence[ReadSlice]) -> tuple[str, ...]:
    """Collect what was put right; what concerns fewer than half of the slices names them."""
    concerned: dict[str, list[Slice]] = {}
    for one in slices:
        for sentence in one.said:
            concerned.setdefault(sentence, []).append(one.slice)
    said = [
        sentence if 2 * len(which) >= len(slices) else f"{sentence} on {named(which)}"
        for sentence, which in concerned.items()
    ]
    if all(one.rescale is None for one in slices):
        said.insert(0, "rescale slope or intercept is absent: 1 and 0 taken, so values may not be Hounsfield units")
    return tuple(said)


def named(slices: Sequence[Slice]) -> str:
    """Name up to five slices, by number and file."""
    names = [one.file.name if one.number is None else f"slice {one.number} ({one.file.name})" for one in slices]
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
