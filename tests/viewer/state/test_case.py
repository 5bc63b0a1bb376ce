from dataclasses import replace

import numpy as np
import pytest

from napari_uld.errors import AnnotationError, BoxError
from napari_uld.lesions.annotations import Annotation, Annotations, Source, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recist import Recist
from napari_uld.viewer.state.case import Case, Counts
from napari_uld.viewer.state.rows import Mark


def keys(case: Case) -> list[str]:
    return [row.key for row in case.rows]


def test_an_expert_lesion_is_a_row_with_its_measured_diameter_and_nobodys_decision(case: Case) -> None:
    (row,) = case.rows
    assert (row.mark, row.native, case.counts) == (Mark.EXPERT, 15, Counts(annotated=1, found=0, decided=0))
    assert row.diameter == pytest.approx(20 * 0.5)


def test_the_diameter_of_a_box_leaves_its_margin_out(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    assert case.row(findings.finding_id(1)).diameter == pytest.approx((20 - 10) * 0.5)


def test_findings_above_the_threshold_wait_for_a_decision_from_head_to_feet(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    assert [(row.native, row.mark) for row in case.rows] == [
        (12, Mark.PENDING),
        (15, Mark.EXPERT),
        (15, Mark.PENDING),
    ]


def test_the_threshold_filters_at_once_and_leaves_decided_rows(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    case.decide(findings.finding_id(0), State.ACCEPTED)
    case.threshold = 0.15
    assert len(case.rows) == 4
    case.threshold = 0.95
    assert {row.mark for row in case.rows} == {Mark.EXPERT, Mark.ACCEPTED}


def test_a_review_begins_at_the_detectors_operating_point_and_then_stays_where_a_person_put_it(
    case: Case, findings: Findings
) -> None:
    told: list[float] = []
    case.threshold_changed.connect(told.append)
    case.set_findings(replace(findings, operating_point=0.15))
    assert (case.threshold, len(case.rows)) == (0.15, 4)
    case.threshold = 0.8
    case.set_findings(replace(findings, operating_point=0.15))
    assert (case.threshold, len(case.rows)) == (0.8, 2)
    case.set_findings(replace(findings, checkpoint="another", operating_point=0.6))
    assert case.threshold == 0.6
    case.set_findings(replace(findings, checkpoint="never evaluated"))
    assert case.threshold == 0.4
    case.set_findings(replace(findings, operating_point=0.15))
    assert case.threshold == 0.8
    assert told == [0.15, 0.8, 0.6, 0.4, 0.8]


def test_a_threshold_chosen_before_there_were_findings_is_meant_for_the_first(case: Case, findings: Findings) -> None:
    case.threshold = 0.8
    case.set_findings(replace(findings, operating_point=0.15))
    assert case.threshold == 0.8
    case.set_findings(replace(findings, checkpoint="another", operating_point=0.15))
    assert case.threshold == 0.15


def test_a_mined_negative_is_never_shown_as_a_lesion(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    case.threshold = 0.0
    assert findings.finding_id(3) not in keys(case)


def test_a_decision_keeps_the_lesions_key_and_undo_takes_it_back(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    key = findings.finding_id(1)
    case.select(key)
    case.decide(key, State.REJECTED)
    assert case.current is not None
    assert (case.current.key, case.current.mark) == (key, Mark.REJECTED)
    case.decide(key, State.ACCEPTED)
    assert case.current.mark is Mark.ACCEPTED
    case.annotations.undo()
    case.annotations.undo()
    assert case.current.mark is Mark.PENDING
    assert len(case.annotations) == 1


def test_an_accepted_finding_names_its_parent_score_and_reviewer(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    case.decide(findings.finding_id(1), State.ACCEPTED)
    lesion = case.row(findings.finding_id(1)).annotation
    assert lesion is not None
    assert (lesion.parent_id, lesion.score, lesion.reviewer) == (findings.finding_id(1), 0.7, "reader")


def test_moving_the_box_of_a_finding_accepts_it_and_one_undo_brings_the_finding_back(
    case: Case, findings: Findings
) -> None:
    case.set_findings(findings)
    key = findings.finding_id(1)
    case.move_box(key, (58.0, 60.0, 80.0, 82.0))
    row = case.row(key)
    assert (row.mark, row.box) == (Mark.ACCEPTED, (58.0, 60.0, 80.0, 82.0))
    assert (row.annotation.source, row.annotation.reviewer) == (Source.EDITED, "reader")
    # The trace on the other slices is the machine's, of a box that is no longer there.
    assert list(row.boxes) == [12]
    case.annotations.undo()
    assert (case.row(key).mark, case.row(key).annotation) == (Mark.PENDING, None)
    assert sorted(case.row(key).boxes) == [11, 12, 13]
    case.annotations.redo()
    assert case.row(key).annotation == row.annotation


def test_an_impossible_box_leaves_a_finding_undecided(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    key = findings.finding_id(1)
    with pytest.raises(BoxError):
        case.move_box(key, (80.0, 60.0, 58.0, 82.0))
    assert case.row(key).mark is Mark.PENDING
    assert not case.annotations.can_undo


def test_measuring_a_finding_accepts_it_in_one_edit(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    key = findings.finding_id(1)
    recist = Recist(((66.0, 70.0), (74.0, 70.0)), ((70.0, 67.0), (70.0, 73.0)))
    case.measure(key, recist)
    lesion = case.row(key).annotation
    assert (lesion.state, lesion.source, lesion.recist) == (State.ACCEPTED, Source.EDITED, recist)
    assert lesion.box == recist.box()
    case.annotations.undo()
    assert case.row(key).mark is Mark.PENDING


def test_measuring_a_lesion_moves_its_box_with_it(case: Case) -> None:
    longer = Recist(((10.0, 30.0), (50.0, 30.0)), ((30.0, 24.0), (30.0, 36.0)))
    case.measure(keys(case)[0], longer)
    assert case.rows[0].box == (5.0, 19.0, 55.0, 41.0)


def test_measuring_a_machines_lesion_makes_it_an_edited_one_until_that_is_undone(
    case: Case, findings: Findings
) -> None:
    case.set_findings(findings)
    key = findings.finding_id(0)
    case.decide(key, State.ACCEPTED)
    case.measure(key, Recist(((10.0, 30.0), (50.0, 30.0)), ((30.0, 24.0), (30.0, 36.0))))
    assert case.row(key).annotation.source is Source.EDITED
    case.annotations.undo()
    assert case.row(key).annotation.source is Source.MINED
    case.decide(key, State.REJECTED)
    assert case.row(key).annotation.source is Source.MINED


def test_removing_a_machines_lesion_rejects_it_and_a_persons_own_is_removed(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    case.remove(findings.finding_id(0))
    case.remove(case.add(2, (1.0, 2.0, 30.0, 40.0)).id)
    assert case.row(findings.finding_id(0)).mark is Mark.REJECTED
    assert len(case.annotations) == 2


def test_a_drawn_lesion_carries_the_files_own_slice_number(case: Case) -> None:
    assert case.add(2, (1.0, 2.0, 30.0, 40.0)).key_slice == 17


def test_stepping_goes_round_and_may_leave_decided_lesions_out(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    first, expert, last = keys(case)
    assert [case.step(1).key for _ in range(4)] == [first, expert, last, first]
    assert case.step(-1).key == last
    case.select(first)
    assert case.step(1, pending_only=True).key == last


def test_stepping_follows_the_order_a_table_shows(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    first, expert, last = keys(case)
    case.order = (last, first, expert)
    assert [case.step(1).key for _ in range(3)] == [last, first, expert]


def test_an_empty_case_has_nowhere_to_step(case: Case) -> None:
    case.remove(keys(case)[0])
    assert case.step(1) is None


def test_annotations_and_findings_of_another_scan_are_refused(
    case: Case, expert: Annotation, findings: Findings
) -> None:
    with pytest.raises(AnnotationError, match=r"9\.9\.9.*other\.lesions\.json.*study"):
        case.replace_annotations(Annotations("9.9.9"), case.path.with_name("other.lesions.json"))
    with pytest.raises(AnnotationError, match="Findings of another scan"):
        case.set_findings(replace(findings, scan_id="9.9.9"))
    assert [row.id for row in case.annotations] == [expert.id]


def test_edits_of_annotations_that_were_replaced_no_longer_count(case: Case) -> None:
    old = case.annotations
    case.replace_annotations(Annotations("1.2.3"), case.path)
    seen: list[object] = []
    case.rows_changed.connect(lambda: seen.append(1))
    old.undo()
    next(iter(old))
    old.remove(next(iter(old)).id)
    assert seen == []
    assert case.rows == ()


def test_two_lesions_of_one_parent_are_two_rows(case: Case, findings: Findings) -> None:
    case.set_findings(findings)
    case.decide(findings.finding_id(1), State.ACCEPTED)
    twin = case.row(findings.finding_id(1)).annotation
    case.annotations.add(replace(twin, id="lesion:twin"))
    assert "lesion:twin" in keys(case)
    assert len(set(keys(case))) == len(keys(case)) == 4
    assert np.isfinite([row.diameter for row in case.rows]).all()
