"""Findings of several detectors in one case: side by side, what is one lesion asked about once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.mining import unannotated
from napari_uld.lesions.annotations import Annotation, State
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.findings_file import write_findings
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.compared import ANNOTATION, compare
from napari_uld.viewer.state.files import findings_path, keep_findings, open_case
from napari_uld.viewer.state.found import short_names
from napari_uld.viewer.state.rows import Mark, Row


@pytest.fixture
def other(findings: Findings) -> Findings:
    """Another detector's: its first the same as the other's traced one, a little lower, its second the expert's."""
    return Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method="second",
        checkpoint="abcdef",
        boxes=[[61, 62, 79, 82], [16, 20, 44, 40], [70, 10, 84, 24]],
        scores=[0.95, 0.6, 0.5],
        key_slices=[13, 15, 15],
    )


def pending(case: Case) -> list[Row]:
    return [row for row in case.rows if row.mark is Mark.PENDING]


def test_a_second_detector_adds_its_findings_and_the_same_one_replaces_its_own(
    case: Case, findings: Findings, other: Findings
) -> None:
    case.set_findings(findings)
    case.set_findings(other)
    assert list(case.findings.values()) == [findings, other]
    again = replace(findings, scores=findings.scores * 0.5)
    case.set_findings(again)
    assert list(case.findings.values()) == [other, again]


def test_what_two_detectors_found_alike_is_one_row_with_the_surer_ones_box(
    case: Case, findings: Findings, other: Findings
) -> None:
    case.set_findings(findings)
    case.set_findings(other)
    both = next(row for row in case.rows if row.key == other.finding_id(0))
    assert [ref.id for ref in both.also] == [findings.finding_id(1)]
    assert both.box == (61.0, 62.0, 79.0, 82.0)
    assert both.found_by == ("second", "fake")
    assert findings.finding_id(1) not in [row.key for row in case.rows]


def test_scores_are_compared_by_how_far_they_lie_above_their_detectors_operating_points(
    case: Case, findings: Findings, other: Findings
) -> None:
    case.set_findings(replace(findings, operating_point=0.1))
    case.set_findings(replace(other, operating_point=0.94))
    assert findings.finding_id(1) in [row.key for row in case.rows]


def test_the_two_findings_of_one_detector_that_overlap_stay_two(case: Case, findings: Findings) -> None:
    twice = Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method="fake",
        checkpoint="f00",
        boxes=[[60, 60, 80, 80], [60, 60, 80, 76]],
        scores=[0.9, 0.8],
        key_slices=[12, 12],
    )
    case.set_findings(twice)
    assert len(pending(case)) == 2


def test_a_detection_of_an_annotated_lesion_is_not_asked_again(case: Case, expert: Annotation, other: Findings) -> None:
    case.set_findings(other)
    assert [row.native for row in pending(case)] == [13, 15]
    row = case.row(expert.id)
    assert [ref.id for ref in row.also] == [other.finding_id(1)]
    assert row.found_by == ("second",)
    case.thresholds.choose(other.detector, 0.0)
    case.threshold = 0.7
    assert case.row(expert.id).also == ()


@pytest.mark.parametrize("state", [State.ACCEPTED, State.REJECTED])
def test_what_was_decided_of_one_detector_is_not_asked_of_another_until_that_is_undone(
    case: Case, findings: Findings, other: Findings, state: State
) -> None:
    case.set_findings(findings)
    case.decide(findings.finding_id(1), state)
    case.set_findings(other)
    row = case.row(findings.finding_id(1))
    assert [ref.id for ref in row.also] == [other.finding_id(0)]
    assert len(pending(case)) == 2
    case.annotations.undo()
    assert other.finding_id(0) in [row.key for row in pending(case)]
    # What is exported is what a person decided.
    assert all(lesion.detector != other.detector for lesion in case.annotations)


def test_where_the_surer_one_is_filtered_out_the_other_is_asked_about(
    case: Case, findings: Findings, other: Findings
) -> None:
    case.set_findings(findings)
    case.set_findings(other)
    case.select(other.finding_id(0))
    case.threshold = 0.99
    row = case.row(findings.finding_id(1))
    assert (row.mark, row.also) == (Mark.PENDING, ())
    case.threshold = 0.4
    assert case.row(findings.finding_id(1)) is None


def test_the_lesion_at_hand_stays_it_when_a_surer_detector_finds_it(
    case: Case, findings: Findings, other: Findings
) -> None:
    case.set_findings(findings)
    case.select(findings.finding_id(1))
    case.set_findings(other)
    assert case.current.key == other.finding_id(0)


def test_each_detector_has_its_own_threshold_and_one_is_at_hand(
    case: Case, findings: Findings, other: Findings
) -> None:
    told: list[float] = []
    case.set_findings(findings)
    case.set_findings(other)
    assert case.detector == other.detector
    case.threshold = 0.55
    case.threshold_changed.connect(told.append)
    case.detector = findings.detector
    assert (case.threshold, told) == (0.4, [0.4])
    case.threshold = 0.1
    # The other's is as it was: .5 is not shown, .95 and .6 are; of the first .2 is now.
    assert sorted(row.score for row in pending(case)) == [0.2, 0.9, 0.95]


