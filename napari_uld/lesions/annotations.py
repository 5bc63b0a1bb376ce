"""What people decided: a table of lesions with undo and redo without limit."""

import getpass
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import IntEnum, StrEnum

from napari_uld.errors import AnnotationError
from napari_uld.lesions.boxes import as_boxes
from napari_uld.lesions.edits import Edit, EditedTable
from napari_uld.lesions.findings import Box, Findings, SliceBoxes, as_box
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle


class State(StrEnum):
    """What was decided about a lesion."""

    PENDING = "pending"
    ACCEPTED = "accepted"
    REJECTED = "rejected"


class Source(StrEnum):
    """Where a lesion's marking comes from."""

    EXPERT = "expert"
    MINED = "mined"
    EDITED = "edited"


class LesionType(IntEnum):
    """DeepLesion's coarse lesion types."""

    UNKNOWN = -1
    BONE = 1
    ABDOMEN = 2
    MEDIASTINUM = 3
    LIVER = 4
    LUNG = 5
    KIDNEY = 6
    SOFT_TISSUE = 7
    PELVIS = 8


@dataclass(frozen=True)
class Annotation:
    """One lesion on one scan.

    Parameters
    ----------
    id
        Stable id, see `new_id`.
    scan_id
        `CTVolume.scan_id` of the scan.
    key_slice
        Native slice number.
    box
        Pixel-centre box (x1, y1, x2, y2) on the key slice.
    recist
        The measurement on the key slice, where there is one.
    mask
        A mask of the key slice, where there is one: of a mined lesion the detector's, else a person's.
    parent_id
        Id of the finding it came from.
    score
        That finding's score.
    detector
        What found it: method and checkpoint hash.
    reviewer
        Who decided, and `time` when (ISO 8601, UTC).
    comment
        A line of text that a person wrote about it.
    """

    id: str
    scan_id: str
    key_slice: int
    box: Box
    recist: Recist | None = None
    mask: Rle | None = None
    lesion_type: LesionType = LesionType.UNKNOWN
    noisy: bool = False
    source: Source = Source.EXPERT
    state: State = State.ACCEPTED
    parent_id: str | None = None
    score: float | None = None
    detector: str = ""
    reviewer: str = ""
    time: str = ""
    comment: str = ""

    @property
    def corrected_mask(self) -> Rle | None:
        """The mask that a person painted on the key slice, or None."""
        return None if self.source is Source.MINED else self.mask

    def traced(self, trace: SliceBoxes | None) -> dict[int, Box]:
        """Give its box on every slice that is known: the trace of its finding too, while the box is the machine's."""
        boxes = dict(trace) if trace is not None and self.source is Source.MINED else {}
        return {**boxes, self.key_slice: self.box}

    def with_margin(self, findings: Findings | None, row: int) -> dict[int, Box]:
        """Give its boxes as lesions are compared, of a machine's lesion with this finding's trace.

        A tight finding's own box, as one that was accepted had it before accepted boxes got a margin, gets it here.
        """
        if findings is None:
            return self.traced(None)
        trace, key = findings.with_margin[row], int(findings.key_slices[row])
        own = self.key_slice == key and self.box == as_box(findings.boxes[row])
        return {**self.traced(trace), **({key: trace[key]} if own else {})}


def new_id(scan_id: str, key_slice: int, box: Box, parent_id: str | None = None) -> str:
    """Id of a lesion: a hash of where it was first marked, kept through later edits."""
    text = f"{scan_id}|{key_slice}|{parent_id or ''}|" + ",".join(f"{v:.3f}" for v in box)
    return "lesion:" + hashlib.sha256(text.encode()).hexdigest()[:16]


def now() -> str:
    """Give the present moment as it is written to files: ISO 8601, UTC, whole seconds."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def default_reviewer() -> str:
    """Give the login name of the person at the machine, or "" where there is none."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


