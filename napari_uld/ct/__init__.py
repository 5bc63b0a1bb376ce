"""The scan: a CT volume, its geometry, and how it is read from files."""

from napari_uld.ct.deeplesion import read_slices, slices_on_disk
from napari_uld.ct.entries import FoundScans, LeftOut, ScanEntry
from napari_uld.ct.filling import Filling
from napari_uld.ct.reading import find_scans, read_entry, read_gradually, read_scan
from napari_uld.ct.volume import CTVolume
from napari_uld.ct.windows import WINDOWS, to_uint8

__all__ = [
    "WINDOWS",
    "CTVolume",
    "Filling",
    "FoundScans",
    "LeftOut",
    "ScanEntry",
    "find_scans",
    "read_entry",
    "read_gradually",
    "read_scan",
    "read_slices",
    "slices_on_disk",
    "to_uint8",
]
