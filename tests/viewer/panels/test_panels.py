import os
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QDockWidget, QLabel, QShortcut

from napari_uld.ct import read_scan
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.ct.entries import ScanEntry
from napari_uld.errors import UldError, WorkerError
from napari_uld.inference.catalogue import CheckpointInfo, bundled_checkpoints
from napari_uld.lesions.annotations import Annotation, Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.masks import MaskKind
from napari_uld.progress import Work
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.parts import Part, find_layer
from napari_uld.viewer.layers.surface_points import PointsPart
from napari_uld.viewer.panels import review as review_module
from napari_uld.viewer.panels.checkpoints import CheckpointChoice
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.panels.lesion_table import HEADERS
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.panels.shortcuts import QT_NAMES
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools.keys import KEYS

from ..conftest import FakeDetector, drawn, hand, show


@pytest.fixture
def review(session: Session, qtbot: QtBot) -> ReviewPanel:
    panel = ReviewPanel(session.viewer)
    qtbot.addWidget(panel)
    return panel


def table(panel: ReviewPanel, column: str) -> list[str]:
    proxy = panel.sorted
    return [proxy.data(proxy.index(row, HEADERS.index(column))) for row in range(proxy.rowCount())]


# -- Review --


def test_a_panel_that_is_closed_on_its_own_hears_no_more(session: Session, qtbot: QtBot) -> None:
    panels = [ReviewPanel(session.viewer), MasksPanel(session.viewer)]
    for panel in panels:
        with qtbot.waitSignal(panel.destroyed):
            panel.deleteLater()
    session.case.add(2, (10.0, 10.0, 30.0, 30.0))
    assert session.save()


def test_the_review_is_no_wider_for_what_it_says(review: ReviewPanel) -> None:
    width = review.minimumSizeHint().width()
    review.title.setText("123 annotated, 100 of 312 detections decided " * 4)
    review.body.layout().activate()
    assert review.minimumSizeHint().width() == width


def test_the_table_shows_every_lesion_with_its_own_slice_number(review: ReviewPanel) -> None:
    assert table(review, "Slice") == ["12", "15", "15"]
    assert table(review, "State") == ["to decide", "expert", "to decide"]
    assert table(review, "Score") == ["0.70", "", "0.90"]
    assert table(review, "Type") == ["", "liver", ""]
    assert table(review, "mm") == ["≈ 5", "10", "≈ 11"]
    assert table(review, "Source") == ["fake", "expert", "fake"]
    assert "1 annotated, 0 of 2 detections decided" in review.title.text()


def test_a_column_is_sorted_by_its_numbers_and_next_follows_it(review: ReviewPanel, session: Session) -> None:
    review.table.sortByColumn(HEADERS.index("mm"), Qt.SortOrder.DescendingOrder)
    assert table(review, "mm") == ["≈ 11", "10", "≈ 5"]
    review.next.click()
    assert session.case.current.score == 0.9
    review.next.click()
    assert session.case.current.mark is Mark.EXPERT


def test_choosing_a_row_shows_its_slice(review: ReviewPanel, session: Session) -> None:
    review.table.selectRow(0)
    assert session.z == 7
    assert session.case.current.native == 12


def test_the_table_follows_the_lesion_at_hand(review: ReviewPanel, session: Session) -> None:
    session.jump(session.case.rows[2])
    assert review.table.currentIndex().row() == 2


def test_accepting_counts_marks_as_unsaved_and_saving_clears_it(review: ReviewPanel, session: Session) -> None:
    assert not review.save.isEnabled()
    review.table.selectRow(0)
    review.accept.click()
    assert "1 annotated, 1 of 2 detections decided" in review.title.text()
    assert "not saved" in review.title.text()
    # The next undecided lesion is at hand.
    assert session.case.current.score == 0.9
    review.save.click()
    assert "not saved" not in review.title.text()
    assert not review.save.isEnabled()


