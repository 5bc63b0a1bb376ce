"""Where a case comes from and goes to: saved annotations, DeepLesion's table, findings of a detector."""

import contextlib
from pathlib import Path

from napari_uld.ct.deeplesion import CSV_NAME
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationFileError, UldError
from napari_uld.lesions import beside
from napari_uld.lesions.annotation_file import (
    SUFFIX,
    AnnotationFile,
    annotation_path,
    has_annotations,
    read_annotations,
    save_annotations,
)
from napari_uld.lesions.annotations import Annotations
from napari_uld.lesions.beside import Mirror, findings_stem, own_paths, table_beside
from napari_uld.lesions.deeplesion import annotations_from_dl_info, write_dl_info
from napari_uld.lesions.findings_file import SUFFIX as FINDINGS_SUFFIX
from napari_uld.lesions.findings_file import read_findings, write_findings
from napari_uld.lesions.recovery import unsaved_lesions
from napari_uld.lesions.review_log import BEGUN, SAVED, append_mark, log_path
from napari_uld.lesions.storage import ABSENT, backup_path
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.settings import settings


def open_case(volume: CTVolume, mirror: Mirror | None = None) -> tuple[Case, tuple[str, ...]]:
    """Open a scan for review: with its saved annotations, else with its rows of DL_info.csv.

    Parameters
    ----------
    mirror
        Where its annotations are saved instead of beside it, and are read from where they were saved there before.

    Returns
    -------
    The case, and what a person should be told about it, one sentence each.

    Raises
    ------
    AnnotationFileError
        If there is an annotation file that cannot be read, or the mirror's folder cannot be made.
    """
    chosen = settings()
    path, saved, notes = _saved(volume)
    if mirror is not None:
        path, mirrored, more = _saved(volume, mirror)
        saved, notes = mirrored or saved, notes + more
        _make_folder(path.parent)
    if saved is not None:
        annotations = saved.annotations
        fingerprint = saved.fingerprint if saved.path == path else ABSENT
        notes += [saved.message] if saved.message else []
    else:
        annotations, fingerprint = _from_dl_info(volume), ABSENT
    case = Case(volume, annotations, path, reviewer=chosen.reviewer)
    case.fingerprint = fingerprint
    # Where another scan of the folder was saved meanwhile, this one's edits are in the log of the path that it took.
    case.unsaved = unsaved_lesions(map(log_path, (*_own_paths(volume, mirror), path)), annotations, fingerprint)
    return case, (*volume.corrections, *notes, *_show_found_before(case))


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
    case.unsaved = unsaved_lesions([log_path(saved.path)], saved.annotations, saved.fingerprint)
    return saved.message


def save_case(case: Case, path: Path | None = None) -> Path:
    """Save the annotations, to another file where `path` says so, and give the file's path.

    Raises
    ------
    AnnotationFileError
        If the file cannot be written, is locked, or was changed by somebody else since it was read.
    """
    target = path or case.path
    if not has_annotations(target):
        with contextlib.suppress(AnnotationFileError):
            # A crash between this file and its mark leaves a log that is known to have marks.
            append_mark(log_path(target), BEGUN, case.volume.scan_id, case.reviewer)
    case.fingerprint = save_annotations(
        target,
        case.annotations,
        scan_name=case.volume.name,
        scan_source=case.volume.source.name,
        # Another name was chosen by a person, who was asked about overwriting.
        read_fingerprint=case.fingerprint if target == case.path else None,
    )
    # What an earlier session left and nobody answered about is offered again: no mark hides it.
    for log in () if case.unsaved else {log_path(case.path), log_path(target)}:
        with contextlib.suppress(AnnotationFileError):
            # Without the mark a log offers once more what is in the file: nothing then differs.
            append_mark(log, SAVED, case.volume.scan_id, case.reviewer)
    case.path = target
    case.saved.emit(target)
    return target


def keep_findings(case: Case, detector: str) -> None:
    """Write what a detector found beside the annotations, or remove it where it was taken away.

    Undecided findings are there when the scan opens again.

    Raises
    ------
    AnnotationFileError
        If it cannot be written or removed.
    """
    if detector in case.findings:
        case.kept.setdefault(detector, (findings_path(case, detector),))
        write_findings(case.kept[detector][-1], case.findings[detector])
        return
    for path in case.kept.pop(detector, ()):
        for file in (path, backup_path(path)):
            try:
                file.unlink(missing_ok=True)
            except OSError as error:
                raise AnnotationFileError(f"Cannot remove {file}: {error.strerror or error}") from error


def findings_path(case: Case, detector: str) -> Path:
    """Where a detector's findings on the open scan are kept."""
    return beside.findings_path(case.volume.source, case.volume.scan_id, detector)


