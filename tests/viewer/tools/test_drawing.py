"""A RECIST drawn by hand, told by a mouse to a viewer without a window. Pixels of the scan are .5 mm."""

import pytest

from napari_uld.lesions.annotations import Annotation, Source, State
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.drawing import RecistDrawing
from napari_uld.viewer.tools.keys import KEYS
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import RECIST, drawn, hand
from .clicking import Clicker, sketched, written


@pytest.fixture
def tool(session: Session) -> RecistDrawing:
    """The tool, with the scan's slice 15 shown and nothing at hand, many pixels of the screen to a millimetre."""
    session.show_slice(4)
    session.case.select(None)
    session.viewer.scene.camera.zoom = 10.0
    return workbench_of(session.viewer).drawing


@pytest.fixture
def mouse(session: Session) -> Clicker:
    return Clicker(session)


def draw(session: Session, mouse: Clicker, *ends: tuple[float, float]) -> None:
    next(each for each in KEYS if each.key == "L").act(session)
    for end in ends:
        mouse.click(end)


def test_four_clicks_make_a_measured_lesion_its_short_diameter_at_a_right_angle(
    session: Session, tool: RecistDrawing, mouse: Clicker
) -> None:
    before = len(session.case.annotations)
    draw(session, mouse, (60, 20), (80, 20), (66, 15), (72, 25))
    row = session.case.current
    assert row.recist.long == ((60, 20), (80, 20))
    assert row.recist.short == ((66, 15), (66, 25))
    assert (row.native, row.box) == (15, row.recist.box())
    assert (row.annotation.source, row.annotation.state) == (Source.EXPERT, State.ACCEPTED)
    assert not tool.on
    assert session.viewer.layers.selection.active is hand(session)
    assert hand(session).mode == "direct"
    review.undo(session)
    assert len(session.case.annotations) == before


def test_the_lesion_at_hand_is_measured_where_its_box_is_drawn_over(
    session: Session, tool: RecistDrawing, mouse: Clicker, findings: Findings
) -> None:
    key = findings.finding_id(0)
    session.case.select(key)
    draw(session, mouse, (16, 60), (44, 60), (30, 50), (30, 70))
    assert session.case.current.key == key
    assert session.case.current.mark == "accepted"
    assert session.case.current.recist.long == ((16, 60), (44, 60))
    review.undo(session)
    assert session.case.row(key).annotation is None


def test_a_lesion_s_key_slice_becomes_the_one_that_it_is_measured_on(
    session: Session, tool: RecistDrawing, mouse: Clicker, findings: Findings
) -> None:
    key = findings.finding_id(1)
    session.case.select(key)
    session.show_native(13)
    draw(session, mouse, (62, 70), (78, 70), (70, 65), (70, 75))
    assert (session.case.current.key, session.case.current.native) == (key, 13)


@pytest.mark.parametrize("place", ["beside its box", "on another slice"])
def test_a_lesion_at_hand_that_lies_elsewhere_stays_as_it_is(
    session: Session, tool: RecistDrawing, mouse: Clicker, expert: Annotation, place: str
) -> None:
    session.case.select(expert.id)
    if place == "on another slice":
        session.show_slice(7)
        draw(session, mouse, (20, 30), (40, 30), (30, 25), (30, 35))
    else:
        draw(session, mouse, (60, 20), (80, 20), (66, 15), (66, 25))
    assert session.case.annotations[expert.id] == expert
    assert session.case.current.key != expert.id
    assert len(session.case.annotations) == 2


def test_the_line_follows_the_mouse_with_its_length_beside_it(
    session: Session, tool: RecistDrawing, mouse: Clicker
) -> None:
    layers = list(session.viewer.layers)
    draw(session, mouse, (60, 20))
    mouse.move((70, 20))
    assert [line.corners.tolist() for line in sketched(session)] == [[[4, 20, 60], [4, 20, 70]]]
    assert written(session) == ["5.0 mm"]
    mouse.move((80, 20))
    assert written(session) == ["10.0 mm"]
    mouse.click((80, 20))
    mouse.move((90, 40))
    assert written(session) == ["10.0 mm"], "between two diameters nothing follows"
    mouse.click((66, 15))
    mouse.move((70, 19))
    assert sketched(session)[1].corners.tolist() == [[4, 15, 66], [4, 19, 66]]
    assert written(session) == ["10.0 x 2.0 mm"]
    assert list(session.viewer.layers) == layers


def test_with_shift_the_short_diameter_is_free(session: Session, tool: RecistDrawing, mouse: Clicker) -> None:
    draw(session, mouse, (60, 20), (80, 20), (66, 15))
    mouse.click((70, 19), "Shift")
    assert session.case.current.recist.short == ((66, 15), (70, 19))


def test_diameters_are_swapped_where_the_second_is_longer(
    session: Session, tool: RecistDrawing, mouse: Clicker
) -> None:
    draw(session, mouse, (60, 20), (70, 20), (65, 10))
    mouse.move((65, 30))
    assert written(session) == ["10.0 x 5.0 mm"]
    mouse.click((65, 30))
    assert session.case.current.recist.long == ((65, 10), (65, 30))
    assert session.case.current.recist.short == ((60, 20), (70, 20))


