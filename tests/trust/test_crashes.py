"""A crash loses nothing: what was decided since the last save comes back from the log, and findings are there again."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from napari.components import ViewerModel

from napari_uld.ct.volume import CTVolume
from napari_uld.lesions.annotation_file import save_annotations
from napari_uld.lesions.annotations import Annotation, Annotations, Source, State, new_id
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recovery import restore, unsaved_lesions
from napari_uld.lesions.review_log import SAVED, append_log, append_mark, log_path
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.state.files import findings_path, open_annotations, open_case, save_case
from napari_uld.viewer.tools import review

from ..viewer.conftest import show

Open = Callable[[], Session]


@pytest.fixture
def open_again(volume: CTVolume) -> Open:
    """Open the scan as it is on disk now, in a viewer of its own: the program before is gone without a word."""

    viewers = []

    def opened() -> Session:
        case, _ = open_case(replace(volume))
        viewers.append(ViewerModel())
        return show(viewers[-1], case)

    return opened


def saves_when_asked(session: Session) -> list[Callable[[], None]]:
    """Have a session save by itself; gives what it would do in a moment."""
    asked: list[Callable[[], None]] = []
    session.saves_itself, session.soon = lambda: True, asked.append
    return asked


def decide_all(session: Session, findings: Findings) -> None:
    session.case.set_findings(findings)
    session.case.threshold = 0.0
    rows = [row for row in session.case.rows if row.annotation is None]
    session.case.decide(rows[0].key, State.ACCEPTED)
    session.case.decide(rows[1].key, State.REJECTED)
    session.case.add(3, (10.0, 10.0, 30.0, 30.0))


def table(session: Session) -> list[Annotation]:
    return list(session.case.annotations)


def test_what_was_decided_and_never_saved_is_offered_and_comes_back(open_again: Open, findings: Findings) -> None:
    session = open_again()
    decide_all(session, findings)
    before = table(session)
    again = open_again()
    assert len(again.case.unsaved) == 3
    again.ask_restore = lambda case: True
    again.offer_restore()
    assert table(again) == before
    assert again.case.annotations.unsaved
    assert not again.case.unsaved


def test_what_is_given_up_is_not_offered_again(open_again: Open, findings: Findings) -> None:
    decide_all(open_again(), findings)
    again = open_again()
    again.ask_restore = lambda case: False
    again.offer_restore()
    assert table(again) == []
    assert not open_again().case.unsaved


def test_where_nobody_answers_it_is_offered_again(open_again: Open, findings: Findings) -> None:
    decide_all(open_again(), findings)
    again = open_again()
    again.offer_restore()
    assert len(open_again().case.unsaved) == 3


def test_edits_that_a_person_discarded_are_not_offered(open_again: Open, findings: Findings) -> None:
    session = open_again()
    decide_all(session, findings)
    session.ask_unsaved = lambda case: Answer.DISCARD
    assert session.may_close()
    assert len(open_again().case.unsaved) == 3, "the scan is open yet: what is to take its place may be refused"
    session.closed.emit()
    assert not open_again().case.unsaved


def test_what_was_not_answered_is_offered_again_after_the_next_save(open_again: Open, findings: Findings) -> None:
    decide_all(open_again(), findings)
    again = open_again()
    again.offer_restore()
    again.case.add(5, (50.0, 50.0, 70.0, 70.0))
    assert again.save()
    assert len(open_again().case.unsaved) == 3


def test_a_machines_lesion_comes_back_as_the_machines(open_again: Open, findings: Findings) -> None:
    session = open_again()
    session.case.set_findings(findings)
    key = findings.finding_id(0)
    session.case.decide(key, State.ACCEPTED)
    session.case.move_box(key, (15.0, 19.0, 45.0, 41.0))
    assert session.save()
    review.undo(session)
    again = open_again()
    again.ask_restore = lambda case: True
    again.offer_restore()
    assert table(again) == table(session)
    assert table(again)[0].source is Source.MINED


def test_two_scans_of_one_folder_keep_their_findings_and_edits_apart(
    volume: CTVolume, findings: Findings, open_again: Open
) -> None:
    other = replace(volume, series_uid="9.9.9")
    viewers = [ViewerModel(), ViewerModel()]
    sessions = [show(viewer, open_case(scan)[0]) for viewer, scan in zip(viewers, (volume, other), strict=True)]
    sessions[0].case.set_findings(findings)
    sessions[0].case.add(3, (10.0, 10.0, 30.0, 30.0))
    sessions[1].case.set_findings(replace(findings, scan_id="9.9.9"))
    assert sessions[1].save()
    again, notes = open_case(replace(volume))
    assert again.findings
    assert not any("not shown:" in note and "detector" in note for note in notes)
    assert len(again.unsaved) == 1


def test_another_annotation_file_has_its_own_unsaved_edits(
    open_again: Open, findings: Findings, tmp_path: Path
) -> None:
    decide_all(open_again(), findings)
    session = open_again()
    assert session.case.unsaved
    other = tmp_path / "other.lesions.json"
    save_annotations(other, Annotations("1.2.3"), scan_name="study", scan_source="x")
    open_annotations(session.case, other)
    assert not session.case.unsaved


def test_after_a_save_by_hand_decisions_are_saved_by_themselves_again(open_again: Open, findings: Findings) -> None:
    session = open_again()
    session.saves_itself = lambda: True
    session.soon = lambda act: act()
    session.save()
    text = session.case.path.read_text()
    session.case.path.write_text(text + "\n")
    session.case.add(3, (10.0, 10.0, 30.0, 30.0))
    assert session.case.annotations.unsaved
    session.case.path.write_text(text)
    assert session.save()
    session.case.add(5, (50.0, 50.0, 70.0, 70.0))
    assert not session.case.annotations.unsaved


def test_what_was_saved_is_not_offered_and_what_came_after_is(open_again: Open, findings: Findings) -> None:
    session = open_again()
    decide_all(session, findings)
    assert session.save()
    assert not open_again().case.unsaved
    review.undo(session)
    again = open_again()
    assert list(again.case.unsaved.values()) == [None]
    again.ask_restore = lambda case: True
    again.offer_restore()
    assert table(again) == table(session)


def test_a_save_whose_mark_was_lost_offers_nothing(open_again: Open, findings: Findings, volume: CTVolume) -> None:
    session = open_again()
    assert session.save()
    decide_all(session, findings)
    save_case(session.case)
    log = log_path(session.case.path)
    lines = log.read_bytes().splitlines(keepends=True)
    assert json.loads(lines[-1])["action"] == "saved"
    log.write_bytes(b"".join(lines[:-1]))
    assert not open_again().case.unsaved


def test_a_torn_or_foreign_line_hides_none_of_the_others(open_again: Open, findings: Findings) -> None:
    session = open_again()
    decide_all(session, findings)
    before = table(session)
    log = log_path(session.case.path)
    lines = log.read_bytes().splitlines(keepends=True)
    strange = [
        b"[1]\n",
        b'{"scan_id": "1.2.3", "action": "x"}\n',
        b"\xff\xfe\n",
        b'{"scan_id": "other", "action": "saved"}\n',
    ]
    log.write_bytes(lines[0] + b"".join(strange) + b"".join(lines[1:]) + b'{"time": "20')
    again = open_again()
    again.ask_restore = lambda case: True
    again.offer_restore()
    assert table(again) == before


def test_a_log_of_an_earlier_version_beside_a_saved_file_offers_nothing(open_again: Open, findings: Findings) -> None:
    session = open_again()
    decide_all(session, findings)
    assert session.save()
    review.undo(session)
    log = log_path(session.case.path)
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(line for line in lines if b'"saved"' not in line and b'"begun"' not in line))
    assert not open_again().case.unsaved, "nobody knows what of it was saved"


def test_what_comes_back_can_be_undone_and_is_kept_through_a_second_crash(open_again: Open, findings: Findings) -> None:
    decide_all(open_again(), findings)
    again = open_again()
    again.ask_restore = lambda case: True
    again.offer_restore()
    before = table(again)
    third = open_again()
    third.ask_restore = lambda case: True
    third.offer_restore()
    assert table(third) == before
    for _ in range(3):
        review.undo(third)
    assert table(third) == []


def test_undecided_findings_are_there_again_with_their_detector(open_again: Open, findings: Findings) -> None:
    decide_all(open_again(), findings)
    again = open_again()
    (found,) = again.case.findings.values()
    assert found.detector == findings.detector
    assert found.scores == pytest.approx(findings.scores)
    again.case.threshold = 0.0
    assert sum(row.annotation is None for row in again.case.rows) == 3


def test_findings_that_cannot_be_read_are_said_and_the_scan_opens(
    open_again: Open, findings: Findings, volume: CTVolume
) -> None:
    session = open_again()
    session.case.set_findings(findings)
    findings_path(session.case, findings.detector).write_text("{}")
    case, notes = open_case(replace(volume))
    assert not case.findings
    assert any("What a detector found before is not shown" in note for note in notes)


def test_decisions_are_saved_by_themselves_where_that_is_wanted(open_again: Open, findings: Findings) -> None:
    session = open_again()
    asked = saves_when_asked(session)
    decide_all(session, findings)
    assert not session.case.path.exists()
    asked[-1]()
    assert not session.case.annotations.unsaved
    assert table(open_again()) == table(session)


def test_what_a_person_gave_up_is_not_saved_a_moment_later(open_again: Open, findings: Findings) -> None:
    session = open_again()
    asked = saves_when_asked(session)
    decide_all(session, findings)
    session.saves_itself = lambda: False
    session.ask_unsaved = lambda case: Answer.DISCARD
    path = session.case.path
    session.viewer.layers.remove(session.layer(Part.CT))
    session.saves_itself = lambda: True
    asked[-1]()
    assert not path.exists()


def test_closing_does_not_ask_where_decisions_are_saved_by_themselves(open_again: Open, findings: Findings) -> None:
    session = open_again()
    session.saves_itself = lambda: True
    session.ask_unsaved = lambda case: pytest.fail("nothing is unsaved")
    decide_all(session, findings)
    assert session.may_close()
    assert table(open_again()) == table(session)


def test_where_saving_fails_it_is_said_once_and_the_person_is_asked(
    open_again: Open, findings: Findings, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = open_again()
    session.saves_itself = lambda: True
    session.soon = lambda act: act()
    session.save()
    session.case.path.write_text(session.case.path.read_text() + "\n")
    decide_all(session, findings)
    assert session.case.annotations.unsaved
    asked = []
    session.ask_unsaved = lambda case: asked.append(case) or Answer.KEEP_OPEN
    assert not session.may_close()
    assert len(asked) == 1


edits = st.lists(
    st.tuples(st.sampled_from(["add", "reject", "move", "remove", "undo", "redo", "save"]), st.integers(0, 5))
)


@settings(max_examples=40)
@given(edits)
def test_whatever_was_done_the_log_knows_what_the_file_does_not(
    tmp_path_factory: pytest.TempPathFactory, done: list[tuple[str, int]]
) -> None:
    log = tmp_path_factory.mktemp("log") / "x.log.jsonl"
    annotations = Annotations("1.2.3")
    annotations.on_change(lambda edit: append_log(log, [edit], "r"))
    saved: list[Annotation] = []
    for action, which in done:
        rows = list(annotations)
        row = rows[which % len(rows)] if rows else None
        if action == "add":
            box = (float(which), 0.0, which + 10.0, 10.0)
            lesion = Annotation(new_id("1.2.3", 1, box), "1.2.3", 1, box)
            if lesion.id not in annotations:
                annotations.add(lesion)
        elif action == "undo":
            annotations.undo()
        elif action == "redo":
            annotations.redo()
        elif action == "save":
            saved = list(annotations)
            append_mark(log, SAVED, "1.2.3", "r")
        elif row is not None and action == "reject":
            annotations.set_state(row.id, State.REJECTED)
        elif row is not None and action == "move":
            annotations.edit(row.id, box=tuple(np.add(row.box, 1.0).tolist()))
        elif row is not None:
            annotations.remove(row.id)
    again = Annotations("1.2.3", saved)
    restore(again, unsaved_lesions([log], again, "f" if any(action == "save" for action, _ in done) else ""))
    assert {row.id: row for row in again} == {row.id: row for row in annotations}
