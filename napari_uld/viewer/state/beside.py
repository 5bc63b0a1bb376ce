"""How far a scan's review is, as the files beside the scan tell it: no pixels are read."""

from pathlib import Path

import numpy as np

from napari_uld.ct.dl_info import DlInfo, read_dl_info
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import UldError
from napari_uld.lesions.annotation_file import SUFFIX, annotation_path, read_annotations
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import SUFFIX as FINDINGS_SUFFIX
from napari_uld.lesions.findings_file import read_findings
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.files import table_beside


class Beside:
    """The annotation and findings files of a tree, each folder listed and each table read once."""

    def __init__(self) -> None:
        self._files: dict[Path, list[Path]] = {}
        self._tables: dict[Path, DlInfo | None] = {}

    def changed(self, entry: ScanEntry) -> float:
        """Give when the files beside a scan were changed last, in seconds since 1970; 0 where there are none."""
        times = [0.0]
        for path in self._own(entry):
            try:
                times.append(path.stat().st_mtime)
            except OSError:
                continue
        return max(times)

    def counts(self, entry: ScanEntry) -> Counts | None:
        """Give how far a scan's review is; None where nothing beside it tells."""
        annotations = self._annotations(entry)
        found = self._findings(entry, None if annotations is None else annotations.scan_id)
        if annotations is None and not found:
            return None
        scan_id = found[0].scan_id if annotations is None else annotations.scan_id
        case = Case(_without_slices(entry, scan_id), annotations or Annotations(scan_id), entry.path)
        for findings in found:
            case.set_findings(findings)
        return case.counts

    def _annotations(self, entry: ScanEntry) -> Annotations | None:
        for path in self._own(entry):
            if path.name.endswith(SUFFIX):
                try:
                    saved = read_annotations(path)
                except UldError:
                    # It is said when the scan is opened.
                    continue
                if _is_of(entry, saved.annotations.scan_id, saved.scan_name, saved.scan_source):
                    return saved.annotations
        return self._listed(entry) if entry.kind == "deeplesion" else None

    def _listed(self, entry: ScanEntry) -> Annotations | None:
        """Give the lesions that a DeepLesion series has in its download's table."""
        path = table_beside(entry.path)
        if path is None:
            return None
        try:
            if path not in self._tables:
                self._tables[path] = None
                self._tables[path] = read_dl_info(path)
            table, scan_id = self._tables[path], f"deeplesion:{entry.path.name}"
            rows = [] if table is None else annotations_from_dl_info(table, entry.path.name, scan_id)
        except UldError:
            return None
        return Annotations(scan_id, rows) if rows else None

    def _findings(self, entry: ScanEntry, scan_id: str | None) -> list[Findings]:
        """Give what detectors found in a scan, which is known by its name where its id takes pixels to know."""
        found: list[Findings] = []
        for path in self._own(entry):
            if path.name.endswith(FINDINGS_SUFFIX):
                try:
                    findings = read_findings(path)
                except UldError:
                    continue
                same = findings.scan_id == (scan_id or _uid(entry) or findings.scan_id)
                if same and (scan_id or _uid(entry) or findings.scan_name == entry.name):
                    found.append(findings)
        # One scan's alone: where ids are unknown, several scans may have had this name.
        return [findings for findings in found if findings.scan_id == found[0].scan_id]

    def _own(self, entry: ScanEntry) -> list[Path]:
        """Give the files beside a scan that are called as its own are, the likeliest first."""
        first = annotation_path(entry.path)
        folder, stem = first.parent, first.name.removesuffix(SUFFIX)
        if folder not in self._files:
            try:
                names = [path for path in folder.iterdir() if path.name.endswith((SUFFIX, FINDINGS_SUFFIX))]
            except OSError:
                names = []
            self._files[folder] = sorted(names, key=lambda path: (len(path.name), path.name))
        files = [path for path in self._files[folder] if path.name.startswith(f"{stem}.")]
        table = table_beside(entry.path) if entry.kind == "deeplesion" else None
        return files if table is None else [*files, table]


def _is_of(entry: ScanEntry, scan_id: str, name: str, source: str) -> bool:
    """Tell whether an annotation file is a scan's."""
    if _uid(entry):
        return scan_id == _uid(entry)
    return source == entry.path.name and (entry.kind != "dicom" or name == entry.name)


def _uid(entry: ScanEntry) -> str:
    """The scan's id where headers tell it, as reading it does, or ""."""
    return " ".join(filter(None, (entry.series_uid, entry.label))) if entry.series_uid else ""


def _without_slices(entry: ScanEntry, scan_id: str) -> CTVolume:
    """Stand in for the scan: what is counted lies in its files, whatever the pixels."""
    return CTVolume(
        hu=np.zeros((0, 1, 1), np.int16),
        spacing=(1.0, 1.0, 1.0),
        source=entry.path,
        name=entry.name,
        slice_numbers=np.zeros(0, int),
        series_uid=scan_id,
    )
