"""The one way from a scan on disk into the window, whether it is dropped or chosen from a list."""

from collections.abc import Callable, Sequence
from pathlib import Path

from napari import current_viewer
from napari.utils.notifications import show_warning

from napari_uld.ct import ScanEntry, read_entry
from napari_uld.ct.volume import CTVolume
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.settings import PLUGIN

REVIEW, CASES = "Review", "Cases"


def open_entry(session: Session, entry: ScanEntry, read: Callable[[ScanEntry], CTVolume] = read_entry) -> None:
    """Open a scan in place of the one that is open.

    Parameters
    ----------
    read
        Gives the scan, which may have been read before.

    Raises
    ------
    UldError
        If it cannot be read, or its annotations cannot; then the one that was open stays.
    """
    case, notes = open_case(read(entry))
    case.entry, case.files = entry, frozenset(file.resolve() for file in entry.files)
    session.open(case)
    show_review()
    session.arrange()
    say_notes(case, notes)
    session.later(session.offer_restore)


def say_notes(case: Case, notes: Sequence[str]) -> None:
    """Tell a person what is to be known of a scan that was opened."""
    for note in notes:
        show_warning(f"{case.volume.name}: {note}")


def show_review() -> None:
    """Dock the Review panel in the window, unless it is there already."""
    viewer = current_viewer()
    if viewer is not None and not any(name.startswith(REVIEW) for name in viewer.window.dock_widgets):
        viewer.window.add_plugin_dock_widget(PLUGIN, REVIEW)


def show_cases(root: Path, scans: Sequence[ScanEntry]) -> None:
    """List scans that were found in a folder in the Cases panel, which is docked where it is not there yet."""
    viewer = current_viewer()
    if viewer is not None:
        # It gives the panel that is there, and brings it to the front.
        dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, CASES, tabify=True)
        panel.show_scans(root, scans)
        dock.raise_()
