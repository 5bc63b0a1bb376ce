"""The rows of a review: what people decided and what a detector found, as one list of lesions."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, Source, State
from napari_uld.lesions.boxes import RECIST_MARGIN
from napari_uld.lesions.findings import Box, Findings, SliceBoxes
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle
from napari_uld.viewer.state.found import FindingRef, lesions_of, same_as, short_names, shown


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
        The finding it is or came from, or None where that is none that is open.
    also
        Findings that are the same lesion: nobody is asked about them.
    found_by
        Short names of the detectors that found it.
    diameter
        Long diameter in mm: measured where there is a RECIST, otherwise the box's long side
        without DeepLesion's margin where it has that.
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
    finding: FindingRef | None = None
    also: tuple[FindingRef, ...] = ()
    found_by: tuple[str, ...] = ()

    @property
    def box(self) -> Box:
        """The box on the key slice."""
        return self.boxes[self.native]

    @property
    def tight(self) -> bool:
        """Whether its box is a detector's that lies about the lesion itself, without a margin."""
        return self.finding is not None and self.finding.tight and self.finding.box == self.box

    @property
    def with_margin(self) -> SliceBoxes:
        """Its boxes as lesions are compared, with DeepLesion's margin."""
        finding = self.finding
        if self.annotation is None:
            return self.boxes if finding is None else finding.with_margin
        return self.annotation.with_margin(*((None, 0) if finding is None else (finding.findings, finding.index)))

    @property
    def surface(self) -> FindingRef | None:
        """The finding whose points lie on its surface; None where it gave none, or a person moved its box."""
        finding = self.finding
        if finding is None or finding.points is None:
            return None
        return finding if self.box in (finding.box, finding.with_margin[finding.native]) else None

    @property
    def noisy(self) -> bool:
        """Whether a person called it doubtful."""
        return self.annotation is not None and self.annotation.noisy

    @property
    def comment(self) -> str:
        """What a person wrote about it."""
        return "" if self.annotation is None else self.annotation.comment

    @property
    def detectors(self) -> tuple[str, ...]:
        """What found it, each detector once: the one whose box it has or had first."""
        if self.annotation is not None:
            first = self.annotation.detector
        else:
            first = "" if self.finding is None else self.finding.detector
        return tuple(dict.fromkeys(name for name in (first, *(ref.detector for ref in self.also)) if name))

    @property
    def corrected_mask(self) -> Rle | None:
        """The mask that a person painted on the key slice, or None."""
        return None if self.annotation is None else self.annotation.corrected_mask


def rows_of(
    volume: CTVolume, annotations: Annotations, findings: Sequence[Findings], threshold: Callable[[Findings], float]
) -> tuple[Row, ...]:
    """Give the rows of a scan, from the head to the feet: all annotations, and the lesions that nobody decided on.

    A finding that is the same lesion as an annotation is no row of its own, whoever made either; findings of several
    detectors that are the same lesion are one row with the box of the surest.

    Parameters
    ----------
    volume
        The scan.
    annotations
        What people decided about it.
    findings
        What detectors found in it, each detector's by itself.
    threshold
        Gives the score below which a detector's findings wait for nobody.
    """
    refs = {ref_id: FindingRef(one, i) for one in findings for i, ref_id in enumerate(one.ids)}
    rows: dict[str, Row] = {}
    for annotation in annotations:
        parent = annotation.parent_id or ""
        key = annotation.id if not parent or parent in rows else parent
        # Of two annotations of one finding the first has its trace.
        rows[key] = _annotation_row(volume, annotation, key, refs.pop(parent, None))
    waiting = [ref for ref in shown(findings, threshold) if ref.id in refs]
    decided = list(rows.values())
    same = same_as([row.with_margin for row in decided], waiting)
    for i, which in same.items():
        row = decided[which]
        rows[row.key] = replace(row, also=(*rows[row.key].also, waiting[i]))
    for first, *also in lesions_of([ref for i, ref in enumerate(waiting) if i not in same]):
        rows[first.id] = _finding_row(volume, first, tuple(also))
    names = short_names(name for row in rows.values() for name in row.detectors)
    position = slice_positions(volume)
    # From the head to the feet, as a reader scrolls; slices that are not there come last.
    return tuple(
        sorted(
            (replace(row, found_by=tuple(names[name] for name in row.detectors)) for row in rows.values()),
            key=lambda row: (-position.get(row.native, -1), -(row.score or 2.0), row.key),
        )
    )


def slice_positions(volume: CTVolume) -> dict[int, int]:
    """Index of every slice that is on disk by its number in the scan's files."""
    return {int(native): z for z, native in enumerate(volume.slice_numbers)}


def _annotation_row(volume: CTVolume, annotation: Annotation, key: str, finding: FindingRef | None) -> Row:
    return Row(
        key=key,
        native=annotation.key_slice,
        # A box that a person moved no longer agrees with the trace on the other slices.
        boxes=annotation.traced(_trace(annotation, finding)),
        mark=_mark(annotation),
        score=annotation.score,
        lesion_type=annotation.lesion_type,
        source=annotation.source.value,
        recist=annotation.recist,
        diameter=diameter_of(volume, annotation.box, annotation.recist, finding),
        annotation=annotation,
        finding=finding,
    )


def _trace(annotation: Annotation, finding: FindingRef | None) -> SliceBoxes | None:
    """What its finding was traced through, boxes with a margin or without one as the annotation's."""
    if finding is None:
        return None
    return finding.boxes if finding.box == annotation.box else finding.with_margin


def _finding_row(volume: CTVolume, finding: FindingRef, also: tuple[FindingRef, ...]) -> Row:
    return Row(
        key=finding.id,
        native=finding.native,
        boxes=finding.boxes,
        mark=Mark.PENDING,
        score=finding.score,
        lesion_type=LesionType.UNKNOWN,
        source="detector",
        recist=None,
        diameter=diameter_of(volume, finding.box, None, finding),
        finding=finding,
        also=also,
    )


def diameter_of(volume: CTVolume, box: Box, recist: Recist | None, finding: FindingRef | None) -> float:
    """Long diameter in mm: measured, else the long side of the box without its margin."""
    if recist is not None:
        return recist.millimetres(volume.spacing)[0]
    tight = finding is not None and finding.tight and finding.box == box
    margin = 0.0 if tight else 2 * RECIST_MARGIN
    _, dy, dx = volume.spacing
    x1, y1, x2, y2 = box
    return max((x2 - x1 - margin) * dx, (y2 - y1 - margin) * dy, 0.0)


def _mark(annotation: Annotation) -> Mark:
    if annotation.state is State.PENDING:
        return Mark.PENDING
    if annotation.state is State.REJECTED:
        return Mark.REJECTED
    return Mark.EXPERT if annotation.source is Source.EXPERT else Mark.ACCEPTED
