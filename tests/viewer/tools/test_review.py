"""Going through the lesions: the next one, a decision, taking it back, correcting a box, drawing what is missing."""

from collections.abc import Callable
from functools import partial

import pytest
from napari.components import ViewerModel
from napari.utils.notifications import Notification

from napari_uld.lesions.annotations import State
from napari_uld.viewer.layers import marking
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import hand


def test_the_next_and_the_previous_lesion_are_shown_on_their_key_slices(session: Session) -> None:
    review.step(session, 1)
    assert (session.case.current, session.z) == (session.case.rows[0], 7)
    review.step(session, 1)
    assert (session.case.current, session.z) == (session.case.rows[1], 4)
    review.step(session, -1)
    assert session.z == 7


def test_a_decision_goes_on_to_the_next_undecided_lesion(session: Session) -> None:
    review.step(session, 1)
    decided = session.case.current.key
    review.decide(session, State.REJECTED)
    assert session.case.row(decided).mark is Mark.REJECTED
    assert session.case.current.mark is Mark.PENDING


@pytest.mark.parametrize("act", [partial(review.step, by=1), partial(review.decide, state=State.REJECTED), review.undo])
def test_an_act_is_drawn_once_though_it_changes_slice_and_lesions(
    session: Session, monkeypatch: pytest.MonkeyPatch, act: Callable[[Session], None]
) -> None:
    review.step(session, 1)
    review.decide(session, State.ACCEPTED)
    drawn, draw = [], marking.drawn_on
    monkeypatch.setattr(marking, "drawn_on", lambda *about, **given: drawn.append(about) or draw(*about, **given))
    act(session)
    assert len(drawn) == 1
    assert [each.key for each in session.marking.drawn] == [each.key for each in draw(session.case, session.plane)]


def test_an_edit_that_is_taken_back_or_done_again_is_shown_where_it_was(session: Session) -> None:
    review.step(session, 1)
    review.decide(session, State.ACCEPTED)
    session.show_slice(0)
    review.undo(session)
    assert session.z == 7
    session.show_slice(0)
    review.redo(session)
    assert session.z == 7
    assert session.case.current.mark is Mark.ACCEPTED


def test_where_there_is_nothing_to_do_it_says_so(session: Session, shown: list[Notification]) -> None:
    review.undo(session)
    review.redo(session)
    review.decide(session, State.ACCEPTED)
    review.edit_box(session)
    assert [told.message for told in shown] == ["Nothing to undo.", "Nothing to redo.", *["Choose a lesion first."] * 2]


def test_without_a_scan_nothing_happens(viewer: ViewerModel, shown: list[Notification]) -> None:
    session = workbench_of(viewer).session
    review.step(session, 1)
    review.undo(session)
    review.draw_lesion(session)
    assert shown == []


def test_a_box_is_made_ready_to_be_dragged_and_a_new_one_to_be_drawn(session: Session) -> None:
    review.step(session, 1)
    review.edit_box(session)
    layer = hand(session)
    assert session.viewer.layers.selection.active is layer
    assert {layer.data[i][0, 0] for i in layer.selected_data} == {7}
    review.draw_lesion(session)
    assert session.viewer.layers.selection.active is layer
    assert (layer.mode, layer.nshapes) == ("add_rectangle", 0)
