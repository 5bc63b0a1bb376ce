"""The scan every other room works on."""

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class CTVolume:
    """A CT scan on a regular grid: x grows to the patient's left, y to the back, z to the head.

    Parameters
    ----------
    hu
        int16 array (z, y, x) in Hounsfield units.
    spacing
        Millimetres between voxel centres along (z, y, x).
    origin
        LPS millimetres (x, y, z) of the centre of voxel (0, 0, 0).
    direction
        3x3 array whose columns are the LPS unit vectors of the x, y and z axes of the grid.
    source
        The file or folder the scan was read from.
    name
        What a person calls the scan ("000001_03_01", a series description).
    series_uid
        DICOM SeriesInstanceUID, followed by what tells the scan from others under that UID; "" where there is none.
    series_name
        What identifies the series where its name does ("deeplesion:000001_03_01"), or "".
    slice_numbers
        (z,) int array: the number that the file itself gives each slice.
    thickness
        Nominal slice thickness in mm, where it is known (it may differ from ``spacing[0]``).
    window
        (low, high) HU the series was meant to be read with, where it says so.
    corrections
        What the reader put right, one sentence each, to be shown to the person.
    phases
        Of a study of several contrast phases: those that a detector sees together, in its order, this scan among them;
        all on one grid (see `with_phases`).
    """

    hu: np.ndarray
    spacing: tuple[float, float, float]
    source: Path
    name: str
    slice_numbers: np.ndarray
    origin: tuple[float, float, float] = (0.0, 0.0, 0.0)
    direction: np.ndarray = field(default_factory=lambda: np.eye(3))
    series_uid: str = ""
    series_name: str = ""
    thickness: float | None = None
    window: tuple[float, float] | None = None
    corrections: tuple[str, ...] = ()
    phases: tuple["CTVolume", ...] = ()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        z, y, x = self.hu.shape
        return z, y, x

    @property
    def pixel_area(self) -> float:
        """Area of a slice's pixels in mm^2."""
        return self.spacing[1] * self.spacing[2]

    @cached_property
    def hu_range(self) -> tuple[int, int]:
        """The lowest and the highest value."""
        return int(self.hu.min()), int(self.hu.max())

    @cached_property
    def scan_id(self) -> str:
        """The series UID or name, or a hash of geometry and pixels where there is neither."""
        if self.series_uid or self.series_name:
            return self.series_uid or self.series_name
        digest = hashlib.sha256()
        digest.update(np.asarray([*self.spacing, *self.origin, *self.direction.ravel()], "<f8").tobytes())
        digest.update(np.asarray(self.hu.shape, "<i8").tobytes())
        digest.update(np.ascontiguousarray(self.hu, "<i2").tobytes())
        return f"sha256:{digest.hexdigest()[:32]}"

    def native_slice(self, z: int) -> int:
        """Give the file's own number of slice `z`."""
        return int(self.slice_numbers[z])

    def z_of(self, native: int) -> int:
        """Give the z index of the slice that the file calls `native`.

        Raises
        ------
        KeyError
            If the scan has no such slice.
        """
        places = np.flatnonzero(self.slice_numbers == native)
        if not places.size:
            raise KeyError(
                f"{self.name} has no slice {native}: {self.slice_numbers.min()} to {self.slice_numbers.max()}"
            )
        return int(places[0])
