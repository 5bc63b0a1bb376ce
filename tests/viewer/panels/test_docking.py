"""Where the panels stand in napari's window."""

from collections.abc import Callable

import pytest
from napari import Viewer
from npe2 import PluginManager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt

from napari_uld.viewer.panels.docking import BELOW, TABBED
from napari_uld.viewer.panels.window import main_window


@pytest.mark.window
def test_one_command_opens_all_panels_in_tabs_the_review_in_front_and_the_views_below(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.add_plugin_dock_widget("napari-uld", "Detect")[0].close()
    commands = PluginManager.instance().commands
    commands.execute("napari-uld.open_all_panels")
    qtbot.wait(50)
    docks = viewer.window._wrapped_dock_widgets
    review, *others, below = (docks[f"{name} (napari-uld)"] for name in (*TABBED, BELOW))
    window = main_window(viewer)
    assert set(window.tabifiedDockWidgets(review)) == set(others)
    assert not review.visibleRegion().isEmpty()
    assert all(dock.visibleRegion().isEmpty() for dock in others)
    assert window.dockWidgetArea(below) == Qt.DockWidgetArea.BottomDockWidgetArea
    # Again: nothing twice.
    commands.execute("napari-uld.open_all_panels")
    assert len(viewer.window.dock_widgets) == len(TABBED) + 1


def test_a_viewer_without_a_window_is_in_none(viewer: Viewer) -> None:
    assert main_window(viewer) is None
