"""Panels that are closed, in a real window."""

import gc
import weakref
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from napari import Viewer
from psygnal import Signal
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QApplication, QDockWidget

from napari_uld.viewer.panels.docking import BELOW, TABBED
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state import case_store
from napari_uld.viewer.state.case import Case

from ..conftest import show

TIMES = 2


def _heard(session: Session) -> Counter[str]:
    """How many hear of each of the session's signals and of what napari tells."""
    viewer, own = session.viewer, type(session)
    names = [name for name in dir(own) if isinstance(getattr(own, name), Signal)]
    heard = Counter({name: len(getattr(session, name)) for name in names})
    for part in (viewer, viewer.dims, viewer.layers, viewer.layers.selection, viewer.scene.camera):
        for name, emitter in part.events.emitters.items():
            heard[f"{type(part).__name__}.{name}"] = len(emitter.callbacks)
    return heard


def _kinds() -> Counter[str]:
    return Counter(type(widget).__name__ for widget in QApplication.allWidgets())


def test_panels_that_are_opened_and_closed_leave_nothing_behind(
    make_napari_viewer: Callable[..., Viewer],
    case: Case,
    tmp_path: Path,
    qtbot: QtBot,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(case_store, "data_folder", lambda: tmp_path / "data")
    viewer = make_napari_viewer(show=True)
    session = workbench_in_window(viewer).session
    show(viewer, case).arrange()
    gone = []

    def open_and_close(name: str) -> None:
        dock, panel = viewer.window.add_plugin_dock_widget("napari-uld", name)
        gone.append(weakref.ref(panel))
        deleted: list[str] = []
        panel.destroyed.connect(lambda: deleted.append("panel"))
        dock.destroyed.connect(lambda: deleted.append("dock"))
        qtbot.wait(20)
        dock.destroyOnClose()
        qtbot.waitUntil(lambda: set(deleted) == {"panel", "dock"})

    def count() -> tuple[Counter[str], Counter[str], list[str]]:
        gc.collect()
        return _kinds(), _heard(session), [layer.name for layer in viewer.layers]

    for name in (*TABBED, BELOW):
        # What comes with the first of a kind stays for the next: the views' canvases.
        open_and_close(name)
        before = count()
        for _ in range(TIMES):
            open_and_close(name)
        kinds, heard, layers = count()
        assert kinds - before[0] == Counter(), name
        assert heard - before[1] == Counter(), name
        assert layers == before[2], name
    assert [panel for panel in gone if panel() is not None] == []


def test_a_panel_stays_while_its_dock_floats_or_is_hidden(
    make_napari_viewer: Callable[..., Viewer], case: Case, qtbot: QtBot
) -> None:
    viewer = make_napari_viewer(show=True)
    session = workbench_in_window(viewer).session
    show(viewer, case)
    dock, panel = viewer.window.add_plugin_dock_widget("napari-uld", "Review")
    assert isinstance(dock, QDockWidget)
    dock.setFloating(True)
    qtbot.wait(20)
    dock.setFloating(False)
    dock.hide()
    dock.show()
    qtbot.wait(20)
    session.case.add(2, (10.0, 10.0, 30.0, 30.0))
    assert panel.sorted.rowCount() == len(session.case.rows)
    assert panel.isVisibleTo(dock)
    assert viewer.window.dock_widgets
    del dock, panel