def _show_found_before(case: Case) -> list[str]:
    """Show the findings that were kept for a scan, the latest last, and give a note on what cannot be shown."""
    folder, stem = annotation_path(case.volume.source).parent, findings_stem(case.volume.source, case.volume.scan_id)
    kept = [
        path for path in folder.iterdir() if path.name.startswith(f"{stem}.") and path.name.endswith(FINDINGS_SUFFIX)
    ]
    notes = []
    for path in sorted(kept, key=lambda path: (path.stat().st_mtime_ns, path.name)):
        try:
            findings = read_findings(path)
            case.set_findings(findings)
        except UldError as error:
            notes.append(f"What a detector found before is not shown: {error}")
            continue
        case.kept[findings.detector] = (*case.kept.get(findings.detector, ()), path)
    return notes


def annotation_file_name(name: str) -> Path:
    """Give the path that a person meant by a name without the suffix that opens the file again."""
    return Path(name if name.endswith(SUFFIX) else name.removesuffix(".json") + SUFFIX)


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AnnotationFileError(f"Cannot make {folder}: {error.strerror or error}; see that you may") from error


def _own_paths(volume: CTVolume, mirror: Mirror | None) -> tuple[Path, Path]:
    first, with_scan_id = own_paths(volume.source, volume.scan_id)
    return (first, with_scan_id) if mirror is None else (mirror.place(first), mirror.place(with_scan_id))


def _saved(volume: CTVolume, mirror: Mirror | None = None) -> tuple[Path, AnnotationFile | None, list[str]]:
    """Look through the annotation files beside a scan, or in a mirror, for its own.

    Several scans of one folder: the first one saved has the folder's name, the others add a hash of their id.

    Returns
    -------
    Where the scan's lesions are saved, what is there, and a note on every file of another scan.
    """
    first, with_scan_id = _own_paths(volume, mirror)
    stem = first.name.removesuffix(SUFFIX)
    near = sorted(
        path
        for path in (first.parent.iterdir() if first.parent.is_dir() else ())
        if path.name.startswith(f"{stem}.") and path.name.endswith(SUFFIX) and path not in (first, with_scan_id)
    )
    saved: AnnotationFile | None = None
    others: list[AnnotationFile] = []
    notes: list[str] = []
    for path in (first, with_scan_id, *near):
        if not has_annotations(path):
            continue
        try:
            file = read_annotations(path)
        except AnnotationFileError as error:
            if path in (first, with_scan_id):
                raise
            notes.append(f"A file of lesions was passed over: {error}. What it holds is not shown")
            continue
        if file.annotations.scan_id != volume.scan_id:
            others.append(file)
        elif saved is None:
            saved = file
        else:
            notes.append(
                f"Another file has lesions of this scan: {path.name}. Those of {saved.path.name} are shown; "
                f"drop {path.name} on the window to see the others"
            )
    free = with_scan_id if has_annotations(first) else first
    target = free if saved is None else saved.path
    # A file of another name's scan ("ct.2" beside "ct") is no surprise; one of this name may be.
    notes += [
        f"Lesions of another scan are not shown: {file.path.name} holds those of {file.scan_name} "
        f"({file.annotations.scan_id}); open that scan to see them. The lesions of this one are saved in {target.name}"
        for file in others
        if file.path == first or file.scan_source == volume.source.name
    ]
    return target, saved, notes


def export_refusal(volume: CTVolume) -> str:
    """Say why a scan's lesions cannot go into a DL_info.csv; "" where they can."""
    if not volume.series_name:
        return f"{volume.name} is no DeepLesion series; its lesions are saved in the native file only"
    if dl_info_table(volume) is None:
        return f"There is no {CSV_NAME} beside {volume.name} to take spacing and patient from; put the download's there"
    return ""


def export_dl_info(case: Case, path: Path) -> str:
    """Write the lesions of the open DeepLesion series into a DL_info.csv; give what was done.

    Parameters
    ----------
    path
        The table. Where it is there, only the series' own rows change; otherwise it becomes the
        download's table with the series' lesions as they are now.

    Raises
    ------
    FileLockedError, FileChangedError
        If another program is writing it, or changed it meanwhile.
    AnnotationFileError
        If the scan is no DeepLesion series, the table cannot be read or written, or it lacks the series.
    """
    table = dl_info_table(case.volume)
    refusal = export_refusal(case.volume)
    if table is None or refusal:
        raise AnnotationFileError(refusal)
    series = case.volume.source.name
    written = write_dl_info(path, read_dl_info(path if path.exists() else table), {series: case.annotations})
    count = len(written.by_series.get(series, ()))
    return (
        f"Wrote {count} lesion{'s' if count != 1 else ''} of {series} into {path}. Rejected lesions "
        "have no place there: save them too"
    )


def dl_info_table(volume: CTVolume) -> Path | None:
    """Give the DL_info.csv that a DeepLesion series was downloaded with, or None."""
    return table_beside(volume.source)


def _from_dl_info(volume: CTVolume) -> Annotations:
    """Give the lesions that a DeepLesion series has in the DL_info.csv of its download."""
    table = dl_info_table(volume)
    rows = [] if table is None else annotations_from_dl_info(read_dl_info(table), volume.source.name, volume.scan_id)
    return Annotations(volume.scan_id, rows)
