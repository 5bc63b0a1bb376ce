"""Which panels stand where in napari's window."""

from collections.abc import Sequence
from pathlib import Path

from napari import current_viewer
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_uld.ct import ScanEntry
from napari_uld.viewer.state.settings import PLUGIN

REVIEW, CASES, MINING = "Review", "Cases", "Mining"
# Those that share a place beside the canvas, in the order of their tabs; the views stand below it.
TABBED = (REVIEW, "Detect", "Compare methods", "Masks", "Look inside", CASES, MINING)
BELOW = "Views"


def show_review(*, behind: bool = False) -> None:
    """Dock the Review panel in the window, unless it is there already; behind the panels that are there, or beside."""
    viewer = current_viewer()
    if viewer is not None and not any(name.startswith(REVIEW) for name in viewer.window.dock_widgets):
        viewer.window.add_plugin_dock_widget(PLUGIN, REVIEW, tabify=behind)


def show_cases(root: Path, scans: Sequence[ScanEntry]) -> None:
    """List scans that were found in a folder in the Cases panel, which is docked where it is not there yet."""
    viewer = current_viewer()
    if viewer is not None:
        # It gives the panel that is there, and brings it to the front.
        dock, panel = viewer.window.add_plugin_dock_widget(PLUGIN, CASES, tabify=True)
        panel.show_scans(root, scans)
        dock.raise_()


def list_folder(root: Path) -> None:
    """List the scans of a folder in the Cases panel, which is docked where it is not there yet."""
    viewer = current_viewer()
    if viewer is not None:
        viewer.window.add_plugin_dock_widget(PLUGIN, CASES, tabify=True)[1].show_folder(root)


def open_all_panels() -> None:
    """Dock all panels: one behind the other beside the canvas, the review in front, and the views below it.

    What is docked already stays where the person put it, and is shown where it was closed.
    """
    viewer = current_viewer()
    if viewer is None:
        return
    docks = [viewer.window.add_plugin_dock_widget(PLUGIN, name, tabify=True)[0] for name in TABBED]
    docks.append(viewer.window.add_plugin_dock_widget(PLUGIN, BELOW)[0])
    for dock in docks:
        dock.show()
    docks[0].raise_()


def take_place(panel: QWidget) -> None:
    """Have a panel that napari has just docked stand in a tab with the plugin's others, under its own name alone.

    From its menu napari docks one below the other, and gives what is there already next to no room. The review stands
    where it was put: beside the list of scans both are seen.
    """
    dock = panel.parentWidget()
    while dock is not None and not isinstance(dock, QDockWidget):
        dock = dock.parentWidget()
    window = None if dock is None else dock.parentWidget()
    if dock is None or not isinstance(window, QMainWindow):
        return
    # With its plugin's name behind it a tab has no room for either.
    dock.setWindowTitle(_name(dock))
    area = window.dockWidgetArea(dock)
    if _name(dock) == REVIEW or dock.isFloating() or window.tabifiedDockWidgets(dock):
        return
    for other in window.findChildren(QDockWidget):
        beside = other.isVisible() and not other.isFloating() and window.dockWidgetArea(other) == area
        if other is not dock and beside and _name(other) in TABBED:
            window.tabifyDockWidget(other, dock)
            dock.raise_()
            return


def _name(dock: QDockWidget) -> str:
    return dock.windowTitle().partition(" (")[0]
