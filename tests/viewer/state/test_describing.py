"""Type, doubt and comment of lesions, one or several at once."""

import pytest

from napari_uld.errors import AnnotationError
from napari_uld.lesions.annotations import Annotation, LesionType, State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.rows import Mark


@pytest.fixture
def found(case: Case, findings: Findings) -> Case:
    case.set_findings(findings)
    return case


def test_saying_something_of_what_waits_accepts_it_in_one_step(found: Case, findings: Findings) -> None:
    keys = [findings.finding_id(0), findings.finding_id(1)]
    found.set_type(keys, LesionType.LUNG)
    assert [(found.row(key).mark, found.row(key).lesion_type) for key in keys] == [(Mark.ACCEPTED, LesionType.LUNG)] * 2
    assert found.counts == Counts(annotated=1, found=2, decided=2)
    found.annotations.undo()
    assert [found.row(key).mark for key in keys] == [Mark.PENDING] * 2
    assert not found.annotations.can_undo


def test_a_rejected_lesion_stays_rejected_whatever_is_said_of_it(found: Case, findings: Findings) -> None:
    key = findings.finding_id(0)
    found.decide(key, State.REJECTED)
    found.set_comment([key], "a vessel")
    found.set_noisy([key], True)
    row = found.row(key)
    assert (row.mark, row.comment, row.noisy) == (Mark.REJECTED, "a vessel", True)


def test_a_lesion_that_was_opened_again_is_accepted_too(found: Case, expert: Annotation) -> None:
    found.decide(expert.id, State.PENDING)
    found.set_comment([expert.id], "certain now")
    assert found.row(expert.id).mark is Mark.EXPERT


def test_what_is_said_already_is_no_edit_and_accepts_nothing(
    found: Case, findings: Findings, expert: Annotation
) -> None:
    found.set_type([expert.id], LesionType.LIVER)
    found.set_type([findings.finding_id(0)], LesionType.UNKNOWN)
    found.set_noisy([findings.finding_id(0)], False)
    found.set_comment([findings.finding_id(0)], "  ")
    assert not found.annotations.can_undo


def test_a_comment_is_one_line_that_can_be_written_to_a_file(found: Case, expert: Annotation) -> None:
    found.set_comment([expert.id], " calcified\nsee report \udc80 ")
    assert found.row(expert.id).comment == "calcified see report \ufffd"


def test_where_one_of_several_is_unknown_nothing_is_said_of_any(found: Case, expert: Annotation) -> None:
    with pytest.raises(AnnotationError):
        found.set_noisy([expert.id, "finding:nowhere"], True)
    assert not found.row(expert.id).noisy


def test_several_edits_as_one_are_seen_once(found: Case, findings: Findings) -> None:
    seen: list[int] = []
    found.rows_changed.connect(lambda: seen.append(1))
    found.set_noisy([findings.finding_id(0), findings.finding_id(1)], True)
    assert seen == [1]


def test_taking_one_lesion_in_hand_chooses_it_alone(found: Case, findings: Findings, expert: Annotation) -> None:
    found.choose(expert.id, [expert.id, findings.finding_id(0)])
    assert {row.key for row in found.chosen} == {expert.id, findings.finding_id(0)}
    assert found.current.key == expert.id
    found.select(expert.id)
    assert [row.key for row in found.chosen] == [expert.id]
    found.select(None)
    assert found.chosen == ()
