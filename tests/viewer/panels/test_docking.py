"""Where the panels stand in napari's window."""

from collections.abc import Callable, Iterator

import pytest
from napari import Viewer
from npe2 import PluginManager
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QAction
from qtpy.QtWidgets import QMenu, QMenuBar, QTabBar

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


def _actions(menu: QMenu | QMenuBar) -> Iterator[QAction]:
    for action in menu.actions():
        if action.menu() is not None:
            action.menu().aboutToShow.emit()
            yield from _actions(action.menu())
        yield action


@pytest.mark.window
def test_a_panel_from_the_menu_stands_in_a_tab_with_the_review_and_is_the_one_that_all_panels_have(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window.add_plugin_dock_widget("napari-uld", "Review")
    qtbot.wait(50)
    window = main_window(viewer)
    next(act for act in _actions(window.menuBar()) if act.text() == "Masks (napari-uld)").trigger()
    docks = viewer.window._wrapped_dock_widgets
    review, masks = docks["Review (napari-uld)"], docks["Masks (napari-uld)"]
    qtbot.waitUntil(lambda: window.tabifiedDockWidgets(review) == [masks])
    assert not masks.visibleRegion().isEmpty()
    (tabs,) = (bar for bar in window.findChildren(QTabBar) if bar.count() == 2)
    assert {tabs.tabText(0), tabs.tabText(1)} == {"Review", "Masks"}
    PluginManager.instance().commands.execute("napari-uld.open_all_panels")
    assert len(viewer.window.dock_widgets) == len(TABBED) + 1


def test_a_viewer_without_a_window_is_in_none(viewer: Viewer) -> None:
    assert main_window(viewer) is None
