"""Distances and regions on any slice. Voxels of the scan are 5 x .5 x .5 mm, blocks of 80 HU lie in water."""

import pytest

from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.ruler import Ruler
from napari_uld.viewer.tools.tool import ToolName
from napari_uld.viewer.tools.workbench import workbench_of

from .clicking import Clicker, sketched, written


@pytest.fixture
def ruler(session: Session) -> Ruler:
    session.show_slice(4)
    session.case.select(None)
    session.viewer.scene.camera.zoom = 10.0
    return workbench_of(session.viewer).ruler


@pytest.fixture
def mouse(session: Session) -> Clicker:
    return Clicker(session)


def test_a_distance_follows_the_mouse_and_stays_until_it_is_put_down(
    session: Session, ruler: Ruler, mouse: Clicker
) -> None:
    layers = list(session.viewer.layers)
    ruler.start(ToolName.DISTANCE)
    mouse.click((60, 20))
    mouse.move((64, 23))
    assert (written(session), ruler.text) == (["2.5 mm"], "Distance 2.5 mm")
    mouse.click((68, 26))
    mouse.move((90, 90))
    assert (written(session), ruler.text) == (["5.0 mm"], "Distance 5.0 mm")
    mouse.drag((60, 40), (80, 40))
    assert written(session) == ["5.0 mm", "10.0 mm"]
    assert list(session.viewer.layers) == layers
    review.put_down(session)
    assert (ruler.on, ruler.text, sketched(session), written(session)) == (False, "", [], [])
    assert not session.case.annotations.can_undo


def test_from_the_side_a_distance_is_in_millimetres_too(session: Session, ruler: Ruler, mouse: Clicker) -> None:
    session.viewer.dims.order = (1, 0, 2)
    session.show_voxel({1: 30})
    ruler.start(ToolName.DISTANCE)
    mouse.drag((2, 30, 20), (5, 30, 60))
    assert ruler.text == "Distance 25.0 mm"
    mouse.drag((2, 30, 20), (2, 30, 40))
    session.viewer.dims.order = (0, 1, 2)
    session.show_slice(2)
    assert written(session) == ["10.0 mm"], "what lies on the slice that is shown is drawn there"


def test_a_rectangle_says_its_grey_values_while_it_is_dragged(session: Session, ruler: Ruler, mouse: Clicker) -> None:
    ruler.start(ToolName.RECTANGLE)
    mouse.press((20, 24))
    mouse.move((23, 27))
    assert ruler.text == "Rectangle: mean 80.0, SD 0.0, min 80, max 80 HU, area 4.0 mm²"
    assert written(session) == ["80 ± 0 HU\n80 to 80 HU\n4.0 mm²"]
    # As many rows of water above the block as rows of the block.
    mouse.move((23, 21))
    mouse.release((23, 21))
    assert ruler.text.startswith("Rectangle: mean 20.0, SD 34.6, min 0, max 80 HU")
    assert sketched(session)[0].corners[:, 1].tolist() == [21, 21, 24, 24]


def test_an_ellipse_leaves_the_corners_out(session: Session, ruler: Ruler, mouse: Clicker) -> None:
    ruler.start(ToolName.ELLIPSE)
    # Half axes of 1.2 pixels about (30, 30): five pixels of .25 mm^2.
    mouse.drag((28.8, 28.8), (31.2, 31.2))
    assert ruler.text.endswith("area 1.2 mm²")
    assert len(sketched(session)[0].corners) > 30


def test_what_is_measured_stays_on_its_slice_and_the_wheel_turns_on(
    session: Session, ruler: Ruler, mouse: Clicker
) -> None:
    ruler.start(ToolName.DISTANCE)
    mouse.drag((60, 20), (80, 20))
    assert not session.marking.sketch.unfinished
    session.show_slice(5)
    assert sketched(session) == []
    session.show_slice(4)
    assert len(sketched(session)) == 1
    mouse.press((60, 20))
    assert session.marking.sketch.unfinished


def test_another_kind_keeps_what_was_measured(session: Session, ruler: Ruler, mouse: Clicker) -> None:
    ruler.start(ToolName.DISTANCE)
    mouse.drag((60, 20), (80, 20))
    ruler.start(ToolName.ELLIPSE)
    assert written(session) == ["10.0 mm"]


def test_it_goes_with_the_scan_and_with_3d(session: Session, ruler: Ruler, mouse: Clicker) -> None:
    ruler.start(ToolName.DISTANCE)
    mouse.drag((60, 20), (80, 20))
    session.viewer.dims.ndisplay = 3
    assert not ruler.on
    ruler.start(ToolName.DISTANCE)
    assert not ruler.on
    session.viewer.dims.ndisplay = 2
    ruler.start(ToolName.DISTANCE)
    session.viewer.layers.remove(session.layer(Part.CT))
    assert (ruler.on, ruler.text) == (False, "")


def test_marks_that_a_person_hid_are_seen_again_to_draw_among_them(session: Session, ruler: Ruler) -> None:
    session.layer(Part.MARKS).visible = False
    ruler.start(ToolName.DISTANCE)
    Clicker(session).drag((60, 20), (80, 20))
    assert session.layer(Part.MARKS).visible
