"""The open scan: its lesions, what detectors found, their thresholds and the lesions at hand.

The one place of state of the viewer. No Qt here: panels and layers listen to its signals.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from psygnal import Signal

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.volume import CTVolume
from napari_uld.errors import AnnotationError
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State, new_id, now
from napari_uld.lesions.boxes import in_image
from napari_uld.lesions.edits import Edit
from napari_uld.lesions.findings import Box, Findings
from napari_uld.lesions.json_models import unicode_of
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.recovery import Unsaved
from napari_uld.lesions.rle import Rle
from napari_uld.lesions.storage import ABSENT
from napari_uld.viewer.state.phases import Phases
from napari_uld.viewer.state.rows import Mark, Row, rows_of
from napari_uld.viewer.state.thresholds import ANY, Thresholds


@dataclass(frozen=True)
class Counts:
    """How far a review is: lesions that people marked, what detectors found, and how many of those are decided."""

    annotated: int
    found: int
    decided: int


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
    # With the detector whose findings are others now.
    findings_changed = Signal(str)
    edited = Signal(Edit)
    saved = Signal(Path)

    def __init__(self, volume: CTVolume, annotations: Annotations, path: Path, *, reviewer: str = "") -> None:
        self.volume = volume
        self.reviewer = reviewer
        # Of the annotation file as it was read; saving refuses to overwrite any other.
        self.fingerprint = ABSENT
        # Lesions that a crash left in the review log alone.
        self.unsaved: Unsaved = {}
        # How many of the scan's files are read and how many there are, until all of them are.
        self.reading: tuple[int, int] | None = None
        # What the scan was read from, where that is known, and its files.
        self.entry: ScanEntry | None = None
        self.files: frozenset[Path] = frozenset()
        # Of its study, of which one is shown; lesions are the scan's, whichever that is.
        self.phases = Phases(volume)
        # By detector, in the order in which they ran.
        self.findings: Mapping[str, Findings] = {}
        # The files that they are kept in, by detector; it is written to the last one.
        self.kept: dict[str, tuple[Path, ...]] = {}
        # Keys in the order in which `step` goes through them, where that is not the order of `rows`.
        self.order: tuple[str, ...] = ()
        self.thresholds = Thresholds()
        self._detector = ANY
        self._current: str | None = None
        self._chosen: tuple[str, ...] = ()
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

    def set_findings(self, findings: Findings) -> None:
        """Show what a detector found beside what others did; its own earlier findings that nobody decided on go.

        Raises
        ------
        AnnotationError
            If the findings are of another scan.
        """
        self.require_own(findings)
        self.thresholds.arrived(findings.detector)
        others = {detector: one for detector, one in self.findings.items() if detector != findings.detector}
        self._have({**others, findings.detector: findings}, findings.detector, changed=findings.detector)

    def remove_findings(self, detector: str) -> None:
        """Take away what a detector found; what was decided of it stays."""
        left = {name: one for name, one in self.findings.items() if name != detector}
        self._have(left, self._detector if self._detector in left else next(reversed(left), ANY), changed=detector)

    def _have(self, findings: Mapping[str, Findings], at_hand: str, *, changed: str) -> None:
        before, self.findings, self._detector = self.threshold, findings, at_hand
        self._refresh()
        self.findings_changed.emit(changed)
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
    def detector(self) -> str:
        """The detector whose threshold is at hand: the one that ran last unless another was taken."""
        return self._detector

    @detector.setter
    def detector(self, detector: str) -> None:
        if detector in self.findings and detector != self._detector:
            self._detector = detector
            self.threshold_changed.emit(self.threshold)

    @property
    def threshold(self) -> float:
        """Lowest score that is shown of the findings of the detector at hand."""
        findings = self.findings.get(self._detector)
        return self.thresholds.of(ANY, None) if findings is None else self._threshold_of(findings)

    @threshold.setter
    def threshold(self, value: float) -> None:
        if value != self.threshold:
            self.thresholds.choose(self._detector, value)
            self.threshold_changed.emit(value)
            self._refresh()

    def use_thresholds(self, thresholds: Thresholds) -> None:
        """Show findings from these scores on."""
        self.thresholds = thresholds
        self._refresh()

    def _threshold_of(self, findings: Findings) -> float:
        return self.thresholds.of(findings.detector, findings.operating_point)

    @property
    def rows(self) -> tuple[Row, ...]:
        """The lesions under review, from the first slice in the file's own order to the last."""
        return self._rows

    @property
    def counts(self) -> Counts:
        """How far the review is; a lesion that came with the data is nobody's decision."""
        people = [row.mark for row in self._rows if row.source == Source.EXPERT]
        found = [row.mark for row in self._rows if row.source != Source.EXPERT]
        return Counts(
            annotated=len(people) - people.count(Mark.REJECTED),
            found=len(found),
            decided=len(found) - found.count(Mark.PENDING),
        )

    def row(self, key: str | None) -> Row | None:
        """Give the row with this key, or None."""
        return next((row for row in self._rows if row.key == key), None)

    @property
    def current(self) -> Row | None:
        """The lesion at hand."""
        return self.row(self._current)

    @property
    def chosen(self) -> tuple[Row, ...]:
        """The lesions that a decision is about, in the order of the rows: the one at hand and those chosen with it."""
        return tuple(row for row in self._rows if row.key in self._chosen)

    def select(self, key: str | None) -> None:
        """Take a lesion in hand (None: none), and it alone."""
        self.choose(key, () if key is None else (key,))

    def choose(self, key: str | None, keys: Iterable[str]) -> None:
        """Choose several lesions, of which one (`key`) is at hand."""
        self._chosen = tuple(keys)
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
        elif row.finding is not None:
            self._annotations.decide(row.finding.findings, row.finding.index, state, self.reviewer)

    def set_type(self, keys: Sequence[str], lesion_type: LesionType) -> None:
        """Say what kind of lesion each of these is, as one action; doing so to one that waits accepts it.

        Raises
        ------
        AnnotationError
            If there is no such lesion.
        """
        self._describe(keys, "type", "lesion_type", lesion_type)

    def set_noisy(self, keys: Sequence[str], noisy: bool) -> None:
        """Say of each of these whether it is doubtful, as `set_type`."""
        self._describe(keys, "noisy" if noisy else "not noisy", "noisy", noisy)

    def set_comment(self, keys: Sequence[str], comment: str) -> None:
        """Write a line about each of these, as `set_type`."""
        self._describe(keys, "comment", "comment", unicode_of(" ".join(comment.splitlines()).strip()))

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
        recist.require_within(self.volume.shape)
        moved = {} if native is None else {"key_slice": native}
        self._edit(key, "measure", recist=recist, box=recist.box(), state=State.ACCEPTED, **moved)

    def add(self, z: int, box: Box, recist: Recist | None = None) -> Annotation:
        """Add a lesion that a person drew on slice `z`; what of its box lies outside the slice is cut off.

        Raises
        ------
        BoxError
            If the box is malformed, too small, or outside the slice.
        RecistError
            If an end of a diameter lies outside the slice.
        """
        if self.reading is not None:
            raise AnnotationError(f"{self.volume.name} is still being read: mark lesions once all of it is there")
        if recist is not None:
            recist.require_within(self.volume.shape)
        box = self._on_slice(box)
        native = self.volume.native_slice(z)
        return self._annotations.add(
            Annotation(
                id=new_id(self.volume.scan_id, native, box),
                scan_id=self.volume.scan_id,
                key_slice=native,
                box=box,
                recist=recist,
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
        elif row.finding is not None:
            self._annotations.edit_finding(row.finding.findings, row.finding.index, action=action, **signed)

    def _describe(self, keys: Sequence[str], action: str, field: str, value: object) -> None:
        """Say something of lesions; a rejected one stays rejected: it may be the reason."""
        with self._annotations.as_one():
            for key in keys:
                row = self._known(key)
                if getattr(row, field) != value:
                    waited = {"state": State.ACCEPTED} if row.mark is Mark.PENDING else {}
                    self._edit(key, action, **{field: value}, **waited)

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

        def listen(edit: Edit[Annotation]) -> None:
            if self._annotations is annotations:
                self.edited.emit(edit)
                if edit.is_last:
                    self._refresh()

        annotations.on_change(listen)

    def _make_rows(self) -> tuple[Row, ...]:
        return rows_of(self.volume, self._annotations, tuple(self.findings.values()), self._threshold_of)

    def _refresh(self) -> None:
        self._rows = self._make_rows()
        # A surer detector's finding may have taken the place of the one at hand: the lesion is the same.
        heir = next((row.key for row in self._rows if self._current in {ref.id for ref in row.also}), None)
        self.rows_changed.emit()
        if self._current is not None and self.current is None:
            self.select(heir)
