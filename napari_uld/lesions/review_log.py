"""The review log, `<scan>.lesions.log.jsonl`: every decision ever made, one line each, only added to."""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions import json_models, storage
from napari_uld.lesions.annotation_file import lesion_from_json, lesion_to_json
from napari_uld.lesions.annotations import Annotation, Edit, now


@dataclass(frozen=True)
class LogEntry:
    """One line of the log.

    Parameters
    ----------
    time
        When it was logged, ISO 8601, UTC.
    reviewer
        Who did it.
    edit
        What was done, to which lesion, before and after.
    """

    time: str
    reviewer: str
    edit: Edit


def log_path(annotation_file: Path) -> Path:
    """Where the review log of an annotation file lies: `x.lesions.json` -> `x.lesions.log.jsonl`."""
    return annotation_file.with_name(annotation_file.name.removesuffix(".json") + ".log.jsonl")


def append_log(path: Path, edits: Iterable[Edit], reviewer: str, *, timeout: float = storage.LOCK_TIMEOUT) -> None:
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
    lines = b"".join(_line(edit, reviewer) for edit in edits)
    with storage.locked(path, timeout):
        try:
            is_new = not path.exists()
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o666)
            try:
                os.ftruncate(descriptor, _whole(path.read_bytes()))
                os.lseek(descriptor, 0, os.SEEK_END)
                storage.write_all(descriptor, lines)
            finally:
                os.close(descriptor)
            if is_new:
                storage.sync_folder(path.parent)
        except OSError as error:
            raise AnnotationFileError(f"Cannot write the review log {path}: {error.strerror or error}") from error


def read_log(path: Path) -> list[LogEntry]:
    """Give the entries in the order they were made; none where there is no log.

    Raises
    ------
    AnnotationFileError
        If a line is damaged (a torn last line is passed over).
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise AnnotationFileError(f"Cannot read the review log {path}: {error.strerror or error}") from error
    lines = data[: _whole(data)].splitlines()
    return [_entry(line, f"{path}, line {number}") for number, line in enumerate(lines, start=1)]


def _whole(data: bytes) -> int:
    """Bytes up to the end of the last whole line: a line is written with its end or it is torn."""
    return data.rfind(b"\n") + 1


def _line(edit: Edit, reviewer: str) -> bytes:
    content = {
        "time": now(),
        "reviewer": reviewer,
        "action": edit.action,
        "scan_id": _row(edit).scan_id,
        "before": None if edit.before is None else lesion_to_json(edit.before),
        "after": None if edit.after is None else lesion_to_json(edit.after),
    }
    return (json.dumps(content) + "\n").encode()


def _row(edit: Edit) -> Annotation:
    row = edit.after or edit.before
    if row is None:
        raise AnnotationFileError("An edit needs a lesion before or after it")
    return row


def _entry(line: bytes, where: str) -> LogEntry:
    model = json_models.parse(json_models.ReviewModel, line, where, "lesion")
    before, after = (
        None if row is None else lesion_from_json(row, model.scan_id) for row in (model.before, model.after)
    )
    return LogEntry(model.time, model.reviewer, Edit(model.action, before, after))
