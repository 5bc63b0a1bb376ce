"""The files beside a scan: what they are called, whose they are, and what they hold. No pixels are read.

Annotations and findings lie beside the scan's file or folder. Where nothing may be written there they lie in a folder
of their own, which has the data's folders over again.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from napari_uld.ct.deeplesion import CSV_NAME, series_id
from napari_uld.ct.dl_info import DlInfo, read_dl_info
from napari_uld.ct.entries import ScanEntry
from napari_uld.errors import UldError
from napari_uld.lesions.annotation_file import SUFFIX, annotation_path, read_annotations
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import SUFFIX as FINDINGS_SUFFIX
from napari_uld.lesions.findings_file import read_findings

# Hexadecimal digits of a hash that tell files of one name apart.
DIGITS = 8


@dataclass(frozen=True)
class Mirror:
    """A folder that takes what would lie beside the scans of another one.

    Parameters
    ----------
    root
        What holds the scans: a folder, or the one scan's own file or folder.
    folder
        The folder that has the folders of `root` over again.
    """

    root: Path
    folder: Path

    def place(self, path: Path) -> Path:
        """Give the place in the folder of what would lie at `path`."""
        root, path = self.root.resolve(), path.parent.resolve() / path.name
        return self.folder / (path.relative_to(root) if path.is_relative_to(root) else path.name)


def own_paths(source: Path, scan_id: str) -> tuple[Path, Path]:
    """The annotation file that the first scan of a folder takes, and the one that is this scan's alone."""
    first = annotation_path(source)
    return first, first.with_name(f"{first.name.removesuffix(SUFFIX)}.{_hash(scan_id)}{SUFFIX}")


def findings_stem(source: Path, scan_id: str) -> str:
    """What the names of a scan's findings files begin with; earlier versions kept one file of just this name."""
    return own_paths(source, scan_id)[1].name.removesuffix(SUFFIX)


def findings_path(source: Path, scan_id: str, detector: str) -> Path:
    """Where a detector's findings are kept: beside the scan, each scan of a folder and each detector by itself."""
    return annotation_path(source).with_name(f"{findings_stem(source, scan_id)}.{_hash(detector)}{FINDINGS_SUFFIX}")


def table_beside(series: Path) -> Path | None:
    """Give the DL_info.csv that the folder of a DeepLesion series was downloaded with, or None."""
    tables = (folder / CSV_NAME for folder in (series, *series.parents[:2]))
    return next((table for table in tables if table.is_file()), None) if series.is_dir() else None


def known_id(entry: ScanEntry) -> str:
    """The id that reading a scan will give it, where that takes no pixels to know, or ""."""
    if entry.kind == "deeplesion":
        return series_id(entry.path)
    return " ".join(filter(None, (entry.series_uid, entry.label))) if entry.series_uid else ""


class FilesBeside:
    """The annotation and findings files of a tree, each folder listed and each table read once.

    Parameters
    ----------
    mirror
        Where more of them lie. Its folder may also hold findings that are called as the scans are,
        ``<scan>.findings.json``, such as hard negatives that were mined in training.
    """

    def __init__(self, mirror: Mirror | None = None) -> None:
        self._mirror = mirror
        self._files: dict[Path, list[Path]] = {}
        self._tables: dict[Path, DlInfo | None] = {}

    def list_again(self) -> None:
        """Look for new files from now on; tables are large, and stay as they were read."""
        self._files = {}

    def changed(self, entry: ScanEntry) -> float:
        """Give when the files beside a scan were changed last, in seconds since 1970; 0 where there are none."""
        times = [0.0]
        for path in self._own(entry):
            try:
                times.append(path.stat().st_mtime)
            except OSError:
                continue
        return max(times)

    def annotations(self, entry: ScanEntry) -> Annotations | None:
        """Give the lesions of a scan: its saved ones, else its rows of DL_info.csv; None where there are neither."""
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

    def findings(self, entry: ScanEntry, scan_id: str | None = None) -> dict[Path, Findings]:
        """Give what detectors found in a scan, by file.

        Parameters
        ----------
        scan_id
            Its id; without it the scan is known by its name where its id takes pixels to know.
        """
        own_id = scan_id or known_id(entry)
        found: dict[Path, Findings] = {}
        for path in self._own(entry):
            if path.name.endswith(FINDINGS_SUFFIX):
                try:
                    findings = read_findings(path)
                except UldError:
                    continue
                if findings.scan_id == own_id if own_id else findings.scan_name == entry.name:
                    found[path] = findings
        # One scan's alone: where ids are unknown, several scans may have had this name.
        first = next(iter(found.values())).scan_id if found else ""
        return {path: findings for path, findings in found.items() if findings.scan_id == first}

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

    def _own(self, entry: ScanEntry) -> list[Path]:
        """Give the files that are called as a scan's own are, the likeliest first."""
        first = annotation_path(entry.path)
        stem = first.name.removesuffix(SUFFIX)
        files = [path for path in self._listing(first.parent) if path.name.startswith(f"{stem}.")]
        if self._mirror is not None:
            mirrored = self._listing(self._mirror.place(first).parent)
            mirrored = [path for path in mirrored if path.name.startswith(f"{stem}.")]
            # Somebody named that folder: it goes before what happens to lie beside the scan.
            files = mirrored + [path for path in files if path not in mirrored]
            mined = self._mirror.folder / f"{stem}{FINDINGS_SUFFIX}"
            files += [mined] if mined not in files and mined.is_file() else []
        table = table_beside(entry.path) if entry.kind == "deeplesion" else None
        return files if table is None else [*files, table]

    def _listing(self, folder: Path) -> list[Path]:
        files = self._files.get(folder)
        if files is None:
            try:
                names = [path for path in folder.iterdir() if path.name.endswith((SUFFIX, FINDINGS_SUFFIX))]
            except OSError:
                names = []
            files = self._files[folder] = sorted(names, key=lambda path: (len(path.name), path.name))
        return files


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _is_of(entry: ScanEntry, scan_id: str, name: str, source: str) -> bool:
    """Tell whether an annotation file is a scan's."""
    own_id = known_id(entry)
    if own_id:
        return scan_id == own_id
    return source == entry.path.name and (entry.kind != "dicom" or name == entry.name)
