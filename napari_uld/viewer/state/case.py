"""The open scan: its lesions, a machine's findings, the threshold and the lesion at hand.

The one place of state of the viewer. No Qt here: panels and layers listen to its signals.
"""

from pathlib import Path

from psygnal import Signal

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationError, RecistError
from napari_uld.lesions.annotations import Annotation, Annotations, Edit, Source, State, new_id, now
from napari_uld.lesions.boxes import in_image
from napari_uld.lesions.findings import Box, Findings
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.recovery import Unsaved
from napari_uld.lesions.rle import Rle
from napari_uld.lesions.storage import ABSENT
from napari_uld.viewer.state.rows import Mark, Row, rows_of
from napari_uld.viewer.state.thresholds import ANY, Thresholds


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

    Raises
    ------
    AnnotationError
        If the annotations are of another scan.
    """

    rows_changed = Signal()
    current_changed = Signal()
    threshold_changed = Signal(float)
    findings_changed = Signal()
    edited = Signal(Edit)
    saved = Signal(Path)

    def __init__(
        self,
        volume: CTVolume,
        annotations: Annotations,
        path: Path,
        *,
        reviewer: str = "",
    ) -> None:
        self.volume = volume
        self.reviewer = reviewer
        # Of the annotation file as it was read; saving refuses to overwrite any other.
        self.fingerprint = ABSENT
        # Lesions that a crash left in the review log alone.
        self.unsaved: Unsaved = {}
        # What the scan was read from, where that is known.
        self.files: frozenset[Path] = frozenset()
        self.findings: Findings | None = None
        # Keys in the order in which `step` goes through them, where that is not the order of `rows`.
        self.order: tuple[str, ...] = ()
        self.thresholds = Thresholds()
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
            self.thresholds.arrived(findings.detector)
        before, self.findings = self.threshold, findings
        self._refresh()
        self.findings_changed.emit()
        if self.threshold != before:
            self.threshold_changed.emit(self.threshold)

    def require_own(self, findings: Findings) -> None:
        """Refuse findings of another scan.

        Raises
        ------
        AnnotationError
            If they are.
        """
        if findings.scan_id != self.volume.scan_id:
            raise AnnotationError(
                f"Findings of another scan, {findings.scan_name} ({findings.scan_id}): the open scan is "
                f"{self.volume.name} ({self.volume.scan_id}). Open the scan they belong to first."
            )

    @property
    def threshold(self) -> float:
        """Lowest score of a finding that is shown."""
        if self.findings is None:
            return self.thresholds.of(ANY, None)
        return self.thresholds.of(self.findings.detector, self.findings.operating_point)

    @threshold.setter
    def threshold(self, value: float) -> None:
        if value != self.threshold:
            self.thresholds.choose(ANY if self.findings is None else self.findings.detector, value)
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
            If the box is malformed, too small, or outside the slice.
        """
        self._edit(key, "move box", box=self._on_slice(box))

    def paint_mask(self, key: str, mask: Rle | None) -> None:
        """Give a lesion a mask painted on its key slice (None: take it away); painting accepts the lesion.

        A rejected one too: the decision and the mask are one edit.

        Raises
        ------
        AnnotationError
            If there is no such lesion.
        """
        if mask is not None:
            self._edit(key, "paint mask", mask=mask, state=State.ACCEPTED)
        elif self._known(key).corrected_mask is not None:
            self._edit(key, "paint mask", mask=None)

    def measure(self, key: str, recist: Recist, native: int | None = None) -> None:
        """Give a lesion another RECIST, and the box that DeepLesion draws about it; that accepts it, even if rejected.

        Measured on another slice (`native`), that one is its key slice from then on.

        Raises
        ------
        AnnotationError
            If there is no such lesion.
        RecistError
            If an end of a diameter lies outside the slice.
        """
        _, height, width = self.volume.shape
        beyond = (recist.points < -0.5) | (recist.points > (width - 0.5, height - 0.5))
        if beyond.any():
            raise RecistError(f"A diameter ends outside the slice of {width} x {height} pixels: measure it within")
        moved = {} if native is None else {"key_slice": native}
        self._edit(key, "measure", recist=recist, box=recist.box(), state=State.ACCEPTED, **moved)

    def add(self, z: int, box: Box) -> Annotation:
        """Add a lesion that a person drew on slice `z`; what lies outside the slice is cut off.

        Raises
        ------
        BoxError
            If the box is malformed, too small, or outside the slice.
        """
        box = self._on_slice(box)
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

    def _on_slice(self, box: Box) -> Box:
        _, height, width = self.volume.shape
        return in_image(box, (width, height))

    def _edit(self, key: str, action: str, **changes: object) -> None:
        """Change a lesion; a finding that nobody decided on is accepted and changed in one edit."""
        row, signed = self._known(key), {**changes, "reviewer": self.reviewer, "time": now()}
        if row.annotation is not None:
            self._annotations.edit(row.annotation.id, action=action, **signed)
        elif self.findings is not None and row.finding is not None:
            self._annotations.edit_finding(self.findings, row.finding, action=action, **signed)

    def _known(self, key: str) -> Row:
        row = self.row(key)
        if row is None:
            raise AnnotationError(f"There is no lesion {key} in this review of {self.volume.name}")
        return row

    def _use(self, annotations: Annotations, path: Path) -> None:
        if annotations.scan_id != self.volume.scan_id:
            raise AnnotationError(
                f"Lesions of another scan, {annotations.scan_id}, are in {path}: the open scan is "
                f"{self.volume.name} ({self.volume.scan_id}). Open the scan they belong to first."
            )
        self._annotations = annotations
        self.path = path

        def listen(edit: Edit) -> None:
            if self._annotations is annotations:
                self.edited.emit(edit)
                self._refresh()

        annotations.on_change(listen)

    def _make_rows(self) -> tuple[Row, ...]:
        return rows_of(self.volume, self._annotations, self.findings, self.threshold)

    def _refresh(self) -> None:
        self._rows = self._make_rows()
        self.rows_changed.emit()
        if self._current is not None and self.current is None:
            self.select(None)
