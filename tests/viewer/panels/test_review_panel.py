from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QLabel, QShortcut

from napari_uld.ct import read_scan
from napari_uld.ct.dl_info import read_dl_info
from napari_uld.lesions.annotations import Annotation, Annotations
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.layers.surface_points import PointsPart
from napari_uld.viewer.panels import review as review_module
from napari_uld.viewer.panels.lesion_table import HEADERS
from napari_uld.viewer.panels.masks import MasksPanel
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.panels.shortcuts import QT_NAMES
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools.keys import KEYS

from ..conftest import drawn, hand, show


@pytest.fixture
def review(session: Session, qtbot: QtBot) -> ReviewPanel:
    panel = ReviewPanel(session.viewer)
    qtbot.addWidget(panel)
    return panel


def table(panel: ReviewPanel, column: str) -> list[str]:
    proxy = panel.sorted
    return [proxy.data(proxy.index(row, HEADERS.index(column))) for row in range(proxy.rowCount())]


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
