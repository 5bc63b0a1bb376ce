from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QApplication, QFileDialog, QListWidget, QMessageBox

from napari_uld.ct.entries import FoundScans, ScanEntry
from napari_uld.viewer.case import Case
from napari_uld.viewer.dialogs import ask_save_path, ask_unsaved, choose_scan
from napari_uld.viewer.session import Answer

FOUND = FoundScans(tuple(ScanEntry(name, "dicom", Path("study"), 20) for name in ("arterial", "portal")))


@pytest.mark.parametrize(("button", "chosen"), [("accept", "portal"), ("reject", None)])
def test_the_chooser_gives_the_scan_that_was_picked(qtbot: QtBot, button: str, chosen: str | None) -> None:
    def answer() -> None:
        dialog = QApplication.activeModalWidget()
        dialog.findChild(QListWidget).setCurrentRow(1)
        getattr(dialog, button)()

    QTimer.singleShot(50, answer)
    assert choose_scan(Path("study"), FOUND) == chosen


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
    monkeypatch.setattr(QFileDialog, "getSaveFileName", lambda *args: (typed, ""))
    assert ask_save_path(case) == (None if path is None else Path(path))
