import pytest
from pytestqt.qtbot import QtBot

from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review

from ..tools.clicking import Clicker


@pytest.fixture
def panel(session: Session, qtbot: QtBot) -> ReviewPanel:
    panel = ReviewPanel(session.viewer)
    qtbot.addWidget(panel)
    session.show_slice(4)
    return panel


def test_what_is_measured_stands_in_a_line_that_can_be_copied(panel: ReviewPanel, session: Session) -> None:
    distance, ellipse, _ = panel.rulers.buttons
    assert panel.rulers.line.isHidden()
    distance.click()
    assert distance.isChecked()
    Clicker(session).drag((60, 20), (80, 20))
    assert panel.rulers.line.text() == "Distance 10.0 mm"
    assert not panel.rulers.line.isHidden()
    ellipse.click()
    assert (distance.isChecked(), ellipse.isChecked()) == (False, True)
    review.put_down(session)
    assert not ellipse.isChecked()
    assert panel.rulers.line.isHidden()


def test_a_button_that_is_pressed_again_puts_its_tool_down(panel: ReviewPanel, session: Session) -> None:
    for button in (panel.rulers.buttons[0], panel.draw_recist):
        button.click()
        assert session.marking.sketch.in_hand
        assert button.isChecked()
        button.click()
        assert not session.marking.sketch.in_hand
        assert not button.isChecked()


def test_one_tool_s_button_goes_up_when_another_is_taken(panel: ReviewPanel, session: Session) -> None:
    panel.rulers.buttons[0].click()
    panel.draw_recist.click()
    assert [button.isChecked() for button in (*panel.rulers.buttons, panel.draw_recist)] == [False, False, False, True]
    session.viewer.dims.ndisplay = 3
    assert not panel.draw_recist.isChecked()
    panel.draw_recist.click()
    assert not panel.draw_recist.isChecked(), "in 3D nothing is drawn"
