"""What a person does to the lesions one after the other: go to the next, decide, take back, correct the box."""

from napari.layers import Shapes
from napari.utils.notifications import show_info

from napari_uld.errors import UldError
from napari_uld.lesions.annotations import Annotation, State
from napari_uld.lesions.edits import Edit
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Row

AXIAL_ONLY = "Only on axial slices in 2D: lesions are drawn on slices as they were taken."


def step(session: Session, by: int, *, pending_only: bool = False) -> None:
    """Go to the next lesion (`by` = 1) or the previous one (-1); to one that waits, over scans while a queue leads."""
    if pending_only and session.walk is not None and session.walk.on:
        session.walk.step(by)
    elif session.case is not None:
        with session.at_once():
            session.jump(session.case.step(by, pending_only=pending_only))


def decide(session: Session, state: State) -> None:
    """Accept or reject the chosen lesions, as one action, and go on to the next undecided one."""
    if session.case is None or session.case.current is None:
        show_info("Choose a lesion first.")
        return
    with session.at_once():
        with session.case.annotations.as_one():
            for row in session.case.chosen:
                session.case.decide(row.key, state)
        if session.walk is not None and session.walk.on:
            session.walk.decided()
        else:
            step(session, 1, pending_only=True)


def skip(session: Session) -> None:
    """Leave the suggestion at hand for later."""
    if session.walk is None or not session.walk.on:
        show_info("Start the queue in Mining first: there is nothing to skip.")
    else:
        session.walk.skip()


def undo(session: Session) -> None:
    """Take back the last edit and show where it was, in whichever scan of a queue."""
    if session.case is None:
        return
    if not session.case.annotations.can_undo and session.walk is not None and session.walk.take_back():
        return
    with session.at_once():
        show_edit(session, session.case.annotations.undo(), "undo")


def redo(session: Session) -> None:
    """Do the last undone edit again and show where it was."""
    if session.case is not None:
        with session.at_once():
            show_edit(session, session.case.annotations.redo(), "redo")


def edit_box(session: Session) -> None:
    """Make the box of the lesion at hand ready to be dragged."""
    row = session.case.current if session.case is not None else None
    if row is None:
        show_info("Choose a lesion first.")
        return
    hold(session, row, Hold.BOX, "select")


def hold(session: Session, row: Row, what: Hold, mode: str) -> Shapes | None:
    """Show a lesion and take it in hand, whole (`mode` "select") or by its ends ("direct")."""
    session.jump(row)
    session.needed_layer(Part.HAND)
    return None if session.marking is None else session.marking.hold(row, what, mode)


def draw_lesion(session: Session) -> None:
    """Make the next rectangle that is drawn a new lesion; then, or with Esc, drawing ends."""
    if not session.is_axial:
        show_info(AXIAL_ONLY)
    elif session.needed_layer(Part.HAND) is not None and session.marking is not None:
        session.marking.draw_new()


def copy_box(session: Session) -> None:
    """Remember the box of the lesion at hand."""
    row = session.case.current if session.case is not None else None
    if row is not None:
        session.copied = row.box


def paste_box(session: Session) -> None:
    """Make a lesion with the box that was copied on the slice that is shown, and take it in hand."""
    if session.case is None or session.copied is None:
        show_info("Copy a lesion's box first.")
    elif not session.is_axial:
        show_info(AXIAL_ONLY)
    else:
        try:
            added = session.case.add(session.z, session.copied)
        except UldError as error:
            show_info(f"No lesion is made here: {error}")
            return
        session.case.select(added.id)
        edit_box(session)


def put_down(session: Session) -> None:
    """End drawing, dragging or measuring where it was begun; of what was not finished nothing stays."""
    session.put_down.emit()
    if session.marking is not None:
        session.marking.let_go()


def show_edit(session: Session, edit: Edit[Annotation] | None, action: str) -> None:
    """Show where an edit was made, or say that there was none to be undone or done again."""
    if edit is None:
        show_info(f"Nothing to {action}.")
        return
    lesion = edit.after or edit.before
    if lesion is not None and session.case is not None:
        session.jump(session.case.row(lesion.parent_id or "") or session.case.row(lesion.id))
