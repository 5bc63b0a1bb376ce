from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from napari_uld.lesions.annotations import Annotation
from napari_uld.lesions.findings import Findings
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import hand


def at(session: Session, z: float, y: float, x: float) -> tuple[float, ...]:
    """Where a voxel lies in the world."""
    return tuple(session.layer(Part.CT).data_to_world((z, y, x)))


def press(session: Session, position: tuple[float, ...], *, moves: bool = False, **event) -> None:
    """A press of the left button at a position, with or without a move, and its release."""
    told = SimpleNamespace(**{"position": position, "button": 1, "modifiers": (), "type": "mouse_press", **event})
    going = workbench_of(session.viewer).pointer.press(session.viewer, told)
    next(going, None)
    told.type = "mouse_move" if moves else "mouse_release"
    assert list(going) == []


def test_the_smallest_box_under_the_mouse_is_taken_in_hand(
    session: Session, expert: Annotation, findings: Findings
) -> None:
    # The expert's box, 15..45 by 19..41, lies in the detection's, which is too large to be the same lesion.
    boxes = findings.boxes.copy()
    boxes[0] = (12, 16, 76, 72)
    around = replace(findings, boxes=boxes, slice_boxes=({}, *findings.slice_boxes[1:]))
    session.case.set_findings(around)
    session.show_slice(4)
    session.case.select(None)
    press(session, at(session, 4, 30, 30))
    assert session.case.current.key == expert.id
    press(session, at(session, 4, 18.2, 30))
    assert session.case.current.key == around.finding_id(0)
    press(session, at(session, 4, 80, 80))
    assert session.case.current.key == around.finding_id(0), "beside lesions a click changes nothing"


@pytest.mark.parametrize("event", [{"moves": True}, {"button": 2}, {"modifiers": ("Shift",)}])
def test_a_drag_another_button_and_a_modifier_are_no_click(session: Session, event: dict) -> None:
    session.show_slice(4)
    session.case.select(None)
    press(session, at(session, 4, 30, 30), **event)
    assert session.case.current is None


def test_while_something_is_drawn_or_painted_a_click_takes_nothing_in_hand(
    session: Session, expert: Annotation
) -> None:
    session.jump(session.case.row(expert.id))
    review.draw_lesion(session)
    press(session, at(session, 4, 60, 30))
    assert session.case.current.key == expert.id
    assert hand(session).mode == "add_rectangle"
    workbench_of(session.viewer).brush.start()
    press(session, at(session, 4, 60, 30))
    assert session.case.current.key == expert.id


def test_what_is_pointed_at_is_labelled(session: Session) -> None:
    session.show_slice(4)
    session.case.select(None)
    pointer, labels = workbench_of(session.viewer).pointer, session.layer(Part.LABELS)
    pointer.move(session.viewer, SimpleNamespace(position=at(session, 4, 60, 30)))
    assert list(labels.features["label"]) == ["0.90"]
    pointer.move(session.viewer, SimpleNamespace(position=at(session, 4, 80, 80)))
    assert not labels.visible


def test_from_the_side_lesions_are_pointed_at_too(session: Session, findings: Findings) -> None:
    session.viewer.dims.order = (1, 0, 2)
    session.jump(session.case.row(findings.finding_id(1)))
    session.case.select(None)
    press(session, at(session, 7, 70, 65))
    assert session.case.current.key == findings.finding_id(1)


def test_without_a_scan_or_in_3d_nothing_happens(session: Session) -> None:
    session.viewer.dims.ndisplay = 3
    session.case.select(None)
    press(session, at(session, 4, 30, 30))
    assert session.case.current is None
    session.viewer.layers.remove(session.layer(Part.CT))
    press(session, (0.0, 0.0, 0.0))
    assert np.isfinite(session.viewer.scene.camera.zoom)
