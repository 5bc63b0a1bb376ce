"""Menus about the chosen lesions: all that can be done to them, and the kinds of lesions there are."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr"

from collections.abc import Callable

from qtpy.QtCore import QPoint
from qtpy.QtGui import QCursor
from qtpy.QtWidgets import QApplication, QMenu, QWidget

from napari_uld.lesions.annotations import LesionType, State
from napari_uld.viewer.panels.lesion_table import name_of, text_of
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import describing, review
from napari_uld.viewer.tools.keys import key_of
from napari_uld.viewer.tools.measuring import measure


def lesion_menu(session: Session, parent: QWidget) -> QMenu:
    """Give the menu of what can be done to the chosen lesions; what is about one is about the one at hand."""
    menu = QMenu(parent)
    rows = () if session.case is None else session.case.chosen
    several = f" {len(rows)} lesions" if len(rows) > 1 else ""

    def add(text: str, act: Callable[[], object], title: str = "") -> None:
        # Behind a tab stands the key, for the eye alone: Qt would take a second shortcut for an ambiguity.
        menu.addAction(f"{text}\t{key_of(title)}" if title else text).triggered.connect(lambda: act())

    add(f"Accept{several}", lambda: review.decide(session, State.ACCEPTED), "accept")
    add(f"Reject{several}", lambda: review.decide(session, State.REJECTED), "reject")
    menu.addSeparator()
    kinds = QMenu(f"Type\t{key_of('type')}", menu)
    menu.addMenu(kinds)
    _add_types(kinds)
    kinds.triggered.connect(lambda action: describing.set_type(session, LesionType(action.data())))
    noisy = menu.addAction(f"Noisy\t{key_of('noisy')}")
    noisy.setCheckable(True)
    noisy.setChecked(bool(rows) and all(row.noisy for row in rows))
    noisy.triggered.connect(lambda: describing.toggle_noisy(session))
    add("Comment…", lambda: describing.write_comment(session), "comment")
    menu.addSeparator()
    add("Show", lambda: session.jump(session.case.current) if session.case is not None else None)
    add("Measure", lambda: measure(session), "measure")
    add("Edit box", lambda: review.edit_box(session))
    menu.addSeparator()
    add("Copy as text", lambda: copy_rows(session))
    return menu


def ask_type() -> LesionType | None:
    """Let a person choose a kind of lesion from a small menu, by its digit too; None where nobody does."""
    menu = QMenu()
    _add_types(menu)
    action = menu.exec(_where_a_person_looks())
    return None if action is None else LesionType(action.data())


def copy_rows(session: Session) -> None:
    """Put the chosen rows of the table on the clipboard, to be pasted into a report or a spreadsheet."""
    if session.case is not None:
        QApplication.clipboard().setText(text_of(session.case.chosen))


def _add_types(menu: QMenu) -> None:
    """Offer all kinds, each with the digit that chooses it: DeepLesion's number, 0 for none."""
    for kind in sorted(LesionType, key=lambda kind: max(kind, 0)):
        menu.addAction(f"&{max(int(kind), 0)}  {name_of(kind) or 'not said'}").setData(int(kind))


def _where_a_person_looks() -> QPoint:
    """At the mouse where that is over what the keys go to, else in its middle."""
    widget, mouse = QApplication.focusWidget(), QCursor.pos()
    if widget is None or widget.rect().contains(widget.mapFromGlobal(mouse)):
        return mouse
    return widget.mapToGlobal(widget.rect().center())
