"""What a single image file says of its voxels and their place, in one form for every format."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np

from napari_uld.ct.stored import Stored, damaged
from napari_uld.errors import GeometryError, ScanError, UnsupportedScanError

Number = TypeVar("Number", int, float)
# No header of a scan is longer than this (bytes).
LONGEST_HEADER = 1 << 20
# How units are spelt, in millimetres. An empty one is the millimetre that everybody means.
MILLIMETRES = {
    **dict.fromkeys(("", "?", "???", "mm", "millimeter", "millimeters", "millimetre", "millimetres"), 1.0),
    **dict.fromkeys(("um", "µm", "μm", "micron", "microns", "micrometer", "micrometre"), 1e-3),
    **dict.fromkeys(("cm", "centimeter", "centimetre"), 10.0),
    **dict.fromkeys(("m", "meter", "metre", "meters", "metres"), 1000.0),
}


@dataclass(frozen=True, eq=False)
class ImageHeader:
    """A file's header, believed only as far as the file can hold it.

    Parameters
    ----------
    stored
        Where the voxels are.
    spacing
        mm between voxels along x, y and z of the file, all positive.
    origin
        LPS mm of the first voxel.
    direction
        3x3, LPS unit vectors of the file's axes as columns.
    said
        What a person should know of it.
    slope, inter
        HU = slope * stored value + inter.
    """

    stored: Stored
    spacing: np.ndarray
    origin: np.ndarray
    direction: np.ndarray
    said: tuple[str, ...] = ()
    slope: float = 1.0
    inter: float = 0.0


def read_start(file: Path, length: int) -> bytes:
    """Read how a file begins.

    Raises
    ------
    ScanError
        If it cannot be read.
    """
    try:
        with file.open("rb") as stream:
            return stream.read(length)
    except OSError as error:
        raise damaged(file, error) from error


def has_no_text(line: str) -> bool:
    """Tell whether part of a header's line is no text: Python takes some control characters for blanks."""
    return any(ord(character) < ord(" ") and character != "\t" for character in line)


def numbers(text: str, convert: Callable[[str], Number], count: int, file: Path, field: str) -> list[Number]:
    """Parse the `count` numbers of a header's field.

    Raises
    ------
    ScanError
        If they are not that many, or no numbers.
    """
    words = text.split()
    try:
        found = [convert(word) for word in words]
    except ValueError:
        found = []
    # Python takes 1_000 for a number, and numbers of any length.
    if len(found) != count or any(len(word) > 40 or "_" in word for word in words):
        raise ScanError(
            f"{file}: {field} is {text[:80]!r}, {count} numbers required; correct the header or save the scan again"
        )
    return found


def three_axes(sizes: Sequence[int], file: Path, *, no_space: Sequence[int] = ()) -> list[int]:
    """Choose the three axes of a volume: those of length 1 beyond them are left out.

    Parameters
    ----------
    sizes
        Length of every axis.
    no_space
        Axes that do not lie in space: they go first.

    Raises
    ------
    UnsupportedScanError
        If what remains is no 3D volume.
    """
    axes = [axis for axis, size in enumerate(sizes) if not (size == 1 and axis in no_space)]
    while len(axes) > 3 and sizes[axes[-1]] == 1:
        axes.pop()
    if len(axes) != 3 or min(sizes) < 1:
        raise UnsupportedScanError(
            f"{file} has {len(sizes)} dimensions {tuple(sizes)}; one 3D volume is required: "
            "save the time point or channel you want as its own file"
        )
    return axes


def no_real_number(file: Path) -> UnsupportedScanError:
    """Make the error for voxels that are no single real number."""
    return UnsupportedScanError(
        f"{file} has colour, vector or complex voxels; one real number a voxel, in Hounsfield units, is required"
    )


def unit_of(name: str) -> tuple[float, list[str]]:
    """Give a unit in millimetres, and what was done about it."""
    unit = MILLIMETRES.get(name.strip().lower())
    if unit is None:
        return 1.0, [f"the file measures in {name.strip()[:40]!r}, which is no known unit: millimetres assumed"]
    return unit, [] if unit == 1 else [f"the file measures in {name.strip()}: turned to millimetres"]


def steps_of(columns: np.ndarray, file: Path) -> tuple[np.ndarray, np.ndarray]:
    """Split 3x3 columns, the mm steps along x, y and z, into spacing and unit vectors.

    Raises
    ------
    GeometryError
        If a step is zero or no number.
    """
    spacing = np.linalg.norm(columns, axis=0)
    if not (np.isfinite(spacing).all() and spacing.all()):
        raise GeometryError(
            f"{file}: steps of {np.round(spacing, 6).tolist()} mm (x, y, z) found, positive numbers required; "
            "correct the header or export the scan again"
        )
    return spacing, columns / spacing
