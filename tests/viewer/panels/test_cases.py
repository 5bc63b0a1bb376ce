"""The Cases panel on a model of a viewer: lists, pictures, going from scan to scan."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event

import nibabel
import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.qt.threading import create_worker
from napari.settings import get_settings
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QObject, Qt, QThreadPool
from qtpy.QtGui import QImage
from qtpy.QtWidgets import QFileDialog

from napari_uld.ct import Filling, ScanEntry, find_scans, read_entry, read_gradually
from napari_uld.ct.filling import Reading
from napari_uld.ct.windows import to_uint8
from napari_uld.errors import ScanError
from napari_uld.viewer.layers.scan import DEFAULT_WINDOW
from napari_uld.viewer.panels import cases as cases_module
from napari_uld.viewer.panels import opening
from napari_uld.viewer.panels.cases import CasesPanel
from napari_uld.viewer.panels.dialogs import EVERY_SCAN
from napari_uld.viewer.panels.thumbnails import SIZE, Thumbnails, thumbnail_of
from napari_uld.viewer.plugin import reader
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.state import case_store
from napari_uld.viewer.state.case_store import CaseStore
from napari_uld.viewer.state.cases import Which
from napari_uld.viewer.tools import reading_ahead
from napari_uld.viewer.tools.workbench import workbench_of

NAMES = ["arterial", "late", "native", "portal"]
MakePanel = Callable[[], CasesPanel]


@pytest.fixture(autouse=True)
def _own_settings() -> Iterator[None]:
    plugins = get_settings().plugins
    before = plugins.extension2reader
    yield
    plugins.extension2reader = before


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Four small CTs as NIfTI."""
    root = tmp_path / "study"
    root.mkdir()
    for value, name in enumerate(NAMES):
        hu = np.full((40, 32, 6), -1000, np.int16)
        hu[8:32, 8:24] = 40 * value
        nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), root / f"{name}.nii.gz")
    return root


@pytest.fixture
def make_panel(viewer: ViewerModel, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch) -> MakePanel:
    """A panel as it is docked, with what an earlier one of the test left."""
    monkeypatch.setattr(cases_module, "COUNT_AFTER", 10)
    monkeypatch.setattr(cases_module, "READ_AFTER", 0)

    def make() -> CasesPanel:
        panel = CasesPanel(viewer, CaseStore(tmp_path / "cases.json"))
        qtbot.addWidget(panel)
        # What is drawn and ought to be read is what can be seen.
        panel.resize(360, 600)
        panel.show()
        return panel

    return make


@pytest.fixture
def panel(make_panel: MakePanel, root: Path, qtbot: QtBot) -> CasesPanel:
    """The panel with the folder listed."""
    panel = make_panel()
    list_in(panel, root, qtbot)
    return panel


def list_in(panel: CasesPanel, root: Path, qtbot: QtBot) -> None:
    panel.show_folder(root)
    qtbot.waitUntil(lambda: panel.cases is not None, timeout=5000)


def lines(panel: CasesPanel) -> list[list[str]]:
    """What stands beside each picture."""
    shown = panel.view.shown
    return [shown.data(shown.index(row, 0)).split("\n") for row in range(shown.rowCount())]


def open_name(session: Session) -> str | None:
    return None if session.case is None else session.case.volume.name


def turn(panel: CasesPanel, by: int, qtbot: QtBot) -> str | None:
    panel.turn_to(by)
    qtbot.wait(20)
    return open_name(panel.session)


def test_before_a_folder_is_chosen_the_panel_says_what_to_choose(make_panel: MakePanel) -> None:
    panel = make_panel()
    assert "Choose one with scans" in panel.view.list.empty
    assert not panel.view.next.isEnabled()
    assert not panel.view.unasked.isEnabled()


def test_every_scan_of_the_folder_is_listed_with_its_place_size_and_how_far_it_is(panel: CasesPanel) -> None:
    assert [scan.entry.name for scan in panel.cases.scans] == NAMES
    assert lines(panel)[0] == ["arterial", "40 x 32 x 6 voxels", "not opened yet"]
    assert panel.view.status.text() == "4 scans, 0 done"
    assert panel.view.folders.currentText().startswith("study")