class Annotations(EditedTable[Annotation]):
    """The lesions of one scan; every change can be undone.

    Parameters
    ----------
    scan_id
        `CTVolume.scan_id` of the scan; every row must carry it.
    rows
        Lesions to begin with.

    Raises
    ------
    AnnotationError
        If two rows share an id, or a row belongs to another scan.
    """

    def __init__(self, scan_id: str, rows: Iterable[Annotation] = ()) -> None:
        super().__init__()
        self.scan_id = scan_id
        for row in rows:
            self._check(row)
            if row.id in self._rows:
                raise AnnotationError(f"Two lesions share the id {row.id}")
            self._put(row)

    def from_finding(self, findings: Findings, row: int) -> Annotation | None:
        """Give the lesion that was decided from this finding, or None."""
        parent = findings.finding_id(row)
        return next((r for r in self if r.parent_id == parent), None)

    def decide(self, findings: Findings, row: int, state: State, reviewer: str = "") -> Annotation:
        """Accept or reject a finding: it becomes a lesion that names the finding as its parent.

        Deciding the same finding again changes the lesion's state.

        Raises
        ------
        AnnotationError
            If the findings are of another scan.
        """
        return self.edit_finding(findings, row, action=_verb(state), state=state, reviewer=reviewer, time=now())

    def edit_finding(self, findings: Findings, row: int, *, action: str = "edit", **changes: object) -> Annotation:
        """Change a finding as `edit` changes a lesion: it is accepted and changed in one edit, undone in one.

        A finding that was decided already keeps its state.

        Raises
        ------
        AnnotationError
            If the findings are of another scan, or the id or scan would change.
        BoxError
            If the box is malformed.
        """
        if findings.scan_id != self.scan_id:
            raise AnnotationError(f"These findings are of {findings.scan_id}, the annotations of {self.scan_id}")
        known = self.from_finding(findings, row)
        if known is not None:
            return self.edit(known.id, action=action, **changes)
        return self.add(_changed(_mined(findings, row), changes), action)

    def add(self, lesion: Annotation, action: str = "add") -> Annotation:
        """Add a lesion.

        Raises
        ------
        AnnotationError
            If its id is taken or it belongs to another scan.
        """
        self._check(lesion)
        if lesion.id in self._rows:
            raise AnnotationError(f"There is a lesion {lesion.id} already")
        self._do(Edit(action, None, lesion))
        return lesion

    def put_back(self, lesion: Annotation, action: str = "restore") -> None:
        """Make a lesion what it was before, as it is given: nothing follows from the change but the change.

        Raises
        ------
        AnnotationError
            If it belongs to another scan.
        """
        self._check(lesion)
        before = self._rows.get(lesion.id)
        if before != lesion:
            self._do(Edit(action, before, lesion))

    def remove(self, lesion_id: str) -> None:
        """Remove a lesion (undo brings it back).

        Raises
        ------
        AnnotationError
            If there is no such lesion.
        """
        self._do(Edit("remove", self._row(lesion_id), None))

    def set_state(self, lesion_id: str, state: State, reviewer: str = "") -> Annotation:
        """Accept, reject or reopen a lesion."""
        return self.edit(lesion_id, action=_verb(state), state=state, reviewer=reviewer, time=now())

    def edit(self, lesion_id: str, *, action: str = "edit", **changes: object) -> Annotation:
        """Change fields of a lesion; a machine's lesion with another box, RECIST or mask is an edited one.

        The machine's own mask goes with that: it is no person's, and of a box that is no longer there.

        Raises
        ------
        AnnotationError
            If there is no such lesion, or its id or scan would change.
        BoxError
            If the box is malformed.
        """
        before = self._row(lesion_id)
        after = _changed(before, changes)
        self._check(after)
        if after != before:
            self._do(Edit(action, before, after))
        return after

    def _row(self, lesion_id: str) -> Annotation:
        if lesion_id not in self._rows:
            raise AnnotationError(f"There is no lesion {lesion_id} on the scan {self.scan_id}")
        return self._rows[lesion_id]

    def _check(self, row: Annotation) -> None:
        if row.scan_id != self.scan_id:
            raise AnnotationError(f"Lesion {row.id} belongs to the scan {row.scan_id}, not to {self.scan_id}")
        as_boxes([row.box])


def _verb(state: State) -> str:
    return {State.ACCEPTED: "accept", State.REJECTED: "reject", State.PENDING: "reopen"}[state]


def _mined(findings: Findings, row: int) -> Annotation:
    """Give a finding as an accepted lesion that names it as its parent."""
    parent, key = findings.finding_id(row), int(findings.key_slices[row])
    return Annotation(
        id=new_id(findings.scan_id, key, as_box(findings.boxes[row]), parent),
        scan_id=findings.scan_id,
        key_slice=key,
        box=findings.with_margin[row][key],
        mask=findings.masks[row],
        source=Source.MINED,
        parent_id=parent,
        score=float(findings.scores[row]),
        detector=findings.detector,
    )


def _changed(before: Annotation, changes: Mapping[str, object]) -> Annotation:
    """Give a lesion with other fields; a machine's with another box, RECIST or mask is an edited one."""
    after = replace(before, **changes)  # type: ignore[arg-type]
    marked = (after.box, after.recist, after.mask)
    if after.source is Source.MINED and marked != (before.box, before.recist, before.mask):
        after = replace(after, source=Source.EDITED, mask=after.mask if "mask" in changes else None)
    if after.id != before.id:
        raise AnnotationError("A lesion's id does not change")
    return after
