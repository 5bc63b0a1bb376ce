"""The review's table under a hand: several rows chosen, cells edited in place, the menu, what is copied."""

import pytest
from pytestqt.qtbot import QtBot
from qtpy.QtCore import QPoint, Qt, QTimer
from qtpy.QtWidgets import QApplication, QComboBox, QLineEdit, QMenu

from napari_uld.lesions.annotations import LesionType
from napari_uld.viewer.panels.lesion_menu import ask_type, lesion_menu
from napari_uld.viewer.panels.lesion_table import HEADERS
from napari_uld.viewer.panels.review import ReviewPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark


@pytest.fixture
def review(session: Session, qtbot: QtBot) -> ReviewPanel:
    panel = ReviewPanel(session.viewer)
    qtbot.addWidget(panel)
    panel.resize(900, 500)
    panel.show()
    return panel


def click(review: ReviewPanel, qtbot: QtBot, row: int, *, ctrl: bool = False) -> None:
    held = Qt.KeyboardModifier.ControlModifier if ctrl else Qt.KeyboardModifier.NoModifier
    place = review.table.visualRect(review.table.model().index(row, 0)).center()
    qtbot.mouseClick(review.table.viewport(), Qt.MouseButton.LeftButton, held, place)


def selected(review: ReviewPanel) -> list[int]:
    return sorted(index.row() for index in review.table.selectionModel().selectedRows())


def texts(menu: QMenu) -> dict[str, object]:
    return {action.text().split("\t")[0]: action for action in menu.actions() if action.text()}


def test_rows_are_chosen_by_hand_and_decided_together(review: ReviewPanel, session: Session, qtbot: QtBot) -> None:
    click(review, qtbot, 0)
    click(review, qtbot, 2, ctrl=True)
    assert selected(review) == [0, 2]
    assert [row.native for row in session.case.chosen] == [12, 15]
    assert session.case.current == session.case.rows[2]
    review.accept.click()
    assert [row.mark for row in session.case.rows] == [Mark.ACCEPTED, Mark.EXPERT, Mark.ACCEPTED]
    review.undo.click()
    assert [row.mark for row in session.case.rows] == [Mark.PENDING, Mark.EXPERT, Mark.PENDING]


@pytest.mark.parametrize("width", [520, 900])
def test_state_type_and_comment_are_in_view_without_scrolling_sideways(
    review: ReviewPanel, session: Session, qtbot: QtBot, width: int
) -> None:
    session.case.set_type([row.key for row in session.case.rows], LesionType.MEDIASTINUM)
    session.case.set_comment([session.case.rows[0].key], "has grown since the last scan, to be seen again")
    review.resize(width, 700)
    qtbot.wait(10)
    table = review.table
    assert table.horizontalScrollBar().maximum() == 0
    metrics = table.fontMetrics()
    for title, text in (("State", "to decide"), ("Type", "mediastinum"), ("Comment", "has grown si")):
        assert table.columnWidth(HEADERS.index(title)) > metrics.horizontalAdvance(text)


def test_a_row_that_is_taken_out_of_the_choice_is_not_decided(
    review: ReviewPanel, session: Session, qtbot: QtBot
) -> None:
    for row in (0, 1, 2):
        click(review, qtbot, row, ctrl=row > 0)
    click(review, qtbot, 1, ctrl=True)
    assert selected(review) == [0, 2]
    assert session.case.rows[1] not in session.case.chosen
    assert session.case.current in session.case.chosen


def test_the_choice_stays_while_something_is_said_of_it(review: ReviewPanel, session: Session, qtbot: QtBot) -> None:
    click(review, qtbot, 0)
    click(review, qtbot, 1, ctrl=True)
    index = review.table.model().index(1, HEADERS.index("Comment"))
    review.table.model().setData(index, "calcified", Qt.ItemDataRole.EditRole)
    assert [row.comment for row in session.case.rows] == ["calcified", "calcified", ""]
    assert selected(review) == [0, 1]
    # One that is not chosen is changed alone.
    index = review.table.model().index(2, HEADERS.index("Comment"))
    review.table.model().setData(index, "vessel", Qt.ItemDataRole.EditRole)
    assert [row.comment for row in session.case.rows] == ["calcified", "calcified", "vessel"]


