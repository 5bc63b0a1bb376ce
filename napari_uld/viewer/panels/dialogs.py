"""The few questions that are asked in windows of their own."""

from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import Final

from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QInputDialog,
    QLabel,
    QListWidget,
    QMessageBox,
    QPushButton,
    QVBoxLayout,
)

from napari_uld.ct import ScanEntry
from napari_uld.ct.deeplesion import CSV_NAME
from napari_uld.lesions.annotation_file import SUFFIX
from napari_uld.viewer.session import Answer
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import annotation_file_name, dl_info_table


class Every(Enum):
    """What a person answers who wants several scans, one after the other."""

    SCAN = "every scan"


EVERY_SCAN: Final = Every.SCAN
# Neither of a dialog's own two results.
_EVERY = 2


def choose_scan(said: str, scans: Sequence[ScanEntry]) -> ScanEntry | Every | None:
    """Ask which of several scans to open, or to list them all; None where nobody wants one.

    Parameters
    ----------
    said
        Where they come from.
    scans
        What there is.
    """
    dialog = QDialog()
    dialog.setWindowTitle("Choose a scan")
    names = QListWidget()
    alike = len({entry.name for entry in scans}) < len(scans)
    for entry in scans:
        where = f"   {entry.path}" if alike else ""
        names.addItem(f"{entry.name}   {entry.slices} slices   {entry.note}{where}")
    names.setCurrentRow(0)
    names.itemDoubleClicked.connect(dialog.accept)
    buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Open | QDialogButtonBox.StandardButton.Cancel)
    every = QPushButton("Show all in Cases")
    buttons.addButton(every, QDialogButtonBox.ButtonRole.ActionRole)
    every.setToolTip("List them with thumbnails, to go through one after the other")
    every.clicked.connect(lambda: dialog.done(_EVERY))
    buttons.accepted.connect(dialog.accept)
    buttons.rejected.connect(dialog.reject)
    layout = QVBoxLayout(dialog)
    layout.addWidget(QLabel(f"{said} One is open at a time."))
    layout.addWidget(names)
    layout.addWidget(buttons)
    dialog.resize(520, 320)
    answer = dialog.exec()
    if answer == _EVERY:
        return EVERY_SCAN
    return scans[names.currentRow()] if answer else None


def ask_unsaved(case: Case) -> Answer:
    """Ask what to do with unsaved edits."""
    button = QMessageBox.StandardButton
    answer = QMessageBox.question(
        None,
        "Unsaved lesions",
        f"The lesions of {case.volume.name} have edits that are not saved yet. Save them?",
        button.Save | button.Discard | button.Cancel,
        button.Save,
    )
    return {button.Save: Answer.SAVE, button.Discard: Answer.DISCARD}.get(answer, Answer.KEEP_OPEN)


def ask_restore(case: Case) -> bool | None:
    """Ask whether to bring back what was decided and never saved; None where nobody answers."""
    button = QMessageBox.StandardButton
    count = len(case.unsaved)
    answer = QMessageBox.question(
        None,
        "Unsaved decisions",
        f"When {case.volume.name} was open last, {count} lesion{'s were' if count != 1 else ' was'} changed and not "
        "saved: the program ended before. Bring that back? Each change can be undone.",
        button.Yes | button.No | button.Cancel,
        button.Yes,
    )
    return {button.Yes: True, button.No: False}.get(answer)


def ask_comment(written: str) -> str | None:
    """Ask for a line about the chosen lesions, beginning with what was written; None where nobody wants one."""
    text, agreed = QInputDialog.getText(None, "Comment", "Comment:", text=written)
    return text if agreed else None


def ask_save_path(case: Case) -> Path | None:
    """Ask for a file to save the annotations in, or None where nobody wants one."""
    chosen, _ = QFileDialog.getSaveFileName(
        None, "Save lesions as", str(Path.home() / case.path.name), f"Lesions (*{SUFFIX})"
    )
    if not chosen:
        return None
    path = annotation_file_name(chosen)
    # The file dialog asked about the name as it was typed.
    if str(path) != chosen and path.exists() and not _may_replace(path):
        return None
    return path


def ask_export_path(case: Case) -> Path | None:
    """Ask for the DL_info.csv to write the open series' lesions into, or None where nobody wants that."""
    chosen, _ = QFileDialog.getSaveFileName(
        None,
        "Write lesions into DL_info.csv",
        str(dl_info_table(case.volume) or Path.home() / CSV_NAME),
        "DeepLesion's table (*.csv)",
        # A table that is there is not replaced: only the series' own rows are.
        options=QFileDialog.Option.DontConfirmOverwrite,
    )
    return Path(chosen if chosen.endswith(".csv") else f"{chosen}.csv") if chosen else None


def _may_replace(path: Path) -> bool:
    button = QMessageBox.StandardButton
    answer = QMessageBox.question(
        None, "Replace the file?", f"{path} is there already. Replace it?", button.Yes | button.No, button.No
    )
    return answer == button.Yes
