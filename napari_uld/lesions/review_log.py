"""The review log, `<scan>.lesions.log.jsonl`: every decision ever made, one line each, only added to."""

import json
from collections.abc import Iterable
from pathlib import Path

from napari_uld.errors import AnnotationFileError
from napari_uld.files import append_lines
from napari_uld.lesions import storage
from napari_uld.lesions.annotation_file import lesion_to_json
from napari_uld.lesions.annotations import Annotation, now
from napari_uld.lesions.edits import Edit

# What became of the edits before it: the annotation file holds them, or a person gave them up.
SAVED, DISCARDED = "saved", "discarded"
# Said before an annotation file is written for the first time: from here on this log marks what became of its edits.
BEGUN = "begun"


def log_path(annotation_file: Path) -> Path:
    """Where the review log of an annotation file lies: `x.lesions.json` -> `x.lesions.log.jsonl`."""
    return annotation_file.with_name(annotation_file.name.removesuffix(".json") + ".log.jsonl")


def append_log(
    path: Path, edits: Iterable[Edit[Annotation]], reviewer: str, *, timeout: float = storage.LOCK_TIMEOUT
) -> None:
    """Add a line for every edit and flush them to the disk.

    A last line that a crash tore is removed first; its edit was never acknowledged.
    `timeout` is how many seconds to wait for the log's lock.

    Raises
    ------
    FileLockedError
        If another program holds the log's lock.
    AnnotationFileError
        If it cannot be written.
    """
    _append(path, b"".join(_line(edit, reviewer) for edit in edits), timeout)


def append_mark(path: Path, action: str, scan_id: str, reviewer: str, *, timeout: float = storage.LOCK_TIMEOUT) -> None:
    """Add a line that says what became of the edits so far: `SAVED`, `DISCARDED` or, not yet, `BEGUN`.

    Raises
    ------
    FileLockedError
        If another program holds the log's lock.
    AnnotationFileError
        If it cannot be written.
    """
    mark = {"time": now(), "reviewer": reviewer, "action": action, "scan_id": scan_id, "before": None, "after": None}
    _append(path, (json.dumps(mark) + "\n").encode(), timeout)


def _append(path: Path, lines: bytes, timeout: float) -> None:
    with storage.locked(path, timeout):
        try:
            append_lines(path, lines)
        except OSError as error:
            raise AnnotationFileError(f"Cannot write the review log {path}: {error.strerror or error}") from error


def _line(edit: Edit[Annotation], reviewer: str) -> bytes:
    content: dict[str, object] = {
        "time": now(),
        "reviewer": reviewer,
        "action": edit.action,
        "scan_id": edit.row.scan_id,
        "before": None if edit.before is None else lesion_to_json(edit.before),
        "after": None if edit.after is None else lesion_to_json(edit.after),
    }
    # An action whose last line is missing was torn by a crash: readers take all of it or nothing.
    if edit.part != (1, 1):
        content["part"] = edit.part
    return (json.dumps(content) + "\n").encode()