def test_undo_and_redo_go_all_the_way_and_grey_out_at_the_ends(review: ReviewPanel, session: Session) -> None:
    assert not review.undo.isEnabled()
    for _ in range(2):
        review.table.selectRow(0)
        review.reject.click()
        review.table.selectRow(0)
        review.accept.click()
    assert session.case.rows[0].mark is Mark.ACCEPTED
    for _ in range(4):
        review.undo.click()
    assert session.case.rows[0].mark is Mark.PENDING
    assert not review.undo.isEnabled()
    for _ in range(4):
        review.redo.click()
    assert session.case.rows[0].mark is Mark.ACCEPTED
    assert not review.redo.isEnabled()


def test_a_window_button_is_pressed_while_its_window_is_shown(review: ReviewPanel, session: Session) -> None:
    bone = next(button for button in review.windows.buttons() if button.text() == "Bone")
    bone.click()
    assert session.window == (-500.0, 1300.0)
    assert bone.isChecked()
    session.set_window("lung")
    assert not bone.isChecked()
    next(button for button in review.windows.buttons() if button.text() == "Series").click()
    assert session.window == (-100.0, 200.0)


def test_points_can_be_switched_off_where_a_detector_gives_some_and_are_not_offered_elsewhere(
    review: ReviewPanel, session: Session, findings: Findings
) -> None:
    box = review.marks[Kind.POINTS]
    assert box.isHidden()
    clouds = (None, np.array([[60.0, 70, 12], [80, 70, 12]]), None, None)
    session.case.set_findings(replace(findings, points=clouds))
    assert not box.isHidden()
    session.jump(session.case.row(findings.finding_id(1)))
    points = find_layer(session.viewer, session.case, PointsPart.REFINED)
    assert points is not None
    assert points.visible
    box.click()
    assert not points.visible


def test_what_is_marked_is_chosen_for_this_scan_and_the_next(
    review: ReviewPanel, session: Session, case: Case, expert: Annotation
) -> None:
    session.jump(case.row(expert.id))
    review.marks[Kind.LESIONS].click()
    assert {each.kind for each in drawn(session)} == {Kind.RECIST, Kind.DETECTIONS}
    review.marks["all labels"].click()
    session.open(Case(case.volume, Annotations("1.2.3", [expert]), case.path))
    session.jump(session.case.row(expert.id))
    assert {each.kind for each in drawn(session)} == {Kind.RECIST}
    assert session.marking.labels_all


def test_edit_box_selects_the_box_at_hand_on_its_key_slice(review: ReviewPanel, session: Session) -> None:
    review.table.selectRow(0)
    review.edit_box.click()
    layer = hand(session)
    assert session.viewer.layers.selection.active is layer
    assert layer.mode == "select"
    (chosen,) = layer.selected_data
    assert layer.data[chosen][0, 0] == 7


def test_every_key_is_in_the_help(review: ReviewPanel) -> None:
    texts = " ".join(label.text() for label in review.findChildren(QLabel))
    for key in KEYS:
        assert f"<b>{key.key}</b>" in texts
        assert key.title in texts


def test_the_keys_work_while_the_table_has_the_focus(review: ReviewPanel, session: Session) -> None:
    shortcuts = {shortcut.key().toString(): shortcut for shortcut in review.findChildren(QShortcut)}
    assert set(shortcuts) == {QT_NAMES.get(key.key, key.key) for key in KEYS}
    assert "" not in shortcuts, "Qt knows every key"
    review.table.selectRow(0)
    shortcuts["N"].activated.emit()
    assert session.case.rows[0].mark is Mark.REJECTED


def test_export_is_greyed_out_with_the_reason_for_a_scan_that_is_no_deeplesion_series(review: ReviewPanel) -> None:
    assert not review.export.isEnabled()
    assert "study is no DeepLesion series" in review.export.toolTip()


