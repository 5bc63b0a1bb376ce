"""The tools under a real mouse in a real window: what is followed while a button is down, and what is one edit."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from napari import Viewer
from napari.layers import Layer
from pytestqt.qtbot import QtBot

from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.rle import decode
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.tool import ToolName
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import RECIST, hand, show

Voxel = tuple[float, float, float]


class Mouse:
    """A mouse over napari's canvas; it is sent to a layer's voxels (z, y, x)."""

    def __init__(self, viewer: Viewer, qtbot: QtBot) -> None:
        self._viewer, self._qtbot = viewer, qtbot
        self._canvas = viewer.window._qt_viewer.canvas._scene_canvas
        self._press: Any = None

    def move(self, layer: Layer, voxel: Voxel) -> None:
        down = self._press is not None
        self._canvas.events.mouse_move(
            pos=self._at(layer, voxel),
            button=1 if down else None,
            buttons=[1] if down else [],
            modifiers=(),
            press_event=self._press,
        )
        self._qtbot.wait(20)  # napari skips moves that follow each other too closely

    def press(self, layer: Layer, voxel: Voxel) -> None:
        position = self._at(layer, voxel)
        self._press = self._canvas.events.mouse_press(pos=position, button=1, buttons=[1], modifiers=())

    def release(self, layer: Layer, voxel: Voxel) -> None:
        position, press, self._press = self._at(layer, voxel), self._press, None
        self._canvas.events.mouse_release(pos=position, button=1, buttons=[], modifiers=(), press_event=press)

    def _at(self, layer: Layer, voxel: Sequence[float]) -> tuple[int, int]:
        camera, size = self._viewer.scene.camera, np.array(self._canvas.size[::-1])
        shift = np.subtract(layer.data_to_world(voxel)[1:], camera.center[-2:])
        down, right = np.rint(size / 2 + shift * camera.zoom).astype(int)
        return int(right), int(down)


@pytest.fixture
def laid_out(make_napari_viewer: type[Viewer], case: Case, qtbot: QtBot) -> Session:
    """The case in a real window whose canvas has its size."""
    session = show(make_napari_viewer(show=True), case)
    qtbot.wait(200)
    session.fit_body()
    qtbot.wait(200)
    return session


def test_a_drag_is_followed_while_it_lasts_a_stroke_saved_when_it_ends_and_each_is_one_edit(
    laid_out: Session, case: Case, expert: Annotation, qtbot: QtBot
) -> None:
    session, mouse = laid_out, Mouse(laid_out.viewer, qtbot)
    brush, comparison = workbench_of(session.viewer).brush, workbench_of(session.viewer).comparison
    case.select(expert.id)
    comparison.start()
    edits: list[str] = []
    case.edited.connect(lambda edit: edits.append(edit.action))

    # The masks follow an end of the long diameter.
    lines = hand(session)
    areas = [comparison.result.ellipse.sum()]
    mouse.move(lines, (4, 30, 20))
    mouse.press(lines, (4, 30, 20))
    for x in (18, 15, 12):
        mouse.move(lines, (4, 30, x))
        areas.append(comparison.result.ellipse.sum())
    assert areas == sorted(set(areas))
    assert edits == []
    mouse.release(lines, (4, 30, 12))
    assert edits == ["measure"]
    assert case.current.recist.long[0] == pytest.approx((12, 30), abs=1)
    review.undo(session)
    assert case.current.recist == RECIST
    assert comparison.result.ellipse.sum() == areas[0]

    # The brush takes the comparison's place.
    brush.start()
    assert not comparison.on
    edits.clear()
    canvas = brush.layer
    mouse.press(canvas, (0, 60, 60))
    for x in (64, 68):
        mouse.move(canvas, (0, 60, x))
    assert edits == []
    mouse.release(canvas, (0, 60, 68))
    assert edits == ["paint mask"]
    assert decode(case.annotations[expert.id].mask)[60, 60:69].all()
    review.undo(session)
    assert case.annotations[expert.id].mask is None
    assert not canvas.data[0, 60, 60:69].any()


def test_a_right_drag_sets_the_window_and_neither_zooms_nor_draws(laid_out: Session, case: Case, qtbot: QtBot) -> None:
    session, viewer = laid_out, laid_out.viewer
    review.draw_lesion(session)
    canvas = viewer.window._qt_viewer.canvas._scene_canvas
    zoom, centre, window, rows = viewer.scene.camera.zoom, viewer.scene.camera.center, session.window, len(case.rows)
    middle = np.array(canvas.size) // 2
    press = canvas.events.mouse_press(pos=tuple(middle), button=2, buttons=[2], modifiers=())
    for right in (20, 40):
        at = tuple(middle + (right, 0))
        canvas.events.mouse_move(pos=at, button=2, buttons=[2], modifiers=(), press_event=press)
        qtbot.wait(20)
    canvas.events.mouse_release(pos=at, button=2, buttons=[], modifiers=(), press_event=press)
    assert session.window[1] - session.window[0] > window[1] - window[0]
    assert (viewer.scene.camera.zoom, viewer.scene.camera.center) == (zoom, centre)
    assert len(case.rows) == rows
    assert hand(session).mode == "add_rectangle"

    z = session.z
    native = type("Wheel", (), {"inverted": lambda self: False})()
    canvas.events.mouse_wheel(pos=tuple(middle), delta=(0, -1), modifiers=(), native=native)
    qtbot.wait(20)
    assert session.z == z - 1
    assert viewer.scene.camera.zoom == zoom


def test_a_finding_that_is_dragged_becomes_a_lesion_and_no_other_finding_is_taken_in_hand(
    laid_out: Session, case: Case, findings: Findings, qtbot: QtBot
) -> None:
    session, mouse = laid_out, Mouse(laid_out.viewer, qtbot)
    workbench_in_window(session.viewer)
    case.threshold = 0.0
    case.set_findings(findings)
    boxes = hand(session)
    for key in [row.key for row in case.rows if row.annotation is None]:
        session.jump(case.row(key))
        review.edit_box(session)
        x1, y1, x2, y2 = case.row(key).box
        z, y, x = session.z, (y1 + y2) / 2, (x1 + x2) / 2
        mouse.move(boxes, (z, y, x))
        mouse.press(boxes, (z, y, x))
        for by in (2, 4, 6):
            mouse.move(boxes, (z, y + by, x))
        mouse.release(boxes, (z, y + by, x))
        qtbot.wait(10)  # it is redrawn once napari has done with it
        assert case.row(key).annotation is not None
        assert case.row(key).box == pytest.approx((x1, y1 + 6, x2, y2 + 6), abs=1)
        assert case.current is not None
        assert case.current.key == key


def test_a_recist_is_drawn_by_clicks_and_corrected_by_a_drag_and_nothing_else_moves(
    laid_out: Session, case: Case, qtbot: QtBot
) -> None:
    session, mouse, ct = laid_out, Mouse(laid_out.viewer, qtbot), laid_out.layer(Part.CT)
    layers, camera = list(session.viewer.layers), session.viewer.scene.camera
    session.show_slice(6)
    before = (camera.center, camera.zoom)
    session.tool_wanted.emit(ToolName.RECIST)
    for y, x in ((30, 20), (30, 60), (20, 40), (45, 50)):
        mouse.move(ct, (6, y, x))
        mouse.press(ct, (6, y, x))
        mouse.release(ct, (6, y, x))
    points = case.current.recist.points
    np.testing.assert_allclose(points, [[20, 30], [60, 30], [40, 20], [40, 45]], atol=0.6)
    assert case.current.native == 13

    lines = hand(session)
    mouse.move(lines, (6, *points[3, ::-1]))
    mouse.press(lines, (6, *points[3, ::-1]))
    for x, y in ((45, 42), (50, 38)):
        mouse.move(lines, (6, y, x))
    mouse.release(lines, (6, y, x))
    np.testing.assert_allclose(case.current.recist.points[2:], [[40, 20], [40, 38]], atol=0.6)
    assert (camera.center, camera.zoom) == before
    assert list(session.viewer.layers) == layers
    # What is in hand is napari's again: its line is dragged, not the camera.
    assert (session.viewer.layers.selection.active, lines.mode, camera.mouse_pan) == (lines, "direct", lines.mouse_pan)
    # A window with unsaved edits does not close.
    assert session.save()


def test_back_from_3d_the_slice_is_the_one_that_was_left(laid_out: Session, qtbot: QtBot) -> None:
    laid_out.show_slice(7)
    for displayed in (3, 2):
        laid_out.viewer.dims.ndisplay = displayed
        qtbot.wait(300)
    assert laid_out.z == 7
