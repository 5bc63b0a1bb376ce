"""DL_info.csv as annotations and back: its 18 columns stay what DeepLesion's readers expect.

- Coordinates are 1-based in the file and 0-based here.
- A row whose lesion did not change is written as it was found; in a changed row only the fields
  that changed are written anew, with six significant digits as in the original.
- Somebody who reads the 18 columns alone must see nothing but lesions. Rejected lesions are
  therefore left out, and so are a machine's that nobody decided on: both are in the native file.
- Where there is provenance to write, it goes into columns after the 18 (`PROVENANCE`).
- A lesion that nobody measured has NaN for its measurement and diameters. The normalised location
  is relative to the body, which the table does not give: it is NaN for a new or moved lesion.
- `Corrected_mask` is a mask that a person corrected: height, width and COCO's column-major run lengths,
  "512 512 98304 3 ..."; training takes it instead of one made from the measurement. The mask that a
  machine's lesion came with is in the native file only.
"""

import contextlib
import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from napari_uld.ct.dl_info import DlInfo, DlInfoRow, parse_dl_info
from napari_uld.errors import AnnotationError, AnnotationFileError, BoxError
from napari_uld.lesions import storage
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State, new_id
from napari_uld.lesions.boxes import as_boxes, in_image
from napari_uld.lesions.findings import as_box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle
from napari_uld.words import FOUND_LENGTH

# Extra columns, in this order.
PROVENANCE = (
    "Lesion_id",
    "Source",
    "State",
    "Parent_id",
    "Score",
    "Detector",
    "Reviewer",
    "Review_time",
    "Corrected_mask",
    "Comment",
)

# The new fields of a row by its line number; None where the row goes.
_Changes = dict[int, dict[str, str] | None]
_OFFSET = 1.0  # DeepLesion counts pixels from 1


def annotations_from_dl_info(info: DlInfo, series: str, scan_id: str) -> list[Annotation]:
    """Give the lesions of one series, in the file's order; none where the file has no row of it.

    Parameters
    ----------
    series
        Name of the series' folder, "000001_01_01".
    scan_id
        `CTVolume.scan_id` of the scan.

    Raises
    ------
    AnnotationFileError
        If a box, a type, a flag or a provenance column holds what it cannot hold.
    """
    lesions: list[Annotation] = []
    times: dict[str, int] = {}
    for row in info.by_series.get(series, ()):
        lesion = _lesion(info.path, row, scan_id)
        times[lesion.id] = times.get(lesion.id, 0) + 1
        # The same box twice on one slice is two rows of the file: the second has an id of its own.
        lesions.append(lesion if times[lesion.id] == 1 else replace(lesion, id=f"{lesion.id}-{times[lesion.id]}"))
    return lesions


def write_dl_info(path: Path, info: DlInfo, annotations: Mapping[str, Annotations]) -> DlInfo:
    """Write a DL_info.csv with the lesions of some series as they are now; give it as it then reads.

    Parameters
    ----------
    info
        The table to start from. Where it was read from `path`, the file must still be the same.
    annotations
        The lesions of each series that was reviewed; the rows of all others stay as they are.

    Raises
    ------
    FileLockedError
        If another program is writing it.
    FileChangedError
        If the file changed on disk since it was read.
    AnnotationFileError
        If it cannot be written, or a lesion belongs to a series that `info` has no row of.
    """
    columns, lines = _table(info, annotations)
    header = info.header
    if columns != info.columns:
        header = _extended(header, columns[len(info.columns) :])
    ended = [line if line.endswith("\n") else line + info.line_end for line in [header, *lines[:-1]]]
    text = "".join([*ended, *lines[-1:]]) + (info.tail if not lines or lines[-1].endswith("\n") else "")
    data = text.encode("utf-8", "surrogateescape")
    written = parse_dl_info(path, data)
    same_file = path.resolve() == info.path.resolve()
    storage.save(path, data, read_fingerprint=storage.fingerprint_of(info.to_bytes()) if same_file else None)
    return written


def _table(info: DlInfo, annotations: Mapping[str, Annotations]) -> tuple[tuple[str, ...], list[str]]:
    """Give the columns, and every row's line: as found, or written anew."""
    changed: _Changes = {}
    added: dict[int, list[dict[str, str]]] = {}
    for series, lesions in annotations.items():
        _compare(info, series, lesions, changed, added)
    fresh = [fields for fields in (*changed.values(), *(f for many in added.values() for f in many)) if fields]
    blank = tuple(name for name in PROVENANCE if name not in info.columns)
    if not any(fields[name] for fields in fresh for name in blank):
        blank = ()
    columns = info.columns + blank
    lines: list[str] = []
    for row in info.rows:
        if row.line_number not in changed:
            lines.append(_extended(row.line, ("" for _ in blank)))
        elif fields := changed[row.line_number]:
            lines.append(_line(fields, columns, info.line_end))
        lines += [_line(fields, columns, info.line_end) for fields in added.get(row.line_number, ())]
    return columns, lines