def test_the_open_deeplesion_series_is_exported_at_the_press_of_a_button(
    deeplesion: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    viewer = ViewerModel()
    panel = ReviewPanel(viewer)
    qtbot.addWidget(panel)
    case, _ = open_case(read_scan(deeplesion / "Images_png" / "000001_03_01"))
    show(viewer, case)
    case.add(2, (10.0, 20.0, 40.0, 60.0))
    asked = []
    table = deeplesion / "DL_info.csv"
    monkeypatch.setattr(review_module, "ask_export_path", lambda case: asked.append(case) or table)
    assert panel.export.isEnabled()
    panel.export.click()
    assert asked == [case]
    assert len(read_dl_info(table).by_series["000001_03_01"]) == 2


def test_without_a_scan_nothing_can_be_pressed(qtbot: QtBot) -> None:
    panel = ReviewPanel(ViewerModel())
    qtbot.addWidget(panel)
    assert panel.table.empty.startswith("Open a CT scan")
    buttons = (panel.accept, panel.reject, panel.undo, panel.save, panel.save_as, panel.next, panel.edit_box)
    assert not any(button.isEnabled() for button in buttons)


# -- Masks --


def test_choosing_a_kind_paints_it_and_shows_its_parameters_only(session: Session, qtbot: QtBot) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.jump(session.case.rows[1])
    soft = session.layer(Part.MASK).data[4].copy()
    panel.kind.value = MaskKind.GRABCUT
    assert set(session.layer(Part.MASK).data[4].ravel().tolist()) == {0, 255}
    assert not (session.layer(Part.MASK).data[4] == soft).all()
    shown = {name for name, widget in panel.fields.items() if not widget.native.isHidden()}
    assert shown == {"iterations", "margin"}


def test_masks_are_seen_where_somebody_wants_them_and_in_the_next_scan_too(
    session: Session, expert: Annotation, tmp_path: Path, qtbot: QtBot
) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.jump(session.case.rows[1])
    assert session.layer(Part.MASK).visible
    panel.visible.click()
    assert not session.layer(Part.MASK).visible
    volume = session.case.volume
    session.open(Case(volume, Annotations(volume.scan_id, [expert]), tmp_path / "other.lesions.json"))
    session.jump(session.case.rows[0])
    assert not session.layer(Part.MASK).visible
    assert not panel.visible.isChecked()
    panel.kind.value = MaskKind.ABM
    assert session.layer(Part.MASK).visible
    assert panel.visible.isChecked()


def test_a_parameter_changes_the_mask_at_once(session: Session, qtbot: QtBot) -> None:
    panel = MasksPanel(session.viewer)
    qtbot.addWidget(panel)
    session.jump(session.case.rows[1])
    panel.kind.value = MaskKind.ABM
    steep = session.layer(Part.MASK).data[4].copy()
    panel.fields["small"].value = 100_000
    assert session.layer(Part.MASK).data[4].astype(int).sum() > steep.astype(int).sum()


# -- Detect --


def run(panel: DetectPanel, qtbot: QtBot) -> None:
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)


def panel_of(session: Session, qtbot: QtBot, detector: FakeDetector) -> DetectPanel:
    panel = DetectPanel(session.viewer, detector)
    qtbot.addWidget(panel)
    return panel


@pytest.mark.usefixtures("tiny_checkpoint")
def test_running_shows_findings_and_takes_the_first_in_hand(session: Session, findings: Findings, qtbot: QtBot) -> None:
    session.case.remove_findings(findings.detector)
    detector = FakeDetector(findings)
    panel = panel_of(session, qtbot, detector)
    panel.device.value = "cpu"
    run(panel, qtbot)
    assert [call[0::2] for call in detector.calls] == [("study", "cpu")]
    assert session.case.current.mark is Mark.PENDING
    assert panel.status.text().startswith("2 of 3 detections of fake")
    assert panel.run_button.enabled
    assert not panel.cancel_button.enabled


