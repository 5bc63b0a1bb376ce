from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QListWidget, QMessageBox, QPushButton

from napari_uld.ct.entries import ScanEntry
from napari_uld.viewer.panels.dialogs import EVERY_SCAN, ask_export_path, ask_save_path, ask_unsaved, choose_scan
from napari_uld.viewer.session import Answer
from napari_uld.viewer.state.case import Case

FOUND = tuple(ScanEntry(name, "dicom", Path("study"), 20) for name in ("arterial", "portal"))


@pytest.mark.parametrize(("button", "chosen"), [("accept", "portal"), ("reject", None)])
def test_the_chooser_gives_the_scan_that_was_picked(qtbot: QtBot, button: str, chosen: str | None) -> None:
    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        dialog.findChild(QListWidget).setCurrentRow(1)
        getattr(dialog, button)()

    QTimer.singleShot(50, answer)
    entry = choose_scan("study holds 2 scans.", FOUND)
    assert (entry and entry.name) == chosen


def test_the_chooser_lists_them_all_where_somebody_wants_more_than_one(qtbot: QtBot) -> None:
    def answer() -> None:
        buttons = QApplication.activeModalWidget().findChildren(QPushButton)
        next(button for button in buttons if button.text() == "Show all in Cases").click()

    QTimer.singleShot(50, answer)
    assert choose_scan("study holds 2 scans.", FOUND) is EVERY_SCAN


def test_scans_of_one_name_are_told_apart_by_their_folders(qtbot: QtBot) -> None:
    shown = []

    def look() -> None:
        dialog = QApplication.activeModalWidget()
        names = dialog.findChild(QListWidget)
        shown.extend(names.item(row).text().rstrip() for row in range(names.count()))
        dialog.reject()

    QTimer.singleShot(50, look)
    choose_scan("2 scans were dropped at once.", [ScanEntry("CT", "dicom", Path(folder), 20) for folder in "ab"])
    assert [text.split()[-1] for text in shown] == ["a", "b"]


@pytest.mark.parametrize(
    ("button", "answer"),
    [
        (QMessageBox.StandardButton.Save, Answer.SAVE),
        (QMessageBox.StandardButton.Discard, Answer.DISCARD),
        (QMessageBox.StandardButton.Cancel, Answer.KEEP_OPEN),
    ],
)
def test_unsaved_edits_can_be_saved_discarded_or_kept(
    qtbot: QtBot, case: Case, button: QMessageBox.StandardButton, answer: Answer
) -> None:
    QTimer.singleShot(50, lambda: QApplication.activeModalWidget().button(button).click())
    assert ask_unsaved(case) is answer


@pytest.mark.parametrize(
    ("typed", "path"),
    [("/data/a", "/data/a.lesions.json"), ("/data/a.json", "/data/a.lesions.json"), ("", None)],
)
def test_a_saved_file_always_has_the_suffix_that_opens_it_again(
    case: Case, monkeypatch: pytest.MonkeyPatch, typed: str, path: str | None
) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **options: (typed, ""))
    assert ask_save_path(case) == (None if path is None else Path(path))


@pytest.mark.parametrize("button", [QMessageBox.StandardButton.Yes, QMessageBox.StandardButton.No])
def test_a_name_that_was_completed_asks_before_it_replaces_a_file(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, qtbot: QtBot, button: QMessageBox.StandardButton
) -> None:
    there = tmp_path / "foo.lesions.json"
    there.write_text("somebody's")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (str(tmp_path / "foo"), ""))
    QTimer.singleShot(50, lambda: QApplication.activeModalWidget().button(button).click())
    assert ask_save_path(case) == (there if button is QMessageBox.StandardButton.Yes else None)


def test_the_suffix_of_an_exported_table_is_completed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **options: ("/data/mine", ""))
    assert ask_export_path(case) == Path("/data/mine.csv")
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args, **options: ("", ""))
    assert ask_export_path(case) is None
