"""Decisions that a crash left in the review log alone: what they were, and how they come back.

Every edit is in the log before it is on the screen. What was made since the annotation file was written last is what
follows the log's last mark of that.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from napari_uld.lesions.annotation_file import lesion_from_json
from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.lesions.json_models import LesionModel
from napari_uld.lesions.review_log import BEGUN, DISCARDED, SAVED

# By lesion: what it was at the last moment, None where it was removed.
Unsaved = Mapping[str, Annotation | None]


def unsaved_lesions(logs: Iterable[Path], annotations: Annotations, fingerprint: str) -> Unsaved:
    """What the logs know of a scan's lesions that its annotation file does not.

    Parameters
    ----------
    logs
        The review logs that may hold the scan's edits, the earlier first; they need not be there.
    annotations
        The lesions as they were read.
    fingerprint
        Of the file that they were read from.

    Returns
    -------
    dict
        The lesions that differ. Nothing where no log has a mark of a file being written, as logs of earlier versions:
        what is in it was saved or given up, nobody knows which.
    """
    final: dict[str, Annotation | None] = {}
    marked = not fingerprint
    for entry in (entry for log in dict.fromkeys(logs) for entry in _whole(_entries(log))):
        if entry.get("scan_id") != annotations.scan_id:
            continue
        if entry.get("action") in (SAVED, DISCARDED):
            final, marked = {}, True
            continue
        marked = marked or entry.get("action") == BEGUN
        lesion_id, after = _changed(entry, annotations.scan_id)
        if lesion_id:
            final[lesion_id] = after
    if not marked:
        return {}
    rows = {row.id: row for row in annotations}
    return {lesion_id: after for lesion_id, after in final.items() if after != rows.get(lesion_id)}


def restore(annotations: Annotations, unsaved: Unsaved) -> None:
    """Bring unsaved lesions back, as edits: each can be undone, and none is saved yet."""
    for lesion_id, after in unsaved.items():
        if after is not None:
            annotations.put_back(after)
        elif lesion_id in annotations:
            annotations.remove(lesion_id)


def _entries(log: Path) -> Iterator[dict[str, Any]]:
    """The log's lines that can be read: one that a crash tore was never acknowledged."""
    try:
        lines = log.read_bytes().split(b"\n")
    except OSError:
        return
    for line in lines:
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            yield entry


def _whole(entries: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """Leave out actions of several edits whose last one is missing: they were never acknowledged."""
    begun: list[dict[str, Any]] = []
    for entry in entries:
        match entry.get("part"):
            case [int(part), int(count)]:
                begun = [entry] if part == 1 else [*begun, entry]
                if part == count:
                    yield from begun
                    begun = []
            case _:
                yield entry


def _changed(entry: dict[str, Any], scan_id: str) -> tuple[str, Annotation | None]:
    """The lesion that an entry changed, and what it became; "" where that cannot be told."""
    try:
        before, after = (_lesion(entry[side], scan_id) for side in ("before", "after"))
    except (KeyError, ValidationError, TypeError):
        return "", None
    lesion = after or before
    return ("", None) if lesion is None else (lesion.id, after)


def _lesion(stored: Any, scan_id: str) -> Annotation | None:
    if stored is None:
        return None
    return lesion_from_json(LesionModel.model_validate_json(json.dumps(stored)), scan_id)
