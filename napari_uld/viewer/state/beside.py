"""How far a scan's review is, as the files beside the scan tell it: no pixels are read."""

import numpy as np

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.beside import FilesBeside
from napari_uld.viewer.state.case import Case, Counts


class Beside(FilesBeside):
    """The annotation and findings files of a tree, and how far they tell that the reviews are."""

    def counts(self, entry: ScanEntry) -> Counts | None:
        """Give how far a scan's review is; None where nothing beside it tells."""
        annotations = self.annotations(entry)
        found = list(self.findings(entry, None if annotations is None else annotations.scan_id).values())
        if annotations is None and not found:
            return None
        scan_id = found[0].scan_id if annotations is None else annotations.scan_id
        case = Case(without_slices(entry, scan_id), annotations or Annotations(scan_id), entry.path)
        for findings in found:
            case.set_findings(findings)
        return case.counts


def without_slices(entry: ScanEntry, scan_id: str) -> CTVolume:
    """Stand in for the scan: what is counted lies in its files, whatever the pixels."""
    return CTVolume(
        hu=np.zeros((0, 1, 1), np.int16),
        spacing=(1.0, 1.0, 1.0),
        source=entry.path,
        name=entry.name,
        slice_numbers=np.zeros(0, int),
        series_uid=scan_id,
    )