def offer_phases(panel: DetectPanel, monkeypatch: pytest.MonkeyPatch, *phases: str) -> None:
    """Have the chosen checkpoint be of a detector that sees these phases."""
    recipe = {"method": {"name": "fake", "title": "Fake"}, "input": {"phases": phases}}
    info = CheckpointInfo(Path("fake"), "f00", recipe, {})
    monkeypatch.setattr(CheckpointChoice, "info", property(lambda _: info))


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_detector_of_phases_is_given_the_studys_whichever_is_shown(
    session: Session, findings: Findings, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, detector = session.case, FakeDetector(findings)
    own, other = (
        ScanEntry(name, "nifti", Path(name), 10, files=(Path(name),)) for name in ("study, portal", "arterial")
    )
    case.phases.offer(own, (other, own))
    arterial = replace(case.volume, hu=case.volume.hu + 50, name="arterial")
    case.phases.show(other, arterial)
    panel = panel_of(session, qtbot, detector)
    offer_phases(panel, monkeypatch, "portal", "arterial")
    run(panel, qtbot)
    (seen,) = detector.seen
    assert seen.scan_id == case.volume.scan_id
    assert [each.hu.max() for each in seen.phases] == [case.volume.hu.max(), arterial.hu.max()]
    assert findings.detector in case.findings


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_detector_of_phases_on_a_scan_by_itself_says_what_is_missing(
    session: Session, findings: Findings, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = panel_of(session, qtbot, FakeDetector(findings))
    offer_phases(panel, monkeypatch, "portal", "arterial")
    run(panel, qtbot)
    assert "sees 2 phases together (portal, arterial)" in panel.status.text()


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_slider_filters_what_is_drawn_while_it_moves(session: Session, findings: Findings, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeDetector(findings))
    run(panel, qtbot)
    counts = []
    session.show_native(15)
    for value in (0.05, 0.6, 0.95):
        panel.threshold.value = value
        counts.append(len(drawn(session, Kind.DETECTIONS)))
    assert counts == [2, 1, 0]


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_run_ends_at_the_surest_finding(session: Session, findings: Findings, qtbot: QtBot) -> None:
    session.case.remove_findings(findings.detector)
    panel = panel_of(session, qtbot, FakeDetector(findings))
    run(panel, qtbot)
    assert session.case.current.score == 0.9


@pytest.mark.usefixtures("tiny_checkpoint")
def test_findings_from_a_file_are_counted_too(session: Session, findings: Findings, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeDetector())
    session.case.set_findings(replace(findings, method="another"))
    assert panel.status.text() == "2 of 3 detections of another score at least 0.400"


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_slider_is_for_the_detector_that_is_chosen_and_its_findings_can_be_taken_away(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    second = replace(findings, method="second", checkpoint="abc", boxes=findings.boxes + 1, operating_point=0.8)
    panel = panel_of(session, qtbot, FakeDetector(second))
    run(panel, qtbot)
    assert panel.found.choices == (findings.detector, second.detector)
    assert (panel.found.value, panel.threshold.value) == (second.detector, 0.8)
    panel.found.value = findings.detector
    assert panel.threshold.value == 0.4
    assert panel.status.text() == "2 of 3 detections of fake score at least 0.400"
    panel.threshold.value = 0.05
    assert session.case.thresholds.of(second.detector, 0.8) == 0.8
    panel.remove.native.click()
    assert list(session.case.findings) == [second.detector]
    assert panel.found.value == second.detector
    panel.remove.native.click()
    assert not panel.remove.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_slider_goes_to_the_detectors_operating_point(session: Session, findings: Findings, qtbot: QtBot) -> None:
    session.case.remove_findings(findings.detector)
    panel = panel_of(session, qtbot, FakeDetector(replace(findings, operating_point=0.15)))
    assert panel.threshold.value == 0.4
    run(panel, qtbot)
    assert panel.threshold.value == 0.15
    assert panel.status.text().startswith("3 of 3 detections of fake score at least 0.150")


def test_before_a_run_the_slider_is_idle_where_the_findings_will_begin(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    session.case.remove_findings(findings.detector)
    panel = panel_of(session, qtbot, FakeDetector(findings))
    assert panel.threshold.value == pytest.approx(panel.checkpoints.info.operating_point, abs=0.001)
    assert not panel.threshold.enabled
    run(panel, qtbot)
    assert panel.threshold.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_buttons_swap_while_it_runs_and_cancelling_changes_nothing(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    before = [row.key for row in session.case.rows]
    panel = panel_of(session, qtbot, FakeDetector(findings, waits=True))
    panel.run_button.native.click()
    assert not panel.run_button.enabled
    assert panel.cancel_button.enabled
    panel.cancel_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.status.text() == "Cancelled; nothing changed."
    assert [row.key for row in session.case.rows] == before


@pytest.mark.usefixtures("tiny_checkpoint")
@pytest.mark.parametrize("error", [WorkerError("The detector's process ended (exit code -9)"), RuntimeError("boom")])
def test_a_crash_is_a_message_and_unsaved_edits_stay(
    session: Session, qtbot: QtBot, shown: list[Notification], error: Exception
) -> None:
    session.case.decide(session.case.rows[0].key, State.ACCEPTED)
    rows = list(session.case.annotations)
    panel = panel_of(session, qtbot, FakeDetector(error=error))
    run(panel, qtbot)
    assert str(error) in shown[-1].message
    assert list(session.case.annotations) == rows
    assert session.case.annotations.unsaved
    assert panel.run_button.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_what_is_found_in_a_scan_that_was_closed_meanwhile_is_not_shown_on_another(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    session.case.remove_findings(findings.detector)
    case = session.case
    detector = FakeDetector(findings, waits=True)
    panel = panel_of(session, qtbot, detector)
    panel.run_button.native.click()
    session.viewer.layers.remove(session.layer(Part.CT))
    detector.waits = False
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert not case.findings
    assert not panel.run_button.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_panel_that_is_closed_in_a_run_ends_the_run_and_its_process(session: Session, qtbot: QtBot) -> None:
    detector, deleted = FakeDetector(waits=True), []
    panel, dock = DetectPanel(session.viewer, detector), QDockWidget()
    qtbot.addWidget(dock)
    dock.setWidget(panel)
    panel.run()
    qtbot.waitUntil(lambda: bool(detector.calls))
    panel.destroyed.connect(lambda: deleted.append(True))
    panel.setParent(None)
    qtbot.waitUntil(lambda: bool(deleted))
    del panel
    qtbot.waitUntil(lambda: detector.closed)
    assert detector.cancelled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_cancel_from_before_the_process_knows_of_the_run_is_not_lost(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    cancelled = Event()

    class Slow(FakeDetector):
        def detect(self, *asked: object) -> Work[Findings]:
            assert cancelled.wait(5)
            return (yield from super().detect(*asked))

    panel = panel_of(session, qtbot, Slow(findings, waits=True))
    panel.run()
    panel.cancel()
    cancelled.set()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.status.text() == "Cancelled; nothing changed."


def test_choosing_a_checkpoint_reads_its_description_alone(
    session: Session, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: CheckpointInfo) -> None:
        pytest.fail("the whole file is read for its hash")

    monkeypatch.setattr(CheckpointInfo, "digest", property(refuse))
    panel = panel_of(session, qtbot, FakeDetector())
    panel.checkpoints.add(bundled_checkpoints()["uldor"])
    assert panel.checkpoints.info.name == "uldor"
    assert "looks at all its slices. ULDor" in panel.status.text()


def test_a_file_that_is_no_checkpoint_is_refused(session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    panel = panel_of(session, qtbot, FakeDetector())
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(os.urandom(64))
    with pytest.raises(UldError, match="damaged"):
        panel.checkpoints.add(damaged)
    assert str(damaged) not in panel.checkpoints.names.choices