def test_both_diameters_can_be_dragged(session: Session, tool: RecistDrawing, mouse: Clicker) -> None:
    draw(session, mouse)
    mouse.drag((60, 20), (80, 20))
    mouse.drag((66, 15), (69, 25))
    assert session.case.current.recist.points.tolist() == [[60, 20], [80, 20], [66, 15], [66, 25]]


def test_a_click_twice_on_one_place_is_no_diameter(session: Session, tool: RecistDrawing, mouse: Clicker) -> None:
    draw(session, mouse, (60, 20), (60, 20), (80, 20), (66, 15), (66, 15), (66, 25))
    assert session.case.current.recist.points.tolist() == [[60, 20], [80, 20], [66, 15], [66, 25]]


@pytest.mark.parametrize("clicks", range(4))
def test_esc_gives_up_at_any_point(session: Session, tool: RecistDrawing, mouse: Clicker, clicks: int) -> None:
    draw(session, mouse, *[(60, 20), (80, 20), (66, 15)][:clicks])
    mouse.move((70, 22))
    next(each for each in KEYS if each.key == "Escape").act(session)
    assert not tool.on
    assert sketched(session) == []
    assert not session.case.annotations.can_undo
    mouse.click((30, 30))
    assert session.case.current is not None, "clicks take lesions in hand again"


def test_a_slice_stays_while_something_is_half_drawn_and_what_is_turned_otherwise_is_given_up(
    session: Session, tool: RecistDrawing, mouse: Clicker
) -> None:
    def wheel() -> int:
        event = type("Wheel", (), {"delta": (0, 1), "modifiers": (), "handled": False, "position": (0, 0, 0)})()
        workbench_of(session.viewer).mouse.wheel(session.viewer, event)
        return session.z

    draw(session, mouse)
    assert wheel() == 5
    mouse.click((60, 20))
    assert wheel() == 5
    session.show_slice(6)
    assert sketched(session) == []
    assert tool.on
    assert wheel() == 7


def test_clicks_are_the_tool_s_alone_and_right_drags_the_window_s(
    session: Session, tool: RecistDrawing, mouse: Clicker, expert: Annotation
) -> None:
    window, centre = session.window, session.viewer.scene.camera.center
    draw(session, mouse, (30, 30))
    assert session.case.current is None, "the lesion under a click is not taken in hand"
    mouse.press((50, 50), button=2)
    mouse.move((70, 50))
    mouse.release((70, 50))
    assert session.window != window
    assert len(session.marking.sketch.lines) == 0
    assert session.viewer.scene.camera.center == centre
    assert session.viewer.scene.camera.mouse_pan


def test_what_is_measured_anew_is_drawn_in_place_of_its_old_diameters(
    session: Session, tool: RecistDrawing, mouse: Clicker, expert: Annotation
) -> None:
    session.case.select(expert.id)
    assert len(drawn(session, "RECIST")) == 2
    draw(session, mouse, (22, 26))
    mouse.move((38, 34))
    marks = session.layer(Part.MARKS)
    starts = {tuple(start) for start in marks.data[:, 0].round(1)}
    assert (4, 30, 20) not in starts
    review.put_down(session)
    assert session.case.row(expert.id).recist == RECIST


def test_another_lesion_in_hand_ends_drawing(
    session: Session, tool: RecistDrawing, mouse: Clicker, expert: Annotation
) -> None:
    draw(session, mouse, (60, 20))
    session.case.select(expert.id)
    review.edit_box(session)
    mouse.move((80, 20))
    assert not tool.on
    assert sketched(session) == []


def test_from_the_side_in_3d_while_a_scan_is_read_and_without_one_nothing_is_drawn(
    session: Session, tool: RecistDrawing, mouse: Clicker
) -> None:
    session.viewer.dims.order = (1, 0, 2)
    tool.start()
    assert not tool.on
    session.viewer.dims.order = (0, 1, 2)
    session.case.reading = (1, 2)
    tool.start()
    assert not tool.on
    session.case.reading = None
    tool.start()
    assert tool.on
    session.viewer.dims.ndisplay = 3
    assert not tool.on
    session.viewer.dims.ndisplay = 2
    tool.start()
    session.viewer.layers.remove(session.layer(Part.CT))
    assert not tool.on
    tool.start()
    assert not tool.on


def test_a_diameter_that_leaves_the_slice_is_not_kept_and_can_be_ended_again(
    session: Session, tool: RecistDrawing, mouse: Clicker
) -> None:
    # Across the long diameter the short one meets the slice's border before the mouse does.
    draw(session, mouse, (80, 5), (90, 15), (88, 3), (95, 0))
    assert tool.on
    assert not session.case.annotations.can_undo
    mouse.click((85, 6))
    assert session.case.current.recist.long == ((80, 5), (90, 15))
