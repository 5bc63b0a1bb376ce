"""Where a case comes from and goes to: saved annotations, DeepLesion's table, findings of a detector."""

from pathlib import Path

from napari_uld.ct.deeplesion import CSV_NAME
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotation_file import (
    SUFFIX,
    annotation_path,
    has_annotations,
    read_annotations,
    save_annotations,
)
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.deeplesion import annotations_from_dl_info
from napari_uld.lesions.storage import ABSENT
from napari_uld.viewer.case import Case
from napari_uld.viewer.settings import settings


def open_case(volume: CTVolume) -> tuple[Case, tuple[str, ...]]:
    """Open a scan for review: with its saved annotations, else with its rows of DL_info.csv.

    Returns
    -------
    The case, and what a person should be told about it, one sentence each.

    Raises
    ------
    AnnotationFileError
        If there is an annotation file that cannot be read.
    """
    chosen = settings()
    notes = list(volume.corrections)
    path = annotation_path(volume.source)
    saved = read_annotations(path) if has_annotations(path) else None
    if saved is not None and saved.annotations.scan_id != volume.scan_id:
        # Several scans of one folder: the first one saved has the folder's name, the others add their own.
        path = path.with_name(f"{path.name.removesuffix(SUFFIX)}.{_file_name(volume.name)}{SUFFIX}")
        saved = read_annotations(path) if has_annotations(path) else None
    if saved is not None:
        annotations, fingerprint = saved.annotations, saved.fingerprint
        notes += [saved.message] if saved.message else []
    else:
        annotations, fingerprint = _from_dl_info(volume), ABSENT
    case = Case(volume, annotations, path, reviewer=chosen.reviewer, threshold=chosen.score_threshold)
    case.fingerprint = fingerprint
    return case, tuple(notes)


def open_annotations(case: Case, path: Path) -> str:
    """Show the annotations of a file on the open scan; give what a person should be told, or "".

    Raises
    ------
    AnnotationError
        If they are of another scan.
    AnnotationFileError
        If the file cannot be read.
    """
    saved = read_annotations(path)
    case.replace_annotations(saved.annotations, saved.path)
    case.fingerprint = saved.fingerprint
    return saved.message


def save_case(case: Case, path: Path | None = None) -> Path:
    """Save the annotations, to another file where `path` says so, and give the file's path.

    Raises
    ------
    AnnotationFileError
        If the file cannot be written, is locked, or was changed by somebody else since it was read.
    """
    target = path or case.path
    case.fingerprint = save_annotations(
        target,
        case.annotations,
        scan_name=case.volume.name,
        scan_source=case.volume.source.name,
        # Another name was chosen by a person, who was asked about overwriting.
        read_fingerprint=case.fingerprint if target == case.path else None,
    )
    case.path = target
    case.saved.emit(target)
    return target


def _file_name(name: str) -> str:
    return "".join(c if c.isalnum() or c in "-_." else "_" for c in name)


def _from_dl_info(volume: CTVolume) -> Annotations:
    """Give the lesions that a DeepLesion series has in the DL_info.csv of its download."""
    series = volume.source
    tables = (folder / CSV_NAME for folder in (series, *series.parents[:2]))
    table = next((table for table in tables if table.is_file()), None) if series.is_dir() else None
    rows = [] if table is None else annotations_from_dl_info(read_dl_info(table), series.name, volume.scan_id)
    return Annotations(volume.scan_id, rows)
