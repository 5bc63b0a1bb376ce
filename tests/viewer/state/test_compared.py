"""Methods on the open scan held against a reference: what counts as a lesion, what hits one, what is false."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.compared import ANNOTATION, Compared, basis_of, compare, row_of

from ..conftest import RECIST


@pytest.fixture
def other() -> Findings:
    """Another detector's: the expert's lesion twice, the fake one's traced finding, and one of its own."""
    return Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method="second",
        checkpoint="abcdef",
        boxes=[[16, 20, 44, 40], [61, 62, 79, 82], [14, 20, 45, 41], [70, 10, 84, 24]],
        scores=[0.6, 0.95, 0.3, 0.5],
        key_slices=[15, 13, 15, 18],
    )


@pytest.fixture
def found(case: Case, findings: Findings, other: Findings) -> Case:
    case.set_findings(findings)
    case.set_findings(other)
    return case


def points(compared: Compared, allowed: int) -> list[tuple[int, int]]:
    return [(point.found, point.false) for point in compared.points(allowed)]


def test_each_detector_is_held_against_what_people_marked_at_as_many_false_positives(
    found: Case, findings: Findings, other: Findings
) -> None:
    compared = compare(found, ANNOTATION, [findings.detector, other.detector])
    (lesion,) = compared.lesions
    assert (lesion.native, lesion.box, lesion.diameter, lesion.measured) == (15, RECIST.box(), 10.0, True)
    # The fake one marks three other things, without what it mined as no lesion; the second's surest is false, too.
    assert [points(compared, allowed) for allowed in range(4)] == [
        [(0, 0), (0, 0)],
        [(0, 1), (1, 1)],
        [(0, 2), (1, 2)],
        [(0, 3), (1, 2)],
    ]
    assert compared.most_false == 3
    assert [method.on_scan.lesion_scores.tolist() for method in compared.methods] == [[-np.inf], [0.6]]


def test_a_lesion_that_was_rejected_is_none_and_one_that_was_accepted_is(found: Case, other: Findings) -> None:
    found.decide(found.rows[-1].key, State.ACCEPTED)
    accepted = found.rows[-1]
    assert [each.id for each in compare(found, ANNOTATION, [other.detector]).lesions][-1] == accepted.key
    expert = next(row for row in found.rows if row.recist is not None)
    found.decide(expert.key, State.REJECTED)
    compared = compare(found, ANNOTATION, [other.detector])
    assert [each.id for each in compared.lesions] == [accepted.key]
    assert compared.methods[0].on_scan.false.tolist().count(True) == 3


def test_a_detector_that_is_the_reference_gives_what_the_review_shows_of_it_from_the_head_to_the_feet(
    found: Case, findings: Findings, other: Findings
) -> None:
    compared = compare(found, findings.detector, [other.detector])
    assert [(each.native, each.score) for each in compared.lesions] == [(12, 0.7), (15, 0.9)]
    assert points(compared, 0) == [(1, 0)]
    assert points(compared, 9) == [(1, 3)]
    found.detector = findings.detector
    found.threshold = 0.8
    assert [each.score for each in compare(found, findings.detector, [other.detector]).lesions] == [0.9]


def test_what_comes_of_it_depends_on_decisions_and_findings_and_on_the_slider_of_its_reference_alone(
    found: Case, findings: Findings, other: Findings
) -> None:
    def of_people() -> object:
        return basis_of(found, ANNOTATION, [findings.detector, other.detector])

    def of_detector() -> object:
        return basis_of(found, findings.detector, [other.detector])

    people, detector = of_people(), of_detector()
    assert (people, detector) == (of_people(), of_detector())
    found.detector = findings.detector
    found.threshold = 0.8
    assert people == of_people()
    assert detector != of_detector()
    detector = of_detector()
    found.decide(found.rows[-1].key, State.ACCEPTED)
    assert people != of_people()
    assert detector == of_detector()
    # Its own findings anew, as after another run.
    found.set_findings(replace(other, scores=other.scores / 2))
    assert detector != of_detector()


def test_people_can_be_held_against_a_detector_and_no_slider_moves_them(
    found: Case, findings: Findings, other: Findings
) -> None:
    compared = compare(found, other.detector, [ANNOTATION, findings.detector])
    # The one with .6 is the expert's lesion; the fake detector marks one of the others.
    assert points(compared, 0)[0] == points(compared, 99)[0] == (1, 0)
    assert compared.most_false == 2


def test_boxes_without_a_margin_get_it_before_they_are_compared(
    volume: CTVolume, expert: Annotation, findings: Findings, tmp_path: Path
) -> None:
    # Five pixels about a lesion of eight: without the margin the IoU is .2.
    small = replace(expert, box=(15.0, 15.0, 33.0, 33.0), recist=None)
    case = Case(volume, Annotations("1.2.3", [small]), tmp_path / "study.lesions.json")
    boxes = {"boxes": np.array([[20.0, 20, 28, 28]]), "slice_boxes": ({15: (20.0, 20.0, 28.0, 28.0)},)}
    tight = replace(findings.take(np.array([0])), tight=True, **boxes)
    case.set_findings(tight)
    compared = compare(case, ANNOTATION, [tight.detector])
    assert points(compared, 0) == [(1, 0)]
    assert compared.methods[0].marked[0].box == (20.0, 20.0, 28.0, 28.0)
    # The review asks nobody about it either.
    assert len(case.rows) == 1
    padded = replace(tight, tight=False)
    case.set_findings(padded)
    assert points(compare(case, ANNOTATION, [padded.detector]), 0) == [(0, 0)]


def test_a_mark_is_the_lesion_of_the_review_that_it_was_joined_with(
    found: Case, findings: Findings, other: Findings
) -> None:
    compared = compare(found, findings.detector, [other.detector])
    by_slice = {each.native: each for each in compared.lesions}
    assert row_of(found, by_slice[12]).key == other.finding_id(1)
    assert row_of(found, by_slice[15]).key == findings.finding_id(0)
    found.remove_findings(findings.detector)
    assert row_of(found, by_slice[15]) is None
