"""The views in a real window."""

from collections.abc import Callable

import numpy as np
import pytest
from napari import Viewer
from napari.qt import QtViewer
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QMainWindow, QWidget

from napari_uld.viewer.layers.directions import UPRIGHT
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.views import ViewsPanel
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools import cine

from ..conftest import show

# Of water in the study's window.
GREY = 85


@pytest.fixture
def viewer(make_napari_viewer: Callable[..., Viewer], case: Case) -> Viewer:
    """The case, open in a window."""
    viewer = make_napari_viewer(show=True)
    workbench_in_window(viewer)
    show(viewer, case).arrange()
    return viewer


def _wait_for_room(canvas: QWidget, qtbot: QtBot) -> None:
    qtbot.waitUntil(lambda: canvas.width() > 50 and canvas.height() > 50, timeout=20000)


def session_of(viewer: Viewer) -> Session:
    return workbench_in_window(viewer).session


def test_in_3d_nobody_is_mirrored(viewer: Viewer, case: Case) -> None:
    """Seen from the front, the patient's left is on the right of the picture and the head at its top."""
    case.volume.hu[:] = -1000
    # To the left, at the head, in front.
    case.volume.hu[7:9, 8:16, 76:84] = 3000
    ct = session_of(viewer).layer(Part.CT)
    for layer in viewer.layers:
        layer.visible = layer is ct
    ct.refresh()
    towards = {"back": (0, 1, 0), "up": (1, 0, 0)}
    for order in UPRIGHT:
        viewer.dims.ndisplay = 2
        viewer.dims.order = order
        viewer.dims.ndisplay = 3
        viewer.canvas.overlays.text.visible = viewer.canvas.overlays.scale_bar.visible = False
        viewer.reset_view()
        viewer.scene.camera.set_view_direction(*(tuple(np.array(towards[way])[list(order)]) for way in ("back", "up")))
        picture = viewer.screenshot(canvas_only=True, flash=False)[..., :3].max(axis=2)
        rows, columns = np.nonzero(picture > 200)
        height, width = picture.shape
        assert len(rows), order
        assert rows.mean() < height / 2, order
        assert columns.mean() > width / 2, order


def test_the_views_open_below_are_worked_with_and_leave_nothing_behind(
    viewer: Viewer, case: Case, qtbot: QtBot
) -> None:
    session, canvases = session_of(viewer), len(QtViewer._instances)
    layers = list(viewer.layers)
    dock, panel = viewer.window.add_plugin_dock_widget("napari-uld", "Views")
    assert isinstance(panel, ViewsPanel)
    window = panel.window()
    qtbot.waitUntil(panel.isVisible, timeout=20000)
    assert isinstance(window, QMainWindow)
    assert window.dockWidgetArea(dock) == Qt.DockWidgetArea.BottomDockWidgetArea
    canvas = panel.splitter.widget(0).canvas.native
    _wait_for_room(canvas, qtbot)

    session.show_voxel({0: 2, 1: 20, 2: 20})
    qtbot.mouseClick(canvas, Qt.MouseButton.LeftButton, pos=QPoint(canvas.width() // 2, canvas.height() // 2))
    qtbot.waitUntil(lambda: session.voxel != (2, 20, 20), timeout=5000)
    assert session.voxel[1] == 20
    qtbot.keyClick(window.focusWidget(), Qt.Key.Key_9)
    assert session.window == session.windows["mediastinum"]

    dock.destroyOnClose()
    linked = panel.linked
    del dock, panel, canvas
    qtbot.wait(50)
    session.show_voxel({0: 3, 1: 40, 2: 40})
    session.set_window("lung")
    session.open(case)
    qtbot.wait(50)
    assert list(viewer.layers) == layers
    assert not any(layer.visible for view in linked.views for layer in view.layers)
    assert all(view.layers[0].data.base is None for view in linked.views), "hold a scan that nobody sees"
    assert len(QtViewer._instances) == canvases + 2


def test_views_that_are_opened_again_show_the_scan_on_the_same_canvases(
    viewer: Viewer, case: Case, qtbot: QtBot
) -> None:
    session, canvases = session_of(viewer), len(QtViewer._instances)

    def open_and_close() -> None:
        dock, panel = viewer.window.add_plugin_dock_widget("napari-uld", "Views")
        canvas = panel.splitter.widget(0)
        qtbot.waitUntil(panel.isVisible, timeout=20000)
        _wait_for_room(canvas.canvas.native, qtbot)
        # The body, a grey that no letter is.
        qtbot.waitUntil(lambda: np.isclose(canvas.screenshot(flash=False)[..., 0], GREY, atol=5).mean() > 0.02)
        dock.destroyOnClose()
        qtbot.wait(50)

    open_and_close()
    session.show_voxel({1: 70})
    open_and_close()
    assert len(QtViewer._instances) == canvases + 2


def test_cine_plays_until_a_key_is_pressed(viewer: Viewer, qtbot: QtBot) -> None:
    session = session_of(viewer)
    session.cine_rate = lambda: 50.0
    cine.toggle(session)
    seen = set()

    def played() -> bool:
        seen.add(session.z)
        return len(seen) > 3

    qtbot.waitUntil(played, timeout=20000)
    other = QWidget()
    qtbot.addWidget(other)
    qtbot.keyClick(other, Qt.Key.Key_Shift)
    qtbot.wait(100)
    z = session.z
    qtbot.wait(200)
    assert session.z == z