def test_every_scan_gets_the_picture_of_its_middle_slice(panel: CasesPanel, qtbot: QtBot) -> None:
    def picture(at: int) -> QImage:
        return model.data(model.index(at, 0), Qt.ItemDataRole.DecorationRole).pixmap(SIZE).toImage()

    model = panel.view.model
    qtbot.waitUntil(lambda: len(model._pictures) == 4, timeout=5000)
    middles = [picture(at).pixelColor(SIZE // 2, SIZE // 2).red() for at in range(4)]
    # A screen may have fewer greys.
    assert middles == pytest.approx(to_uint8(np.array([0, 40, 80, 120]), DEFAULT_WINDOW).astype(int), abs=8)


def test_pictures_hold_up_nobody_who_asks_for_a_thread_later(qtbot: QtBot, root: Path) -> None:
    wait, parent = Event(), QObject()
    wait.set()
    busy = [Thumbnails(parent, wait.is_set) for _ in range(QThreadPool.globalInstance().maxThreadCount())]
    for thumbnails in busy:
        thumbnails.begin({"a": find_scans(root)[0]})
    came = []
    create_worker(lambda: "done", _connect={"returned": came.append})
    qtbot.waitUntil(lambda: came == ["done"], timeout=5000)
    for thumbnails in busy:
        thumbnails.end()
    wait.clear()
    qtbot.waitUntil(lambda: QThreadPool.globalInstance().activeThreadCount() == 0, timeout=5000)


def test_a_picture_keeps_the_patient_s_proportions_and_the_scan_s_window(root: Path) -> None:
    entry = find_scans(root / "portal.nii.gz")[0]
    picture = thumbnail_of(entry)
    assert picture.shape == (round(SIZE * 32 / 40), SIZE)
    assert picture[0, 0] == 0
    assert picture[picture.shape[0] // 2, SIZE // 2] == to_uint8(np.array([120]), DEFAULT_WINDOW)[0]


def test_a_scan_that_cannot_be_read_is_listed_as_such(panel: CasesPanel, root: Path, qtbot: QtBot) -> None:
    model = panel.view.model
    qtbot.waitUntil(lambda: len(model._pictures) == 4, timeout=5000)
    scans = find_scans(root)
    file = root / "late.nii.gz"
    file.write_bytes(file.read_bytes()[:-30])
    panel.show_scans(root, scans)
    qtbot.waitUntil(lambda: lines(panel)[1][-1] == "cannot be read", timeout=5000)
    assert "late.nii.gz" in model.data(model.index(1, 0), Qt.ItemDataRole.ToolTipRole)


def test_next_and_previous_go_through_the_list_and_stop_at_its_ends(
    panel: CasesPanel, qtbot: QtBot, shown: list[Notification]
) -> None:
    assert [turn(panel, 1, qtbot) for _ in range(4)] == NAMES
    assert not panel.view.next.isEnabled()
    assert turn(panel, 1, qtbot) == "portal"
    assert "last scan" in shown[-1].message
    assert turn(panel, -1, qtbot) == "native"


def test_keys_turn_to_the_next_scan_from_the_canvas_too(panel: CasesPanel, viewer: ViewerModel, qtbot: QtBot) -> None:
    bound = {str(key): act for key, act in viewer.keymap.items()}
    bound["PageDown"](viewer)
    bound["PageDown"](viewer)
    bound["PageUp"](viewer)
    assert open_name(panel.session) == "arterial"


def test_the_open_scan_is_marked_wherever_it_was_opened_from(panel: CasesPanel, root: Path, qtbot: QtBot) -> None:
    (entry,) = find_scans(root / "native.nii.gz")
    cases_module.open_entry(panel.session, entry)
    assert [line[-1] for line in lines(panel)] == ["not opened yet", "not opened yet", "open", "not opened yet"]
    assert turn(panel, 1, qtbot) == "portal"


@pytest.mark.parametrize("how", ["double click", "Return"])
def test_a_double_click_or_enter_opens_the_scan(panel: CasesPanel, qtbot: QtBot, how: str) -> None:
    view = panel.view.list
    index = panel.view.shown.index(2, 0)
    view.setCurrentIndex(index)
    if how == "Return":
        qtbot.keyClick(view, Qt.Key.Key_Return)
    else:
        view.scrollTo(index)
        qtbot.mouseClick(view.viewport(), Qt.MouseButton.LeftButton, pos=view.visualRect(index).center())
        qtbot.mouseDClick(view.viewport(), Qt.MouseButton.LeftButton, pos=view.visualRect(index).center())
    assert open_name(panel.session) == "native"


def test_unsaved_edits_are_asked_about_and_keep_the_scan_where_that_is_wanted(panel: CasesPanel, qtbot: QtBot) -> None:
    turn(panel, 1, qtbot)
    session = panel.session
    session.saves_itself = lambda: False
    session.ask_unsaved = lambda case: Answer.KEEP_OPEN
    session.case.add(2, (10.0, 10.0, 20.0, 20.0))
    assert turn(panel, 1, qtbot) == "arterial"
    session.ask_unsaved = lambda case: Answer.DISCARD
    assert turn(panel, 1, qtbot) == "late"


def test_a_scan_that_cannot_be_opened_is_said_the_open_one_stays_and_next_passes_it(
    panel: CasesPanel, root: Path, qtbot: QtBot, shown: list[Notification]
) -> None:
    turn(panel, 1, qtbot)
    file = root / "late.nii.gz"
    file.write_bytes(file.read_bytes()[:-30])
    assert turn(panel, 1, qtbot) == "arterial"
    assert "late.nii.gz" in shown[-1].message
    assert turn(panel, 1, qtbot) == "native"


def test_next_passes_a_scan_that_turned_out_damaged_while_it_was_shown(
    panel: CasesPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch, shown: list[Notification]
) -> None:
    def read(entry: ScanEntry) -> Reading:
        if entry.name != "late":
            return (yield from read_gradually(entry))
        yield Filling(0, 2, read_entry(entry))
        yield Filling(1, 2, read_entry(entry))
        raise ScanError("late is damaged")

    for module in (opening, reading_ahead):
        monkeypatch.setattr(module, "read_gradually", read)
    monkeypatch.setattr(opening, "AT_ONCE", 0.0)
    monkeypatch.setattr(opening, "OFTEN", 0.0)
    turn(panel, 1, qtbot)
    assert turn(panel, 1, qtbot) == "arterial"
    assert shown[-1].message == "The scan cannot be opened: late is damaged"
    assert turn(panel, 1, qtbot) == "native"


def test_the_next_scan_is_read_ahead_in_the_direction_that_is_taken(
    panel: CasesPanel, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_now = []
    read = opening.read_gradually
    monkeypatch.setattr(opening, "read_gradually", lambda entry: (read_now.append(entry.name), read(entry))[1])
    assert [turn(panel, by, qtbot) for by in (1, 1, 1, -1, -1)] == ["arterial", "late", "native", "late", "arterial"]
    # The first, and the one on the way back.
    assert read_now == ["arterial", "late"]


def test_how_far_the_open_scan_is_is_shown_and_survives_a_restart(
    panel: CasesPanel, make_panel: MakePanel, qtbot: QtBot
) -> None:
    turn(panel, 1, qtbot)
    panel.session.case.add(2, (10.0, 10.0, 20.0, 20.0))
    qtbot.waitUntil(lambda: lines(panel)[0][-2:] == ["1 annotated", "open"], timeout=5000)
    panel.session.saves_itself = lambda: False
    again = make_panel()
    qtbot.waitUntil(lambda: again.cases is not None, timeout=5000)
    assert lines(again)[0][-2:] == ["1 annotated", "open"]
    assert again.view.folders.itemText(0).startswith("study")


def test_after_a_restart_next_opens_the_scan_that_was_open(
    panel: CasesPanel, make_panel: MakePanel, viewer: ViewerModel, qtbot: QtBot
) -> None:
    turn(panel, 1, qtbot)
    turn(panel, 1, qtbot)
    viewer.layers.clear()
    again = make_panel()
    qtbot.waitUntil(lambda: again.cases is not None, timeout=5000)
    assert again.view.at == 1
    assert turn(again, 1, qtbot) == "late"


def test_done_scans_leave_the_list_of_what_is_to_do_and_next_goes_on_from_there(
    panel: CasesPanel, qtbot: QtBot
) -> None:
    view = panel.view
    view.which.setCurrentIndex(list(Which).index(Which.TO_DO))
    turn(panel, 1, qtbot)
    turn(panel, 1, qtbot)
    view.done.click()
    assert [line[0] for line in lines(panel)] == ["arterial", "native", "portal"]
    assert turn(panel, 1, qtbot) == "native"
    view.which.setCurrentIndex(list(Which).index(Which.DONE))
    assert [line[0] for line in lines(panel)] == ["late"]
    view.go_to(1)
    assert view.done.text() == "To do again"
    view.done.click()
    assert lines(panel) == []


def test_words_filter_the_list(panel: CasesPanel) -> None:
    panel.view.words.setText("AR 40")
    assert [line[0] for line in lines(panel)] == ["arterial"]
    assert "clear the filter" in panel.view.list.empty
    panel.view.words.clear()
    assert len(lines(panel)) == 4


def test_a_folder_without_scans_says_why(panel: CasesPanel, tmp_path: Path, qtbot: QtBot) -> None:
    (tmp_path / "empty").mkdir()
    panel.show_folder(tmp_path / "empty")
    qtbot.waitUntil(lambda: "is empty" in panel.view.status.text(), timeout=5000)
    assert lines(panel) == []
    assert not panel.view.next.isEnabled()


def test_a_folder_that_was_chosen_opens_without_napari_s_question_until_that_is_taken_back(
    panel: CasesPanel, root: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not panel.view.unasked.isChecked()
    monkeypatch.setattr(QFileDialog, "getExistingDirectory", lambda *_: str(root))
    panel.view.choose.click()
    qtbot.waitUntil(lambda: panel.cases is not None, timeout=5000)
    assert panel.view.unasked.isChecked()
    assert set(get_settings().plugins.extension2reader.values()) == {"napari-uld"}
    panel.view.unasked.click()
    assert get_settings().plugins.extension2reader == {}


def test_a_closed_window_reads_and_makes_nothing_more(panel: CasesPanel, qtbot: QtBot) -> None:
    turn(panel, 1, qtbot)
    panel.session.closed.emit()
    assert panel.cases is None
    assert not panel.ahead.busy
    panel.session.turn_to(1)
    assert open_name(panel.session) == "arterial"


def test_a_panel_that_is_closed_on_its_own_hears_no_more(
    viewer: ViewerModel, root: Path, tmp_path: Path, qtbot: QtBot
) -> None:
    panel = CasesPanel(viewer, CaseStore(tmp_path / "cases.json"))
    list_in(panel, root, qtbot)
    turn(panel, 1, qtbot)
    session = panel.session
    with qtbot.waitSignal(panel.destroyed):
        panel.deleteLater()
    session.case.add(2, (10.0, 10.0, 20.0, 20.0))
    session.turn_to(1)
    assert open_name(session) == "arterial"


def test_the_panel_fits_a_narrow_dock(panel: CasesPanel) -> None:
    assert panel.body.minimumSizeHint().width() <= 340


def test_a_dropped_folder_of_several_scans_is_listed_in_the_window_and_gone_through(
    make_napari_viewer: Callable[..., Viewer], root: Path, tmp_path: Path, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(case_store, "data_folder", lambda: tmp_path / "data")
    monkeypatch.setattr(reader, "choose_scan", lambda said, scans: EVERY_SCAN)
    viewer = make_napari_viewer()
    viewer.open(root, plugin="napari-uld")
    session = workbench_of(viewer).session
    assert any(name.startswith("Cases") for name in viewer.window.dock_widgets)
    assert session.case is None
    session.turn_to(1)
    qtbot.wait(300)
    session.turn_to(1)
    assert open_name(session) == "late"
    # Dropped again, it is shown in the panel that is there.
    viewer.open(root, plugin="napari-uld")
    assert sum(name.startswith("Cases") for name in viewer.window.dock_widgets) == 1
    assert open_name(session) == "late"
    session.turn_to(1)
    assert open_name(session) == "native"
    assert (tmp_path / "data" / "cases.json").exists()
