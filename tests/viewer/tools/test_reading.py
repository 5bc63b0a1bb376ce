from collections.abc import Callable
from types import SimpleNamespace

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_uld.ct.windows import WINDOWS
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import hand

Turn = Callable[..., SimpleNamespace]


@pytest.fixture
def turn(session: Session) -> Turn:
    """Turn the wheel over the canvas, as napari tells the viewer of it."""

    def turned(notches: float, *modifiers: str, at: tuple[float, ...] = (0.0, 20.0, 30.0)) -> SimpleNamespace:
        native = SimpleNamespace(inverted=lambda: False)
        event = SimpleNamespace(
            delta=(0.0, notches), modifiers=modifiers, handled=False, position=at, native=native, type="mouse_wheel"
        )
        for act in list(session.viewer.mouse_wheel_callbacks):
            act(session.viewer, event)
        return event

    return turned


def test_the_wheel_turned_down_goes_one_slice_towards_the_feet(session: Session, turn: Turn) -> None:
    session.show_slice(5)
    zoom = session.viewer.scene.camera.zoom
    assert turn(-1).handled
    assert session.z == 4
    turn(1)
    turn(3)
    assert session.z == 6
    assert session.viewer.scene.camera.zoom == zoom


def test_the_parts_of_a_notch_that_a_touchpad_gives_add_up(session: Session, turn: Turn) -> None:
    session.show_slice(5)
    for _ in range(3):
        turn(-0.25)
    assert session.z == 5
    turn(-0.25)
    assert session.z == 4


def test_the_wheel_stops_at_the_ends_of_the_scan(session: Session, turn: Turn) -> None:
    for _ in range(30):
        turn(1)
    assert session.z == session.case.volume.shape[0] - 1


@pytest.mark.parametrize("order", [(1, 0, 2), (2, 0, 1)])
def test_in_other_views_the_wheel_turns_their_slices(session: Session, turn: Turn, order: tuple[int, ...]) -> None:
    session.viewer.dims.order = order
    before = list(session.viewer.dims.current_step)
    turn(-1)
    after = list(session.viewer.dims.current_step)
    assert [axis for axis in range(3) if before[axis] != after[axis]] == [order[0]]


def test_ctrl_and_wheel_zoom_about_what_is_pointed_at_and_turn_no_slice(session: Session, turn: Turn) -> None:
    camera = session.viewer.scene.camera
    camera.center, camera.zoom = (0.0, 10.0, 10.0), 2.0
    z, at = session.z, np.array([20.0, 30.0])
    on_screen = (at - camera.center[-2:]) * camera.zoom
    turn(1, "Control", at=(0.0, *at))
    assert session.z == z
    assert camera.zoom == pytest.approx(2.3)
    np.testing.assert_allclose((at - camera.center[-2:]) * camera.zoom, on_screen)


def test_where_it_is_set_so_the_wheel_is_naparis(session: Session, turn: Turn) -> None:
    session.wheel_turns_slices = lambda: False
    session.show_slice(5)
    assert not turn(-1).handled
    assert session.z == 5
    turn(-1, "Control")
    assert session.z != 5


def test_without_a_scan_and_in_3d_the_wheel_is_naparis(session: Session, turn: Turn) -> None:
    session.viewer.dims.ndisplay = 3
    assert not turn(-1).handled
    other = ViewerModel()
    workbench_of(other)
    event = SimpleNamespace(delta=(0, 1), modifiers=(), handled=False, position=(0, 0))
    for act in list(other.mouse_wheel_callbacks):
        act(other, event)
    assert not event.handled


def drag(session: Session, moves: list[tuple[float, float]], button: int = 2) -> list[str]:
    """Press, move and let go; gives the mode of the layer in hand while the button is down."""
    event = SimpleNamespace(button=button, modifiers=(), pos=(0.0, 0.0), type="mouse_press", handled=False)
    going = workbench_of(session.viewer).mouse.drag(session.viewer, event)
    modes = []
    for _ in going:
        modes.append(str(session.viewer.layers.selection.active.mode))
        if moves:
            event.type, event.pos = "mouse_move", moves.pop(0)
        else:
            event.type = "mouse_release"
    return modes


def test_a_right_drag_widens_the_window_to_the_right_and_raises_it_downwards(session: Session) -> None:
    ct = session.layer(Part.CT)
    ct.contrast_limits = (-100.0, 400.0)
    drag(session, [(25.0, 0.0), (50.0, 10.0)])
    # Two HU a pixel: 500 over 250 pixels. 100 wider about a level that is 20 higher.
    assert tuple(ct.contrast_limits) == (-130.0, 470.0)


def test_a_window_is_never_turned_inside_out(session: Session) -> None:
    ct = session.layer(Part.CT)
    drag(session, [(-5000.0, 0.0)])
    low, high = ct.contrast_limits
    assert high - low == pytest.approx(1.0)


@pytest.mark.parametrize("button", [1, 2])
def test_while_a_button_is_down_the_wheel_turns_nothing_and_afterwards_it_does(
    session: Session, turn: Turn, button: int
) -> None:
    session.show_slice(5)
    event = SimpleNamespace(button=button, modifiers=(), pos=(0.0, 0.0), type="mouse_press", handled=False)
    going = workbench_of(session.viewer).mouse.drag(session.viewer, event)
    next(going)
    assert turn(-1).handled
    assert session.z == 5
    event.type = "mouse_release"
    assert list(going) == []
    turn(-1)
    assert session.z == 4


def test_a_right_drag_whose_release_never_came_leaves_everything_as_it_was(session: Session) -> None:
    review.draw_lesion(session)
    pans = session.viewer.scene.camera.mouse_pan
    event = SimpleNamespace(button=2, modifiers=(), pos=(0.0, 0.0), type="mouse_press", handled=False)
    going = workbench_of(session.viewer).mouse.drag(session.viewer, event)
    next(going)
    going.close()
    assert session.viewer.scene.camera.mouse_pan == pans
    assert hand(session).mode == "add_rectangle"


def test_a_right_drag_draws_nothing_and_leaves_what_was_in_hand(session: Session) -> None:
    review.draw_lesion(session)
    lesions = hand(session)
    rows, pans = len(session.case.rows), session.viewer.scene.camera.mouse_pan
    assert set(drag(session, [(5.0, 5.0)])) == {"pan_zoom"}
    assert lesions.mode == "add_rectangle"
    assert len(session.case.rows) == rows
    assert session.viewer.scene.camera.mouse_pan == pans


def test_other_buttons_are_naparis(session: Session) -> None:
    before = session.window
    review.draw_lesion(session)
    assert set(drag(session, [(50.0, 50.0)], button=1)) == {"add_rectangle"}
    assert session.window == before


def test_the_slider_spans_the_scan_and_every_window(session: Session) -> None:
    low, high = session.layer(Part.CT).contrast_limits_range
    hu = session.case.volume.hu
    assert low <= min(hu.min(), *(window[0] for window in WINDOWS.values()))
    assert high >= max(hu.max(), *(window[1] for window in WINDOWS.values()))
