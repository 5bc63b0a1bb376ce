"""What several methods, detectors or the people who annotated, marked on the open scan, held against a reference.

Two markings are of the same lesion by the rule of the review: an IoU of `SAME_LESION` on a slice that both were traced
through, boxes without DeepLesion's margin getting it first. Hits are counted as the evaluation does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from napari_uld.evaluation.one_scan import OnScan, Point, on_scan
from napari_uld.lesions.findings import Box, SliceBoxes
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.found import FindingRef, shown
from napari_uld.viewer.state.rows import Mark, Row, diameter_of, slice_positions

# What people marked is a method like any other, without scores; detectors have names with a hash.
ANNOTATION = "annotation"


@dataclass(frozen=True)
class Marked:
    """One thing that a method marked.

    Parameters
    ----------
    id
        The annotation's or the finding's.
    native
        Number of its key slice in the scan's files.
    boxes
        Its box on every slice that it was traced through, by native number.
    padded
        The same with DeepLesion's margin, as markings are compared.
    diameter
        In mm; about so much where nobody `measured` it.
    score
        How sure the method is; None where it does not say.
    """

    id: str
    native: int
    boxes: SliceBoxes
    padded: SliceBoxes
    diameter: float
    measured: bool = False
    score: float | None = None

    @property
    def box(self) -> Box:
        """Its box on the key slice."""
        return self.boxes[self.native]


@dataclass(frozen=True, eq=False)
class Method:
    """A method that is compared: what it is called, what it marked, and how that agrees with the reference."""

    name: str
    marked: tuple[Marked, ...]
    on_scan: OnScan


@dataclass(frozen=True, eq=False)
class Compared:
    """Methods held against a reference, at any number of false positives.

    Parameters
    ----------
    reference
        The method that the others are held against.
    lesions
        What it marked, from the head to the feet.
    methods
        The others.
    """

    reference: str
    lesions: tuple[Marked, ...]
    methods: tuple[Method, ...]

    @property
    def most_false(self) -> int:
        """From how many false positives on nothing changes any more."""
        return max(
            (method.on_scan.all_false for method in self.methods if method.on_scan.scores is not None), default=0
        )

    def points(self, allowed: int) -> list[Point]:
        """Give each method's point where it may give so many false positives on the scan."""
        return [method.on_scan.at(allowed) for method in self.methods]


def compare(case: Case, reference: str, methods: Sequence[str]) -> Compared:
    """Hold what methods marked on a scan against what one of them did.

    A detector that is the reference gives the findings that the review shows of it. Of others all count that have
    a score the slider lets in; a lesion that a person rejected is none.

    Parameters
    ----------
    case
        The scan.
    reference
        `ANNOTATION`, or a detector whose findings are open.
    methods
        The same, others than the reference.
    """
    lesions = _ordered(case, marked_by(case, reference, reviewed=True))
    truth = [lesion.padded for lesion in lesions]
    compared = []
    for name in methods:
        marked = marked_by(case, name)
        scores = None if name == ANNOTATION else np.array([mark.score for mark in marked], float)
        compared.append(Method(name, marked, on_scan(truth, [mark.padded for mark in marked], scores)))
    return Compared(reference, lesions, tuple(compared))


def basis_of(case: Case, reference: str, methods: Sequence[str]) -> tuple[object, ...]:
    """Give all that `compare` depends on: while it is equal, so is what comes of it."""
    of_people = marked_by(case, ANNOTATION) if ANNOTATION in (reference, *methods) else ()
    findings = [case.findings[name] for name in (reference, *methods) if name != ANNOTATION]
    return case, reference, *methods, of_people, *findings, _lowest(case, reference, reviewed=True)


def marked_by(case: Case, method: str, *, reviewed: bool = False) -> tuple[Marked, ...]:
    """Give what a method marked; of a detector all of it, or what is under review."""
    if method == ANNOTATION:
        return tuple(_of_row(row) for row in case.rows if row.mark in (Mark.EXPERT, Mark.ACCEPTED))
    lowest = _lowest(case, method, reviewed=reviewed)
    return tuple(_of_finding(case, ref) for ref in shown([case.findings[method]], lambda _: lowest))


def row_of(case: Case, marked: Marked) -> Row | None:
    """Give the lesion of the review that something marked is, or None where it is under no review."""
    return next(
        (row for row in case.rows if marked.id == row.key or marked.id in {ref.id for ref in row.also}),
        None,
    )


def _lowest(case: Case, method: str, *, reviewed: bool) -> float:
    """Score from which on something of a method counts; of people all does."""
    if method == ANNOTATION or not reviewed:
        return -np.inf
    return case.thresholds.of(method, case.findings[method].operating_point)


def _ordered(case: Case, marked: Sequence[Marked]) -> tuple[Marked, ...]:
    position = slice_positions(case.volume)
    return tuple(sorted(marked, key=lambda mark: (-position.get(mark.native, -1), -(mark.score or 2.0), mark.id)))


def _of_row(row: Row) -> Marked:
    return Marked(row.key, row.native, row.boxes, row.with_margin, row.diameter, measured=row.recist is not None)


def _of_finding(case: Case, ref: FindingRef) -> Marked:
    diameter = diameter_of(case.volume, ref.box, None, ref)
    return Marked(ref.id, ref.native, ref.boxes, ref.with_margin, diameter, score=ref.score)
