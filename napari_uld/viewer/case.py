"""The open scan: its lesions, a machine's findings, the threshold and the lesion at hand.

The one place of state of the viewer. No Qt here: panels and layers listen to its signals.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path

import numpy as np
from psygnal import Signal

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationError
from napari_uld.lesions.annotations import Annotation, Annotations, Edit, LesionType, Source, State, new_id, now
from napari_uld.lesions.boxes import RECIST_MARGIN
from napari_uld.lesions.findings import Box, Findings, as_box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.storage import ABSENT

DEFAULT_THRESHOLD = 0.4


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


class Case:
    """A scan under review.

    Parameters
    ----------
    volume
        The scan.
    annotations
        What people decided about it.
    path
        The annotation file that `save` writes.
    reviewer
        Who decides.
    threshold
        Findings below this score are not shown.

    Raises
    ------
    AnnotationError
        If the annotations are of another scan.
    """

    rows_changed = Signal()
    current_changed = Signal()
    threshold_changed = Signal(float)
    edited = Signal(Edit)
    saved = Signal(Path)

    def __init__(
        self,
        volume: CTVolume,
        annotations: Annotations,
        path: Path,
        *,
        reviewer: str = "",
        threshold: float = DEFAULT_THRESHOLD,
    ) -> None:
        self.volume = volume
        self.reviewer = reviewer
        # Of the annotation file as it was read; saving refuses to overwrite any other.
        self.fingerprint = ABSENT
        # What the scan was read from, where that is known.
        self.files: frozenset[Path] = frozenset()
        self.findings: Findings | None = None
        # Keys in the order in which `step` goes through them, where that is not the order of `rows`.
        self.order: tuple[str, ...] = ()
        self._threshold = threshold
        self._current: str | None = None
        self._use(annotations, path)
        self._rows = self._make_rows()

    @property
    def annotations(self) -> Annotations:
        """What people decided."""
        return self._annotations

    def replace_annotations(self, annotations: Annotations, path: Path) -> None:
        """Show the annotations of another file.

        Raises
        ------
        AnnotationError
            If they are of another scan.
        """
        self._use(annotations, path)
        self._refresh()

    def set_findings(self, findings: Findings | None) -> None:
        """Show what a detector found; earlier findings that nobody decided on go.

        Raises
        ------
        AnnotationError
            If the findings are of another scan.
        """
        if findings is not None:
            self.require_own(findings)
        self.findings = findings
        self._refresh()

    def require_own(self, findings: Findings) -> None:
        """Refuse findings of another scan.

        Raises
        ------
        AnnotationError
            If they are.
        """
        if findings.scan_id != self.volume.scan_id:
            raise AnnotationError(
                f"These findings are of the scan {findings.scan_name} ({findings.scan_id}); the open scan is "
                f"{self.volume.name} ({self.volume.scan_id}). Open the scan they belong to first."
            )

    @property
    def threshold(self) -> float:
        """Lowest score of a finding that is shown."""
        return self._threshold

    @threshold.setter
    def threshold(self, value: float) -> None:
        if value != self._threshold:
            self._threshold = value
            self.threshold_changed.emit(value)
            self._refresh()

    @property
    def rows(self) -> tuple[Row, ...]:
        """The lesions under review, from the first slice in the file's own order to the last."""
        return self._rows

    @property
    def decided(self) -> int:
        """How many of the rows somebody decided on."""
        return sum(row.mark is not Mark.PENDING for row in self._rows)

    def row(self, key: str | None) -> Row | None:
        """Give the row with this key, or None."""
        return next((row for row in self._rows if row.key == key), None)

    @property
    def current(self) -> Row | None:
        """The lesion at hand."""
        return self.row(self._current)

    def select(self, key: str | None) -> None:
        """Take a lesion in hand (None: none)."""
        if key != self._current:
            self._current = key
            self.current_changed.emit()

    def step(self, by: int, *, pending_only: bool = False) -> Row | None:
        """Take the next (or, `by` = -1, the previous) lesion in hand; at the end it goes on from the beginning."""
        place = {key: i for i, key in enumerate(self.order)}
        rows = sorted(self._rows, key=lambda row: place.get(row.key, len(place)))
        keys = [r.key for r in rows if not pending_only or r.mark is Mark.PENDING or r.key == self._current]
        if not keys:
            return None
        start = keys.index(self._current) if self._current in keys else (-1 if by > 0 else 0)
        self.select(keys[(start + by) % len(keys)])
        return self.current

    def decide(self, key: str, state: State) -> None:
        """Accept or reject a lesion, or open it again.

        Raises
        ------
        AnnotationError
            If there is no such lesion.
        """
        row = self._known(key)
        if row.annotation is not None:
            self._annotations.set_state(row.annotation.id, state, self.reviewer)
        elif self.findings is not None and row.finding is not None:
            self._annotations.decide(self.findings, row.finding, state, self.reviewer)

    def move_box(self, key: str, box: Box) -> None:
        """Give a lesion another box on its key slice; doing so to a finding accepts it.

        Raises
        ------
        AnnotationError
            If there is no such lesion.
        BoxError
            If the box is malformed.
        """
        if self._known(key).annotation is None:
            self.decide(key, State.ACCEPTED)
        annotation = self._known(key).annotation
        if annotation is not None:
            self._annotations.move_box(annotation.id, box, self.reviewer)

    def measure(self, key: str, recist: Recist) -> None:
        """Give a lesion another RECIST, and the box that DeepLesion draws about it.

        Raises
        ------
        AnnotationError
            If there is no such lesion, or nobody accepted it yet.
        """
        annotation = self._known(key).annotation
        if annotation is None:
            raise AnnotationError("Accept the finding before measuring it")
        self._annotations.edit(
            annotation.id, action="measure", recist=recist, box=recist.box(), reviewer=self.reviewer, time=now()
        )

    def add(self, z: int, box: Box) -> Annotation:
        """Add a lesion that a person drew on slice `z`."""
        native = self.volume.native_slice(z)
        return self._annotations.add(
            Annotation(
                id=new_id(self.volume.scan_id, native, box),
                scan_id=self.volume.scan_id,
                key_slice=native,
                box=box,
                source=Source.EXPERT,
                state=State.ACCEPTED,
                reviewer=self.reviewer,
                time=now(),
            )
        )

    def remove(self, key: str) -> None:
        """Take a person's own lesion off the table; a machine's is rejected instead, so that it stays known."""
        row = self._known(key)
        if row.annotation is not None and row.annotation.parent_id is None:
            self._annotations.remove(row.annotation.id)
        else:
            self.decide(key, State.REJECTED)

    def _known(self, key: str) -> Row:
        row = self.row(key)
        if row is None:
            raise AnnotationError(f"There is no lesion {key} in this review of {self.volume.name}")
        return row

    def _use(self, annotations: Annotations, path: Path) -> None:
        if annotations.scan_id != self.volume.scan_id:
            raise AnnotationError(
                f"{path} holds the annotations of the scan {annotations.scan_id}; the open scan is "
                f"{self.volume.name} ({self.volume.scan_id}). Open the scan they belong to first."
            )
        self._annotations = annotations
        self.path = path

        def listen(edit: Edit) -> None:
            if self._annotations is annotations:
                self.edited.emit(edit)
                self._refresh()

        annotations.on_change(listen)

    def _refresh(self) -> None:
        self._rows = self._make_rows()
        self.rows_changed.emit()
        if self._current is not None and self.current is None:
            self.select(None)

    def _make_rows(self) -> tuple[Row, ...]:
        findings = self.findings
        ids = {} if findings is None else {findings.finding_id(i): i for i in range(len(findings))}
        rows: dict[str, Row] = {}
        for annotation in self._annotations:
            key = annotation.parent_id or annotation.id
            row = self._annotation_row(annotation, ids.pop(annotation.parent_id or "", None))
            rows[annotation.id if key in rows else key] = replace(row, key=annotation.id if key in rows else key)
        if findings is not None:
            for finding_id, i in ids.items():
                if findings.scores[i] >= self._threshold and not findings.negative[i]:
                    rows[finding_id] = self._finding_row(findings, i)
        position = {int(n): z for z, n in enumerate(self.volume.slice_numbers)}
        # From the head to the feet, as a reader scrolls; slices that are not there come last.
        return tuple(
            sorted(rows.values(), key=lambda row: (-position.get(row.native, -1), -(row.score or 2.0), row.key))
        )

    def _annotation_row(self, annotation: Annotation, finding: int | None) -> Row:
        boxes: dict[int, Box] = {}
        # A box that a person moved no longer agrees with the trace on the other slices.
        if finding is not None and self.findings is not None and annotation.source is Source.MINED:
            boxes.update(self.findings.slice_boxes[finding])
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
            diameter=self._diameter(annotation.box, annotation.recist),
            annotation=annotation,
            finding=finding,
        )

    def _finding_row(self, findings: Findings, i: int) -> Row:
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
            diameter=self._diameter(box, None),
            finding=i,
        )

    def _diameter(self, box: Box, recist: Recist | None) -> float:
        _, dy, dx = self.volume.spacing
        if recist is not None:
            (x1, y1), (x2, y2) = recist.long
            return float(np.hypot((x2 - x1) * dx, (y2 - y1) * dy))
        x1, y1, x2, y2 = box
        return max((x2 - x1 - 2 * RECIST_MARGIN) * dx, (y2 - y1 - 2 * RECIST_MARGIN) * dy, 0.0)


def _mark(annotation: Annotation) -> Mark:
    if annotation.state is State.PENDING:
        return Mark.PENDING
    if annotation.state is State.REJECTED:
        return Mark.REJECTED
    return Mark.EXPERT if annotation.source is Source.EXPERT else Mark.ACCEPTED
