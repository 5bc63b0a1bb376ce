"""A whole scan of which every lesion is known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import LesionType


@dataclass(frozen=True, eq=False)
class KnownScan:
    """A scan in DeepLesion's layout, and a box of every lesion in it; what kind of boxes its subclasses say.

    Parameters
    ----------
    root
        Folder in DeepLesion's layout.
    series
        "000001_01_01".
    boxes
        (n, 4) or (n, 6).
    """

    root: Path
    series: str
    boxes: np.ndarray

    def read(self) -> CTVolume:
        """Read the scan."""
        return read_slices(self.root, self.series, slices_on_disk(self.root, self.series))

    @property
    def patient(self) -> str:
        """The patient, by which data are split and resampled."""
        return self.series.split("_")[0]

    @property
    def diameters(self) -> np.ndarray:
        """(n,) NaN: nobody measured them."""
        return np.full(len(self.boxes), np.nan)

    @property
    def types(self) -> tuple[LesionType, ...]:
        """(): none is known here."""
        return ()
