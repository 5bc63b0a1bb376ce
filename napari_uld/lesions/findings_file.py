"""Findings as a file, `*.findings.json`: what `detect --json` writes and `evaluate` reads."""

from pathlib import Path

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions import json_models, storage
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.json_models import FindingFileModel

SUFFIX = ".findings.json"


def write_findings(path: Path, findings: Findings) -> None:
    """Write findings, replacing what was there.

    Raises
    ------
    FileLockedError
        If another program is writing it.
    AnnotationFileError
        If it cannot be written, or holds something that could not be read back.
    """
    content = {
        "format": FindingFileModel.FORMAT,
        "version": FindingFileModel.VERSION,
        "scan": {"id": findings.scan_id, "name": json_models.unicode_of(findings.scan_name)},
        "method": findings.method,
        "checkpoint": findings.checkpoint,
        "operating_point": findings.operating_point,
        # Said where it is so: files of padded ones stay as they ever were.
        **({"tight": True} if findings.tight else {}),
        "findings": [_finding_to_json(findings, row) for row in range(len(findings))],
    }
    data = json_models.dump(content, path)
    json_models.parse(FindingFileModel, data, str(path), "finding")
    storage.save(path, data)


def read_findings(path: Path) -> Findings:
    """Read findings.

    Raises
    ------
    NewerVersionError
        If the file was written by a newer version.
    AnnotationFileError
        If it cannot be read, naming the finding, the field, what was found and what was required.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationFileError(f"Cannot read {path}: {error.strerror or error}") from error
    model = json_models.parse_file(FindingFileModel, data, path, "finding")
    rows = model.findings
    return Findings.from_rows(
        scan_id=model.scan.id,
        scan_name=model.scan.name,
        method=model.method,
        checkpoint=model.checkpoint,
        boxes=[row.box for row in rows],
        scores=[row.score for row in rows],
        key_slices=[row.key_slice for row in rows],
        labels=[row.label for row in rows],
        negative=[row.negative for row in rows],
        slice_boxes=tuple({s.slice: s.box for s in row.slice_boxes} for row in rows),
        masks=tuple(row.mask.decoded() if row.mask else None for row in rows),
        points=[row.points for row in rows],
        first_points=[row.first_points for row in rows] if any(row.first_points for row in rows) else None,
        depths=[row.depth for row in rows] if rows and rows[0].depth is not None else None,
        operating_point=model.operating_point,
        tight=model.tight,
        columns={name: [row.columns[name] for row in rows] for name in (rows[0].columns if rows else ())},
    )


def _finding_to_json(findings: Findings, row: int) -> dict[str, object]:
    boxes = findings.slice_boxes[row]
    content: dict[str, object] = {
        "box": findings.boxes[row].tolist(),
        "score": float(findings.scores[row]),
        "label": int(findings.labels[row]),
        "key_slice": int(findings.key_slices[row]),
        "negative": bool(findings.negative[row]),
        "slice_boxes": [{"slice": int(z), "box": [float(v) for v in boxes[z]]} for z in sorted(boxes)],
        "mask": json_models.mask_to_json(findings.masks[row]),
    }
    if findings.depths is not None:
        content["depth"] = findings.depths[row].tolist()
    first = None if findings.first_points is None else findings.first_points[row]
    for name, points in (("points", findings.points[row]), ("first_points", first)):
        if points is not None:
            content[name] = points.tolist()
    if findings.columns:
        content["columns"] = {name: float(values[row]) for name, values in findings.columns.items()}
    return content