def test_noisy_is_a_check_box_in_the_table(review: ReviewPanel, session: Session, qtbot: QtBot) -> None:
    cell = review.table.visualRect(review.table.model().index(1, HEADERS.index("Noisy")))
    place = QPoint(cell.left() + 9, cell.center().y())
    qtbot.mouseClick(review.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert session.case.rows[1].noisy
    qtbot.mouseClick(review.table.viewport(), Qt.MouseButton.LeftButton, pos=place)
    assert not session.case.rows[1].noisy


def test_the_type_is_chosen_from_a_list_in_the_table(review: ReviewPanel, session: Session, qtbot: QtBot) -> None:
    review.table.edit(review.table.model().index(1, HEADERS.index("Type")))
    (types,) = review.table.viewport().findChildren(QComboBox)
    assert types.currentText() == "liver"
    types.setCurrentIndex(types.findText("soft tissue"))
    types.activated.emit(types.currentIndex())
    assert session.case.rows[1].lesion_type is LesionType.SOFT_TISSUE


def test_letters_typed_into_a_comment_are_no_keys(review: ReviewPanel, session: Session, qtbot: QtBot) -> None:
    click(review, qtbot, 0)
    review.table.setFocus()
    review.table.edit(review.table.model().index(0, HEADERS.index("Comment")))
    (editor,) = review.table.viewport().findChildren(QLineEdit)
    qtbot.keyClicks(editor, "gnu")
    qtbot.keyClick(editor, Qt.Key.Key_Return)
    # Qt takes it over once the key is dealt with.
    qtbot.waitUntil(lambda: session.case.rows[0].comment == "gnu")
    assert [row.mark for row in session.case.rows] == [Mark.ACCEPTED, Mark.EXPERT, Mark.PENDING]


def test_the_menu_does_what_the_keys_do_to_all_that_are_chosen(review: ReviewPanel, session: Session) -> None:
    rows = session.case.rows
    session.case.choose(rows[0].key, [rows[0].key, rows[2].key])
    actions = texts(lesion_menu(session, review.table))
    actions["Reject 2 lesions"].trigger()
    assert [row.mark for row in session.case.rows] == [Mark.REJECTED, Mark.EXPERT, Mark.REJECTED]
    session.case.choose(rows[0].key, [rows[0].key, rows[2].key])
    menu = lesion_menu(session, review.table)
    kinds = texts(menu)["Type"].menu()
    next(action for action in kinds.actions() if "kidney" in action.text()).trigger()
    texts(menu)["Noisy"].trigger()
    assert [(row.lesion_type, row.noisy) for row in session.case.rows] == [
        (LesionType.KIDNEY, True),
        (LesionType.LIVER, False),
        (LesionType.KIDNEY, True),
    ]
    assert texts(lesion_menu(session, review.table))["Noisy"].isChecked()


def test_chosen_rows_are_copied_as_text_with_their_titles(review: ReviewPanel, session: Session, qtbot: QtBot) -> None:
    click(review, qtbot, 1)
    texts(lesion_menu(session, review.table))["Copy as text"].trigger()
    lines = QApplication.clipboard().text().splitlines()
    assert lines[0].split("\t") == list(HEADERS)
    assert lines[1].split("\t") == ["15", "expert", "", "liver", "", "10", "expert", ""]
    assert len(lines) == 2


def test_a_digit_chooses_a_type_from_the_small_menu(qtbot: QtBot) -> None:
    def press_five() -> None:
        qtbot.keyClick(QApplication.activePopupWidget(), Qt.Key.Key_5)

    QTimer.singleShot(200, press_five)
    assert ask_type() is LesionType.LUNG