def _compare(
    info: DlInfo, series: str, lesions: Annotations, changed: _Changes, added: dict[int, list[dict[str, str]]]
) -> None:
    """Note what changed in one series by line number; new lesions under the series' last line."""
    rows = info.by_series.get(series, ())
    before = annotations_from_dl_info(info, series, lesions.scan_id)
    now = {lesion.id: lesion for lesion in lesions}
    for row, old in zip(rows, before, strict=True):
        new = now.get(old.id)
        if new is None or not _is_written(new):
            if new != old:  # a row that was read as rejected is none of ours to remove
                changed[row.line_number] = None
        elif replace(new, mask=new.corrected_mask) != replace(old, mask=old.corrected_mask):
            changed[row.line_number] = _fields(row, old, new)
    known = {old.id for old in before}
    fresh = [lesion for lesion in lesions if lesion.id not in known and _is_written(lesion)]
    if fresh and not rows:
        raise AnnotationFileError(
            f"{info.path} has no row of the series {series} to take its spacing and window from; "
            "save its lesions to the native file instead"
        )
    if fresh:
        added[rows[-1].line_number] = [_fields(_nearest(rows, lesion), None, lesion) for lesion in fresh]


def _is_written(lesion: Annotation) -> bool:
    return lesion.state is State.ACCEPTED or (lesion.state is State.PENDING and lesion.source is Source.EXPERT)


def _nearest(rows: Sequence[DlInfoRow], lesion: Annotation) -> DlInfoRow:
    """Give the row of the series to take its spacing, window and patient from."""
    return min(rows, key=lambda row: abs(row.key_slice - lesion.key_slice))


def _fields(row: DlInfoRow, before: Annotation | None, after: Annotation) -> dict[str, str]:
    """Give the text of `row`'s fields with what differs between two lesions written anew."""
    fields = dict(row.fields)
    if before is None or before.key_slice != after.key_slice:
        first, last = row.slice_range
        fields["File_name"] = f"{row.series}_{after.key_slice:03d}.png"
        fields["Key_slice_index"] = str(after.key_slice)
        fields["Slice_range"] = _numbers([min(first, after.key_slice), max(last, after.key_slice)])
    if before is None or before.box != after.box:
        _check_box(row, after)
        fields["Bounding_boxes"] = _numbers([v + _OFFSET for v in after.box])
    if before is None or (before.key_slice, before.box) != (after.key_slice, after.box):
        fields["Normalized_lesion_location"] = _numbers([float("nan")] * 3)
    if before is None or before.recist != after.recist:
        points = after.recist.points.ravel() + _OFFSET if after.recist else [float("nan")] * 8
        fields["Measurement_coordinates"] = _numbers(points)
        fields["Lesion_diameters_Pixel_"] = _numbers(after.recist.diameters if after.recist else [float("nan")] * 2)
    if before is None or before.lesion_type != after.lesion_type:
        fields["Coarse_lesion_type"] = str(int(after.lesion_type))
    if before is None or before.noisy != after.noisy:
        fields["Possibly_noisy"] = str(int(after.noisy))
    return fields | _provenance(fields, after)


def _check_box(row: DlInfoRow, lesion: Annotation) -> None:
    """Refuse to write a box that nobody could find on its image again."""
    try:
        in_image(lesion.box, row.image_size)
    except BoxError as error:
        raise AnnotationFileError(
            f"The lesion {lesion.id} on slice {lesion.key_slice} of {row.series} cannot go into DL_info.csv: {error}. "
            "Mend or reject it first; nothing was written"
        ) from error


def _provenance(fields: Mapping[str, str], lesion: Annotation) -> dict[str, str]:
    """Give the text of the extra columns: blank where it would say what their absence says."""
    box = as_box(as_boxes([[float(v) - _OFFSET for v in fields["Bounding_boxes"].split(",")]])[0])
    return {
        "Lesion_id": "" if lesion.id == new_id(lesion.scan_id, lesion.key_slice, box) else lesion.id,
        "Source": "" if lesion.source is Source.EXPERT else lesion.source.value,
        "State": "" if lesion.state is State.ACCEPTED else lesion.state.value,
        "Parent_id": lesion.parent_id or "",
        "Score": "" if lesion.score is None else f"{lesion.score:.6g}",
        "Detector": lesion.detector,
        "Reviewer": lesion.reviewer,
        "Review_time": lesion.time,
        "Corrected_mask": "" if lesion.corrected_mask is None else _mask_text(lesion.corrected_mask),
        "Comment": lesion.comment,
    }


