"""Ends of diameters dragged, told by a mouse to a viewer without a window. Pixels of the scan are .5 mm."""

import numpy as np
import pytest

from napari_uld.lesions.annotations import Annotation
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review

from ..conftest import RECIST, drag, hand, take_in_hand
from .clicking import Clicker, sketched, written


@pytest.fixture
def mouse(session: Session, expert: Annotation) -> Clicker:
    """A mouse, the expert's diameters in hand: from (20, 30) to (40, 30) and from (30, 24) to (30, 36)."""
    session.viewer.scene.camera.zoom = 10.0
    take_in_hand(session, expert.id, Hold.RECIST)
    return Clicker(session)


def measured(session: Session, expert: Annotation) -> np.ndarray:
    return session.case.row(expert.id).recist.points


def test_the_short_diameter_turns_with_the_long_one_and_the_label_follows(
    session: Session, mouse: Clicker, expert: Annotation
) -> None:
    mouse.press((40, 30))
    mouse.move((35, 35))
    assert written(session) == ["7.9 x 6.0 mm"]
    mouse.move((20, 50))
    assert written(session) == ["10.0 x 6.0 mm"]
    np.testing.assert_allclose(hand(session).data[1], [[4, 40, 26], [4, 40, 14]], atol=1e-6)
    assert not session.case.annotations.can_undo
    mouse.release((20, 50))
    np.testing.assert_allclose(measured(session, expert), [[20, 30], [20, 50], [26, 40], [14, 40]])
    assert sketched(session) == []
    assert (session.viewer.layers.selection.active, hand(session).mode) == (hand(session), "direct")
    review.undo(session)
    assert session.case.row(expert.id).recist == RECIST


def test_an_end_of_the_short_diameter_moves_at_a_right_angle_unless_shift_is_held(
    session: Session, mouse: Clicker, expert: Annotation
) -> None:
    mouse.drag((30, 36), (35, 34))
    assert measured(session, expert)[2:].tolist() == [[30, 24], [30, 34]]
    mouse.drag((30, 34), (35, 35), "Shift")
    assert measured(session, expert)[2:].tolist() == [[30, 24], [35, 35]]


def test_they_are_swapped_when_the_short_one_is_dragged_longer(
    session: Session, mouse: Clicker, expert: Annotation
) -> None:
    mouse.press((30, 36))
    mouse.move((30, 48))
    assert written(session) == ["12.0 x 10.0 mm"]
    mouse.release((30, 48))
    assert measured(session, expert).tolist() == [[30, 24], [30, 48], [20, 30], [40, 30]]


def test_so_are_lines_that_napari_moved(session: Session, mouse: Clicker, expert: Annotation) -> None:
    lines = hand(session)
    lines.data = [(lines.data[0], "line"), (lines.data[1] * [1, 2, 1], "line")]
    assert measured(session, expert)[:2].tolist() == [[30, 48], [30, 72]]
    drag(lines, 0, (0, 1))
    assert session.case.annotations.can_undo


def test_a_press_beside_the_ends_is_napari_s(session: Session, mouse: Clicker, expert: Annotation) -> None:
    mouse.drag((25, 30), (25, 40))
    assert not session.case.annotations.can_undo
    assert sketched(session) == []


def test_a_press_that_moves_nothing_is_no_edit(session: Session, mouse: Clicker) -> None:
    mouse.press((40, 30))
    mouse.release((40, 30))
    assert not session.case.annotations.can_undo
    assert hand(session).mode == "direct"


def test_what_would_leave_the_slice_goes_back(session: Session, mouse: Clicker, expert: Annotation) -> None:
    mouse.drag((20, 30), (-30, 30))
    long_points = measured(session, expert)
    assert long_points[0, 0] == -0.5, "an end stops at the border"
    review.undo(session)
    # The long diameter at the border takes the short one beyond it.
    mouse.drag((20, 30), (0, 0))
    mouse.drag((40, 30), (60, 0))
    assert session.case.row(expert.id).recist.points.min() >= -0.5
    np.testing.assert_allclose(hand(session).data[0][:, :0:-1], measured(session, expert)[:2], atol=1e-3)