def test_taking_a_detectors_findings_away_leaves_the_others_and_what_was_decided(
    case: Case, findings: Findings, other: Findings
) -> None:
    case.set_findings(findings)
    case.set_findings(other)
    case.decide(other.finding_id(2), State.ACCEPTED)
    case.remove_findings(other.detector)
    assert list(case.findings) == [findings.detector]
    assert case.detector == findings.detector
    assert len(pending(case)) == 2
    assert any(lesion.parent_id == other.finding_id(2) for lesion in case.annotations)
    case.remove_findings(findings.detector)
    assert pending(case) == []


def test_two_checkpoints_of_one_method_are_told_apart() -> None:
    assert short_names(["a 1234567", "b 1", "a 7654321"]) == {"a 1234567": "a 1234", "b 1": "b", "a 7654321": "a 7654"}


# -- beside the scan --


def opened(volume: CTVolume) -> Case:
    case, notes = open_case(replace(volume))
    assert notes == ()
    return case


def test_all_findings_are_there_again_and_what_was_taken_away_is_not(
    volume: CTVolume, findings: Findings, other: Findings
) -> None:
    case = opened(volume)
    for found in (findings, other):
        case.set_findings(found)
        keep_findings(case, found.detector)
    again = opened(volume)
    assert set(again.findings) == {findings.detector, other.detector}
    again.remove_findings(findings.detector)
    keep_findings(again, findings.detector)
    assert list(opened(volume).findings) == [other.detector]


def test_a_file_of_an_earlier_version_is_read_and_a_new_run_of_its_detector_takes_its_place(
    volume: CTVolume, findings: Findings, other: Findings
) -> None:
    case = opened(volume)
    path = findings_path(case, findings.detector)
    stem, _ = path.name.removesuffix(".findings.json").rsplit(".", 1)
    earlier = path.with_name(f"{stem}.findings.json")
    write_findings(earlier, findings)
    again = opened(volume)
    assert list(again.findings) == [findings.detector]
    again.set_findings(findings.take(findings.scores > 0.8))
    keep_findings(again, findings.detector)
    assert not path.exists()
    (found,) = opened(volume).findings.values()
    assert len(found) == 1
    again.remove_findings(findings.detector)
    keep_findings(again, findings.detector)
    assert not earlier.exists()
    assert opened(volume).findings == {}


def test_a_damaged_file_hides_no_other_detectors_findings(
    volume: CTVolume, findings: Findings, other: Findings, tmp_path: Path
) -> None:
    case = opened(volume)
    for found in (findings, other):
        case.set_findings(found)
        keep_findings(case, found.detector)
    findings_path(case, findings.detector).write_text("{}")
    again, notes = open_case(replace(volume))
    assert list(again.findings) == [other.detector]
    assert any("What a detector found before is not shown" in note for note in notes)


def test_a_tight_box_is_as_long_as_the_lesion_and_one_with_a_margin_is_longer(case: Case, other: Findings) -> None:
    tight = replace(other, tight=True)
    lengths = []
    for findings in (other, tight):
        case.set_findings(findings)
        row = next(row for row in case.rows if row.key == findings.finding_id(0))
        lengths.append(row.diameter)
        assert row.tight is findings.tight
    spacing = case.volume.spacing[1]
    # 20 pixels high, or 10 without the margin of 5 at both ends.
    assert lengths == pytest.approx([10 * spacing, 20 * spacing])


def test_an_accepted_tight_box_has_the_margin_of_an_annotation_and_the_same_length(case: Case, other: Findings) -> None:
    tight = replace(other, tight=True)
    case.set_findings(tight)
    key = tight.finding_id(0)
    before = case.row(key)
    case.decide(key, State.ACCEPTED)
    row = case.row(key)
    assert (before.box, row.box) == ((61.0, 62.0, 79.0, 82.0), (56.0, 57.0, 84.0, 87.0))
    assert (before.tight, row.tight, row.diameter) == (True, False, before.diameter)
    case.annotations.undo()
    assert case.row(key).box == before.box


@pytest.mark.parametrize("state", [State.ACCEPTED, State.REJECTED])
def test_what_was_decided_with_a_tight_box_is_not_asked_again_because_boxes_have_a_margin_since(
    case: Case, findings: Findings, other: Findings, state: State
) -> None:
    # 6 pixels wide; its lesion has that box, as an earlier version saved it.
    ours = replace(other, boxes=other.boxes + [6, 6, -6, -6], slice_boxes=({}, {}, {}), tight=True)
    case.set_findings(ours)
    case.decide(ours.finding_id(0), state)
    saved = replace(case.annotations.from_finding(ours, 0), box=tuple(ours.boxes[0].tolist()))
    case.annotations.put_back(saved)
    case.set_findings(findings)
    row = case.row(ours.finding_id(0))
    assert (row.box, [ref.id for ref in row.also]) == (saved.box, [findings.finding_id(1)])
    assert unannotated(findings.take(np.array([1])), case.annotations, [ours]).ids == ()
    if state is State.ACCEPTED:
        (own,) = compare(case, ANNOTATION, [ours.detector]).methods
        assert own.on_scan.false.tolist() == [False, False, True]


def test_a_tight_box_and_one_with_a_margin_about_the_same_small_lesion_are_one_row(
    case: Case, findings: Findings, other: Findings
) -> None:
    # 9 pixels wide beside the first detector's 19: without the margin they overlap by a quarter.
    ours = replace(other, boxes=other.boxes + [5, 5, -5, -5], slice_boxes=({}, {}, {}), tight=True)
    case.set_findings(findings)
    case.set_findings(ours)
    row = next(row for row in case.rows if row.key == ours.finding_id(0))
    assert [ref.id for ref in row.also] == [findings.finding_id(1)]