def _lesion(path: Path, row: DlInfoRow, scan_id: str) -> Annotation:
    with _column(path, row, "Bounding_boxes", "x1 <= x2 and y1 <= y2"):
        box = as_box(as_boxes([[v - _OFFSET for v in row.numbers["Bounding_boxes"]]])[0])
    with _column(path, row, "Coarse_lesion_type", "-1 or 1 to 8"):
        lesion_type = LesionType(int(row.numbers["Coarse_lesion_type"][0]))
    with _column(path, row, "Possibly_noisy", "0 or 1"):
        noisy = bool(("0", "1").index(f"{row.numbers['Possibly_noisy'][0]:g}"))
    with _column(path, row, "Source", " or ".join(Source)):
        source = Source(row.fields.get("Source") or Source.EXPERT)
    with _column(path, row, "State", " or ".join(State)):
        state = State(row.fields.get("State") or State.ACCEPTED)
    with _column(path, row, "Score", "a finite number"):
        score = _score(row.fields.get("Score", ""))
    time = row.fields.get("Review_time", "")
    with _column(path, row, "Review_time", "an ISO 8601 time"):
        if time:
            datetime.fromisoformat(time)
    with _column(path, row, "Corrected_mask", "height, width and run lengths that fill them, as whole numbers"):
        mask = _mask(row.fields.get("Corrected_mask", ""))
    points = row.numbers["Measurement_coordinates"]
    return Annotation(
        id=row.fields.get("Lesion_id") or new_id(scan_id, row.key_slice, box),
        scan_id=scan_id,
        key_slice=row.key_slice,
        box=box,
        recist=None if math.isnan(points[0]) else Recist.from_points([v - _OFFSET for v in points]),
        mask=mask,
        lesion_type=lesion_type,
        noisy=noisy,
        source=source,
        state=state,
        parent_id=row.fields.get("Parent_id") or None,
        score=score,
        detector=row.fields.get("Detector", ""),
        reviewer=row.fields.get("Reviewer", ""),
        time=time,
        comment=row.fields.get("Comment", ""),
    )


@contextlib.contextmanager
def _column(path: Path, row: DlInfoRow, column: str, required: str) -> Iterator[None]:
    """Turn what goes wrong in a column into the error that names it."""
    try:
        yield
    except (ValueError, BoxError, AnnotationError) as error:
        text = row.fields[column]
        quoted = repr(text) if len(text) <= FOUND_LENGTH else repr(text[:FOUND_LENGTH]) + "..."
        raise AnnotationFileError(
            f"{path}, line {row.line_number}, column {column}: found {quoted}, required {required}"
        ) from error


def _score(text: str) -> float | None:
    score = float(text) if text else None
    if score is not None and not math.isfinite(score):
        raise ValueError(text)
    return score


def _mask(text: str) -> Rle | None:
    if not text:
        return None
    height, width, *counts = (int(word) for word in text.split())
    return Rle((height, width), tuple(counts))


def _mask_text(mask: Rle) -> str:
    text = " ".join(map(str, (*mask.shape, *mask.counts)))
    if len(text) > csv.field_size_limit():
        raise AnnotationFileError(
            f"A mask's run lengths may take up to {csv.field_size_limit()} characters of DL_info.csv; "
            f"found {len(mask.counts)} runs: smooth the mask"
        )
    return text


def _numbers(values: Iterable[float]) -> str:
    return ", ".join("NaN" if math.isnan(v) else f"{v:g}" for v in values)


def _line(fields: Mapping[str, str], columns: Sequence[str], line_end: str) -> str:
    values = [fields.get(name, "") for name in columns]
    if any("\n" in value or "\r" in value for value in values):
        raise AnnotationFileError(f"A row of DL_info.csv is one line; found a line break in {values}")
    text = io.StringIO()
    csv.writer(text, lineterminator=line_end).writerow(values)
    return text.getvalue()


def _extended(line: str, values: Iterable[str]) -> str:
    """Give `line` with more fields at its end, and what stood before them as it was."""
    body = line.rstrip("\r\n")
    return body + "".join(f",{value}" for value in values) + line[len(body) :]
