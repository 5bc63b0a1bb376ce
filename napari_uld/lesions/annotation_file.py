"""The native annotation file, `<scan>.lesions.json`: read strictly, saved so that nothing is ever lost."""

import json
from dataclasses import dataclass
from pathlib import Path

from napari_uld.errors import AnnotationError, AnnotationFileError
from napari_uld.lesions import json_models, storage
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType
from napari_uld.lesions.json_models import LesionFileModel, LesionModel

SUFFIX = ".lesions.json"
SCHEMA_PATH = Path(__file__).with_name("lesions.schema.json")


@dataclass(frozen=True)
class AnnotationFile:
    """What an annotation file holds.

    Parameters
    ----------
    path
        Where it was read; saving goes there.
    annotations
        The lesions.
    scan_name, scan_source
        What a person calls the scan, and the name of the file or folder it was read from.
    fingerprint
        Of the file as it is on disk; `save_annotations` refuses to overwrite any other.
    recovered_from
        The backup, where the file itself was missing or damaged.
    message
        What happened then, to be shown to the person; "" otherwise.
    """

    path: Path
    annotations: Annotations
    scan_name: str
    scan_source: str
    fingerprint: str
    recovered_from: Path | None = None
    message: str = ""


def annotation_path(volume_source: Path) -> Path:
    """Where the annotations of a scan lie: beside its file or folder.

    `scans/0001/` -> `scans/0001.lesions.json`, `ct.nii.gz` -> `ct.lesions.json`.
    """
    if volume_source.is_dir():
        # resolve: "." and ".." have no name of their own; a folder's dots are part of its name.
        folder = volume_source.resolve()
        return folder.with_name(folder.name + SUFFIX)
    stem = volume_source.name
    stem = stem[: -len(".nii.gz")] if stem.lower().endswith(".nii.gz") else volume_source.stem
    return volume_source.with_name(stem + SUFFIX)


def has_annotations(path: Path) -> bool:
    """Whether there is an annotation file, or its backup, to read."""
    return path.exists() or storage.backup_path(path).exists()


def read_annotations(path: Path) -> AnnotationFile:
    """Read an annotation file; its backup where the file itself is missing or damaged.

    Raises
    ------
    NewerVersionError
        If the file was written by a newer version.
    AnnotationFileError
        If neither can be read, naming the lesion, the field, what was found and what was required.
    """
    try:
        data = path.read_bytes()
        fingerprint = storage.fingerprint_of(data)
        return _parsed(path, path, data, fingerprint)
    except json_models.NewerVersionError:
        raise
    except FileNotFoundError:
        fingerprint, reason = storage.ABSENT, f"{path} is missing"
    except OSError as error:
        raise AnnotationFileError(f"Cannot read {path}: {error.strerror or error}") from error
    except AnnotationFileError as error:
        reason = str(error)
    backup = storage.backup_path(path)
    try:
        return _parsed(path, backup, backup.read_bytes(), fingerprint, reason)
    except (OSError, AnnotationFileError) as error:
        raise AnnotationFileError(f"{reason}; its backup {backup.name} cannot be read either: {error}") from error


def save_annotations(
    path: Path, annotations: Annotations, *, scan_name: str, scan_source: str, read_fingerprint: str | None = None
) -> str:
    """Save the lesions of a scan and give the file's new fingerprint.

    The version before stays as `.bak`. Afterwards the annotations count as saved.

    Parameters
    ----------
    scan_name
        What a person calls the scan.
    scan_source
        Name of the file or folder it was read from, without the folders above it.
    read_fingerprint
        `AnnotationFile.fingerprint` of the file these came from; `storage.ABSENT` where there was
        none yet; None replaces whatever is there.

    Raises
    ------
    FileLockedError
        If another program is saving it.
    FileChangedError
        If it changed on disk since it was read.
    AnnotationFileError
        If it cannot be written, or holds something that could not be read back.
    """
    content = {
        "format": LesionFileModel.FORMAT,
        # A reader of version 1 would take a file with a comment for damaged, and show its backup instead.
        "version": LesionFileModel.VERSION if any(row.comment for row in annotations) else 1,
        "scan": {
            "id": annotations.scan_id,
            "name": json_models.unicode_of(scan_name),
            "source": json_models.unicode_of(scan_source),
        },
        "lesions": [lesion_to_json(row) for row in annotations],
    }
    data = json_models.dump(content, path)
    json_models.parse(LesionFileModel, data, str(path), "lesion")
    saved = storage.save(path, data, read_fingerprint=read_fingerprint, readable=_is_readable)
    annotations.mark_saved()
    return saved


def lesion_to_json(row: Annotation) -> dict[str, object]:
    """Give a lesion as JSON has it; the file, not the lesion, names the scan."""
    ends = None if row.recist is None else row.recist.points.tolist()
    content = {
        "id": row.id,
        "key_slice": int(row.key_slice),
        "box": [float(v) for v in row.box],
        "recist": None if ends is None else {"long": ends[:2], "short": ends[2:]},
        "mask": json_models.mask_to_json(row.mask),
        "lesion_type": row.lesion_type.name.lower(),
        "noisy": bool(row.noisy),
        "source": row.source.value,
        "state": row.state.value,
        "parent_id": row.parent_id,
        "score": None if row.score is None else float(row.score),
        "detector": row.detector,
        "reviewer": row.reviewer,
        "time": row.time,
    }
    return {**content, "comment": row.comment} if row.comment else content


def lesion_from_json(model: LesionModel, scan_id: str) -> Annotation:
    """Give the lesion that `lesion_to_json` wrote."""
    return Annotation(
        id=model.id,
        scan_id=scan_id,
        key_slice=model.key_slice,
        box=model.box,
        recist=model.recist.decoded() if model.recist else None,
        mask=model.mask.decoded() if model.mask else None,
        lesion_type=LesionType[model.lesion_type.upper()],
        noisy=model.noisy,
        source=model.source,
        state=model.state,
        parent_id=model.parent_id,
        score=model.score,
        detector=model.detector,
        reviewer=model.reviewer,
        time=model.time,
        comment=model.comment,
    )


def schema() -> dict[str, object]:
    """Give the JSON schema of the file; `SCHEMA_PATH` publishes the same."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "napari-uld/lesions.schema.json",
        **LesionFileModel.model_json_schema(),
    }


def _parsed(path: Path, origin: Path, data: bytes, fingerprint: str, reason: str = "") -> AnnotationFile:
    model = json_models.parse_file(LesionFileModel, data, origin, "lesion")
    try:
        annotations = Annotations(model.scan.id, (lesion_from_json(row, model.scan.id) for row in model.lesions))
    except AnnotationError as error:
        raise AnnotationFileError(f"{origin}: {error}; each id is required to occur once") from error
    message = f"The lesions are from the backup {origin.name}: {reason}" if reason else ""
    return AnnotationFile(
        path, annotations, model.scan.name, model.scan.source, fingerprint, origin if reason else None, message
    )


def _is_readable(data: bytes) -> bool:
    try:
        _parsed(Path(), Path(), data, "")
    except json_models.NewerVersionError:
        return True
    except AnnotationFileError:
        return False
    return True


if __name__ == "__main__":  # python -m napari_uld.lesions.annotation_file publishes the schema anew
    SCHEMA_PATH.write_text(json.dumps(schema(), indent=2) + "\n")
