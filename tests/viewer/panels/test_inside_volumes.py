"""What the Look inside panel shows of a volumetric detector: centres on several slices and in 3D."""

import numpy as np
import pytest
from pytestqt.qtbot import QtBot

from napari_uld.inference.inside_result import HeatMap, Inside
from napari_uld.lesions.axis_map import AxisMap
from napari_uld.viewer.layers.inside import CENTRES, OBJECTNESS, Boxes, InsidePart, boxes_of
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session

from .looks import FakeLooker, anchors, inside, kinds_drawn, layer_of, look, panel_of

pytestmark = pytest.mark.usefixtures("tiny_checkpoint")

# Cells of four pixels and half a slice, from slice 2 on; the one at (x, y, z) = (5, 3, 4) is hot.
PEAK = 0.9


def volumetric(**changes: object) -> Inside:
    values = np.zeros((8, 24, 24), np.float32)
    values[4, 3, 5] = PEAK
    heat = HeatMap(values, AxisMap((0.0, 0.0, 2.0), (0.25, 0.25, 2.0)), range(2, 6))
    own: dict[str, object] = {
        "anchors": {},
        "objectness": None,
        "branch": None,
        "boxes": np.array([[14.0, 18, 2.5, 46, 42, 4.5], [50, 20, 3.5, 70, 34, 4.5]]),
        "scores": np.array([0.9, 0.3]),
        "centres": heat,
    }
    return inside(**(own | changes))


@pytest.fixture(autouse=True)
def on_the_slice(session: Session) -> None:
    """The slice that the stand-in looks at is shown."""
    session.show_slice(4)


def test_the_heat_map_lies_on_the_scan_as_its_cells_do(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(volumetric()))
    look(panel, qtbot)
    heat, ct = layer_of(session, InsidePart.MAP), session.layer(Part.CT)
    assert (panel.map.value, panel.map.choices) == (CENTRES, ("none", CENTRES))
    cell = np.array(np.unravel_index(heat.data.argmax(), heat.data.shape))
    # Its middle: half a slice a cell from the edge of slice 2 on, four pixels a cell.
    np.testing.assert_allclose(heat.data_to_world(cell), ct.data_to_world((3.75, 13.5, 21.5)))
    assert heat.axis_labels == ct.axis_labels
    assert heat.units == ct.units


def test_it_is_seen_on_its_slices_and_in_3d_and_nowhere_else(session: Session, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeLooker(volumetric()))
    look(panel, qtbot)
    seen = {}
    for z in range(1, 8):
        session.show_slice(z)
        seen[z] = layer_of(session, InsidePart.MAP).visible, layer_of(session, InsidePart.BOXES).visible
        assert ("Centres of lesions on slices 14 to 17" in panel.status.text()) == (z in range(2, 6))
    assert seen == {z: (z in range(2, 6),) * 2 for z in range(1, 8)}
    session.show_slice(4)
    session.viewer.dims.ndisplay = 3
    # Boxes on one slice after the other would be a block that hides what it is about.
    assert [layer_of(session, part).visible for part in (InsidePart.MAP, InsidePart.BOXES)] == [True, False]
    session.viewer.dims.ndisplay = 2
    assert all(layer_of(session, part).visible for part in InsidePart)
    session.viewer.dims.order = (1, 0, 2)
    assert not any(layer_of(session, part).visible for part in InsidePart)


def test_a_3d_box_is_drawn_on_every_slice_that_it_reaches(session: Session, qtbot: QtBot) -> None:
    found = volumetric()
    panel = panel_of(session, qtbot, FakeLooker(found))
    look(panel, qtbot)
    # From the review's threshold on one of the two is shown.
    assert boxes_of(session.case, found)[Boxes.DETECTIONS].tolist() == found.boxes[:1].tolist()
    assert kinds_drawn(session) == {Boxes.DETECTIONS}
    assert set(layer_of(session, InsidePart.BOXES).data[:, 0, 0]) == {3, 4}
    assert "1 of 2 drawn" in panel.status.text()
    assert "at most 0.90" in panel.status.text()


def test_a_look_at_a_slab_takes_its_place_and_lies_on_its_own_slice(session: Session, qtbot: QtBot) -> None:
    looker = FakeLooker(volumetric())
    panel = panel_of(session, qtbot, looker)
    look(panel, qtbot)
    looker.found = inside(anchors={"iou": anchors()})
    look(panel, qtbot)
    shown, ct = layer_of(session, InsidePart.MAP), session.layer(Part.CT)
    assert panel.map.value == OBJECTNESS
    np.testing.assert_allclose(shown.scale, ct.scale)
    np.testing.assert_allclose(shown.data_to_world((0, 7, 9)), ct.data_to_world((4, 7, 9)))
