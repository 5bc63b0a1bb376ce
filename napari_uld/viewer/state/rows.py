"""The rows of a review: what people decided and what a detector found, as one list of lesions."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State
from napari_uld.lesions.boxes import RECIST_MARGIN
from napari_uld.lesions.findings import Box, Findings, as_box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle


class Mark(StrEnum):
    """How a lesion stands, for a person to see at a glance."""

    EXPERT = "expert"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PENDING = "to decide"


@dataclass(frozen=True, eq=False)
class Row:
    """One lesion of the review: a person's annotation, or a machine's finding that waits for a decision.

    Parameters
    ----------
    key
        What the lesion is called here; it stays the same when a finding is accepted or rejected.
    native
        Number of the key slice in the scan's files.
    boxes
        The box on every slice it was traced through, by native number, the key slice included.
    annotation
        The annotation, or None while nothing was decided.
    finding
        Row in the findings, or None where it came from no finding that is open.
    diameter
        Long diameter in mm: measured where there is a RECIST, otherwise the box's long side
        without DeepLesion's margin.
    """

    key: str
    native: int
    boxes: Mapping[int, Box]
    mark: Mark
    score: float | None
    lesion_type: LesionType
    source: str
    recist: Recist | None
    diameter: float
    annotation: Annotation | None = None
    finding: int | None = None

    @property
    def box(self) -> Box:
        """The box on the key slice."""
        return self.boxes[self.native]

    @property
    def corrected_mask(self) -> Rle | None:
        """The mask that a person painted on the key slice, or None."""
        return None if self.annotation is None else self.annotation.corrected_mask


def rows_of(volume: CTVolume, annotations: Annotations, findings: Findings | None, threshold: float) -> tuple[Row, ...]:
    """Give the rows of a scan, from the head to the feet: all annotations, and the findings that nobody decided on.

    Parameters
    ----------
    volume
        The scan.
    annotations
        What people decided about it.
    findings
        What a detector found in it, where one ran.
    threshold
        Findings below this score wait for nobody.
    """
    ids = {} if findings is None else {findings.finding_id(i): i for i in range(len(findings))}
    rows: dict[str, Row] = {}
    for annotation in annotations:
        key = annotation.parent_id or annotation.id
        row = _annotation_row(volume, annotation, findings, ids.pop(annotation.parent_id or "", None))
        rows[annotation.id if key in rows else key] = replace(row, key=annotation.id if key in rows else key)
    if findings is not None:
        for finding_id, i in ids.items():
            if findings.scores[i] >= threshold and not findings.negative[i]:
                rows[finding_id] = _finding_row(volume, findings, i)
    position = slice_positions(volume)
    # From the head to the feet, as a reader scrolls; slices that are not there come last.
    return tuple(sorted(rows.values(), key=lambda row: (-position.get(row.native, -1), -(row.score or 2.0), row.key)))


def slice_positions(volume: CTVolume) -> dict[int, int]:
    """Index of every slice that is on disk by its number in the scan's files."""
    return {int(native): z for z, native in enumerate(volume.slice_numbers)}


def _annotation_row(volume: CTVolume, annotation: Annotation, findings: Findings | None, finding: int | None) -> Row:
    boxes: dict[int, Box] = {}
    # A box that a person moved no longer agrees with the trace on the other slices.
    if finding is not None and findings is not None and annotation.source is Source.MINED:
        boxes.update(findings.slice_boxes[finding])
    boxes[annotation.key_slice] = annotation.box
    return Row(
        key=annotation.id,
        native=annotation.key_slice,
        boxes=boxes,
        mark=_mark(annotation),
        score=annotation.score,
        lesion_type=annotation.lesion_type,
        source=annotation.source.value,
        recist=annotation.recist,
        diameter=_diameter(volume, annotation.box, annotation.recist),
        annotation=annotation,
        finding=finding,
    )


def _finding_row(volume: CTVolume, findings: Findings, i: int) -> Row:
    box = as_box(findings.boxes[i])
    native = int(findings.key_slices[i])
    return Row(
        key=findings.finding_id(i),
        native=native,
        boxes={**findings.slice_boxes[i], native: box},
        mark=Mark.PENDING,
        score=float(findings.scores[i]),
        lesion_type=LesionType.UNKNOWN,
        source="detector",
        recist=None,
        diameter=_diameter(volume, box, None),
        finding=i,
    )


def _diameter(volume: CTVolume, box: Box, recist: Recist | None) -> float:
    if recist is not None:
        return recist.millimetres(volume.spacing)[0]
    _, dy, dx = volume.spacing
    x1, y1, x2, y2 = box
    return max((x2 - x1 - 2 * RECIST_MARGIN) * dx, (y2 - y1 - 2 * RECIST_MARGIN) * dy, 0.0)


def _mark(annotation: Annotation) -> Mark:
    if annotation.state is State.PENDING:
        return Mark.PENDING
    if annotation.state is State.REJECTED:
        return Mark.REJECTED
    return Mark.EXPERT if annotation.source is Source.EXPERT else Mark.ACCEPTED
