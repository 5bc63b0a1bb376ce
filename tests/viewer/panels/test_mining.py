"""The Mining panel on a model of a viewer: the queue, going through it, taking decisions back over scans."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot

from napari_uld.ct import ScanEntry
from napari_uld.lesions.annotation_file import read_annotations, save_annotations
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.findings_file import write_findings
from napari_uld.viewer.panels.cases import CasesPanel
from napari_uld.viewer.panels.mining import BELOW, NO_FOLDER, MiningPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case_store import CaseStore
from napari_uld.viewer.state.queue import BY_SCORE, Asked, Fate
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.measuring import measure

from ..queued import EACH, SCANS, folder_of_scans, suggest, suggested


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return folder_of_scans(tmp_path / "scans")


@pytest.fixture
def entries(root: Path) -> list[ScanEntry]:
    return suggest(root)


@pytest.fixture
def panel(viewer: ViewerModel, qtbot: QtBot) -> MiningPanel:
    """The panel as it is docked, no folder listed."""
    panel = MiningPanel(viewer)
    qtbot.addWidget(panel)
    panel.show()
    return panel


@pytest.fixture
def cases(viewer: ViewerModel, tmp_path: Path, qtbot: QtBot) -> CasesPanel:
    cases = CasesPanel(viewer, CaseStore(tmp_path / "cases.json"))
    qtbot.addWidget(cases)
    return cases


@pytest.fixture
def mining(panel: MiningPanel, cases: CasesPanel, root: Path, entries: list[ScanEntry], qtbot: QtBot) -> MiningPanel:
    """The panel with all suggestions of a folder that Cases lists."""
    cases.show_scans(root, entries)
    read(panel, qtbot)
    return panel


def read(panel: MiningPanel, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: not panel.reading, timeout=5000)
    qtbot.wait(80)


def at_hand(session: Session) -> tuple[str, int]:
    """The scan that is open, and the slice of the lesion at hand."""
    assert session.case.volume.native_slice(session.z) == session.case.current.native
    return session.case.volume.name, session.case.current.native


def decide(panel: MiningPanel, states: str) -> list[tuple[str, int]]:
    """Accept (g), reject (n) or skip (,) what is at hand, one after the other; give what was at hand each time."""
    visited = []
    for state in states:
        visited.append(at_hand(panel.session))
        if state == ",":
            review.skip(panel.session)
        else:
            review.decide(panel.session, State.ACCEPTED if state == "g" else State.REJECTED)
    return visited


def test_before_a_folder_is_listed_the_panel_says_what_to_choose(panel: MiningPanel, qtbot: QtBot) -> None:
    qtbot.wait(80)
    assert panel.view.table.empty == NO_FOLDER
    assert panel.view.choose.isVisible()
    assert not panel.view.start.isEnabled()


def test_scans_without_suggestions_are_said_to_need_a_detector(
    panel: MiningPanel, cases: CasesPanel, root: Path, qtbot: QtBot
) -> None:
    cases.show_folder(root)
    qtbot.waitUntil(lambda: panel.queue is not None, timeout=5000)
    read(panel, qtbot)
    assert "napari-uld mine" in panel.view.table.empty
    assert not panel.view.choose.isVisible()


def test_what_waits_in_each_scan_and_in_all_is_shown(mining: MiningPanel) -> None:
    model = mining.view.model
    assert [[model.data(model.index(row, column)) for column in range(3)] for row in range(SCANS)] == [
        [f"scan {i}", "5", "0 of 5"] for i in range(SCANS)
    ]
    assert mining.view.status.text() == "0 of 20 decided (0 accepted, 0 rejected)"


def test_each_decision_leads_on_to_the_next_suggestion_and_into_the_next_scan(
    mining: MiningPanel, qtbot: QtBot
) -> None:
    mining.start_or_stop()
    visited = decide(mining, "gngng" + "gn,gg")
    # From the head to the feet, scan by scan.
    slices = [3 + 4 * i for i in reversed(range(EACH))]
    assert visited == [(f"scan {scan}", native) for scan in (0, 1) for native in slices]
    assert at_hand(mining.session) == ("scan 2", slices[0])
    assert (mining.queue.counts.accepted, mining.queue.counts.rejected) == (6, 3)
    qtbot.wait(80)
    assert mining.view.status.text() == "9 of 20 decided (6 accepted, 3 rejected), 1 skipped"
    assert "scan 2, slice 19: 1 of 5" in mining.view.at_hand.text()


def test_what_was_decided_is_on_disk_once_the_next_scan_is_open(mining: MiningPanel, root: Path) -> None:
    mining.session.saves_itself = lambda: True
    mining.start_or_stop()
    decide(mining, "gnnnn")
    saved = read_annotations(root / "scan 0.lesions.json").annotations
    assert [lesion.state for lesion in saved] == [State.ACCEPTED] + 4 * [State.REJECTED]


def test_ordered_by_a_score_the_surest_of_all_scans_come_first(mining: MiningPanel) -> None:
    mining.view.order.setCurrentIndex(mining.view.order.findData(BY_SCORE))
    mining.start_or_stop()
    assert [scan for scan, _ in decide(mining, "nnnn")] == ["scan 3", "scan 2", "scan 1", "scan 3"]


def test_a_lower_score_lets_more_wait_and_they_are_shown_in_their_scan(
    mining: MiningPanel, entries: list[ScanEntry], qtbot: QtBot
) -> None:
    mining.view.least.setValue(0.85)
    qtbot.wait(80)
    assert mining.queue.counts.total == 1
    mining.view.least.setValue(0.95)
    qtbot.wait(80)
    assert mining.view.table.empty == BELOW
    mining.view.least.setValue(0.05)
    mining.session.thresholds.choose("m c", 0.9)
    mining.start_or_stop()
    assert at_hand(mining.session) == ("scan 0", 19)
    assert mining.session.case.threshold == pytest.approx(0.6)


def test_undo_goes_back_over_scans_to_the_last_decisions_and_redo_makes_them_again(mining: MiningPanel) -> None:
    mining.session.saves_itself = lambda: True
    mining.start_or_stop()
    decide(mining, "ggggg" + "n")
    session = mining.session
    review.undo(session)
    assert at_hand(session) == ("scan 1", 19)
    assert mining.queue.counts.rejected == 0
    for native in (3, 7):
        review.undo(session)
        assert at_hand(session) == ("scan 0", native)
        assert session.case.current.mark is Mark.PENDING
    assert (mining.queue.counts.accepted, mining.queue.counts.pending) == (3, 17)
    assert session.case.annotations.unsaved
    review.redo(session)
    assert (at_hand(session), mining.queue.counts.accepted) == (("scan 0", 7), 4)
    review.undo(session)
    decide(mining, "n")
    assert (mining.queue.counts.accepted, mining.queue.counts.rejected) == (3, 1)
    assert at_hand(session) == ("scan 0", 3)


def test_what_was_changed_elsewhere_since_is_not_taken_back(
    mining: MiningPanel, root: Path, shown: list[Notification]
) -> None:
    mining.session.saves_itself = lambda: True
    mining.start_or_stop()
    decide(mining, "ggggg")
    path = root / "scan 0.lesions.json"
    file = read_annotations(path)
    for lesion in list(file.annotations):
        file.annotations.set_state(lesion.id, State.REJECTED, "somebody")
    save_annotations(path, file.annotations, scan_name="scan 0", scan_source="scan 0.nii.gz")
    review.undo(mining.session)
    assert "It is not taken back" in shown[-1].message
    assert {row.mark for row in mining.session.case.rows} == {Mark.REJECTED}


def test_without_going_on_a_decision_stays_where_it_is(mining: MiningPanel) -> None:
    mining.view.goes_on.setChecked(False)
    mining.start_or_stop()
    decide(mining, "g")
    assert at_hand(mining.session) == ("scan 0", 19)
    review.step(mining.session, 1, pending_only=True)
    assert at_hand(mining.session) == ("scan 0", 15)


def test_measuring_accepts_and_the_next_decision_goes_on(mining: MiningPanel) -> None:
    mining.start_or_stop()
    measure(mining.session)
    assert mining.queue.counts.accepted == 1
    assert mining.session.case.current.recist is not None
    decide(mining, "g")
    assert at_hand(mining.session) == ("scan 0", 15)


def test_the_next_scan_that_something_waits_in_is_read_ahead(
    mining: MiningPanel, entries: list[ScanEntry], cases: CasesPanel, qtbot: QtBot
) -> None:
    mining.start_or_stop()
    decide(mining, "ggggg")
    for item in [item for item in mining.queue.pending if item.at == 2]:
        mining.queue.skip(item.key)
    qtbot.waitUntil(lambda: cases.ahead.take(entries[3]) is not None, timeout=5000)


def test_a_scan_that_cannot_be_opened_is_said_and_left_out(
    mining: MiningPanel, entries: list[ScanEntry], shown: list[Notification]
) -> None:
    mining.start_or_stop()
    entries[1].path.write_bytes(b"no scan")
    decide(mining, "ggggg")
    assert any("cannot be opened" in note.message for note in shown)
    assert mining.queue.counts.skipped == EACH
    review.step(mining.session, 1, pending_only=True)
    assert at_hand(mining.session)[0] == "scan 2"


def test_decisions_on_files_of_another_folder_are_saved_there(
    panel: MiningPanel, cases: CasesPanel, root: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    entries = suggest(root)
    for file in root.glob("*.findings.json"):
        file.rename(out / file.name)
    panel.session.saves_itself = lambda: True
    cases.show_scans(root, entries)
    panel._show_folder(out)
    read(panel, qtbot)
    assert panel.queue.counts.pending == EACH * SCANS
    # Its annotations would be saved beside it.
    cases.open_scan(0)
    panel.start_or_stop()
    decide(panel, "gnnnn")
    assert not list(root.glob("*.json"))
    saved = read_annotations(out / "scan 0.lesions.json").annotations
    assert [lesion.state for lesion in saved] == [State.ACCEPTED] + 4 * [State.REJECTED]
    review.undo(panel.session)
    assert at_hand(panel.session) == ("scan 0", 3)
    assert len(panel.session.case.rows) == EACH
    panel._show_folder(out)
    read(panel, qtbot)
    assert (panel.queue.counts.accepted, panel.queue.counts.rejected) == (1, 3)


def test_hard_negatives_are_gone_through_with_both_scores_and_their_file_stays_as_it_is(
    panel: MiningPanel, cases: CasesPanel, root: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    mined, entries = tmp_path / "epoch_1", suggest(root)
    mined.mkdir()
    for file in root.glob("*.findings.json"):
        file.unlink()
    negatives = replace(
        suggested(entries[1], 1, columns={"s2": [0.1] * EACH}), checkpoint="e1", negative=np.ones(EACH, bool)
    )
    path = mined / "scan 1.findings.json"
    write_findings(path, negatives)
    before = path.read_bytes()
    cases.show_scans(root, entries)
    panel.view.asked.setCurrentIndex(panel.view.asked.findData(Asked.NEGATIVES))
    panel._show_folder(mined)
    read(panel, qtbot)
    panel.session.saves_itself = lambda: True
    panel.start_or_stop()
    assert at_hand(panel.session) == ("scan 1", 19)
    qtbot.wait(80)
    assert "S1 0.82  S2 0.10" in panel.view.at_hand.text()
    (label,) = {each.label for each in panel.session.marking.drawn}
    assert label == "S1 0.82  S2 0.10"
    decide(panel, "g")
    assert panel.session.may_close()
    assert path.read_bytes() == before
    assert not list(root.glob("*.findings.json"))
    assert (root / "scan 1.lesions.json").is_file()


def test_conflicts_of_merged_files_wait_with_what_each_says(
    panel: MiningPanel, cases: CasesPanel, root: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    entries, merged = suggest(root), tmp_path / "merged"
    merged.mkdir()
    findings = suggested(entries[2], 2)
    annotations = Annotations(findings.scan_id)
    for row in (0, 1):
        annotations.decide(findings, row, State.ACCEPTED, "ann")
    first = next(iter(annotations))
    annotations.edit(first.id, state=State.PENDING, comment="state: ann accepted, bob rejected")
    save_annotations(merged / "scan 2.lesions.json", annotations, scan_name="scan 2", scan_source="scan 2.nii.gz")
    cases.show_scans(root, entries)
    panel.view.asked.setCurrentIndex(panel.view.asked.findData(Asked.CONFLICTS))
    panel._show_folder(merged)
    read(panel, qtbot)
    panel.start_or_stop()
    assert at_hand(panel.session) == ("scan 2", 3)
    qtbot.wait(80)
    assert "bob rejected" in panel.view.at_hand.text()
    review.decide(panel.session, State.REJECTED)
    assert [item.fate for item in panel.queue.items] == [Fate.REJECTED]


def test_reading_can_be_cancelled_and_begun_again(
    panel: MiningPanel, cases: CasesPanel, root: Path, entries: list[ScanEntry], qtbot: QtBot
) -> None:
    cases.show_scans(root, entries)
    panel.view.cancel.click()
    qtbot.wait(80)
    assert panel.queue.counts.read < SCANS
    assert "then stopped" in panel.view.status.text()
    panel.view.again.click()
    read(panel, qtbot)
    assert panel.queue.counts.read == SCANS


def test_once_the_panel_is_gone_nothing_leads_any_more(mining: MiningPanel, qtbot: QtBot) -> None:
    mining.start_or_stop()
    session = mining.session
    mining.session.closed.emit()
    assert session.walk is None
    review.decide(session, State.ACCEPTED)
    assert session.case.counts.decided == 1
