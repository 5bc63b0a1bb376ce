"""What a person does to the lesions one after the other: go to the next, decide, take back, correct the box."""

from napari.layers import Shapes
from napari.utils.notifications import show_info

from napari_uld.lesions.annotations import Annotation, State
from napari_uld.lesions.edits import Edit
from napari_uld.viewer.layers.editing import take_in_hand
from napari_uld.viewer.layers.parts import MARKS, Part
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Row


def step(session: Session, by: int, *, pending_only: bool = False) -> None:
    """Go to the next lesion (`by` = 1) or the previous one (-1)."""
    if session.case is not None:
        session.jump(session.case.step(by, pending_only=pending_only))


def decide(session: Session, state: State) -> None:
    """Accept or reject the chosen lesions, as one action, and go on to the next undecided one."""
    if session.case is None or session.case.current is None:
        show_info("Choose a lesion first.")
        return
    with session.case.annotations.as_one():
        for row in session.case.chosen:
            session.case.decide(row.key, state)
    step(session, 1, pending_only=True)


def undo(session: Session) -> None:
    """Take back the last edit and show where it was."""
    if session.case is not None:
        _show_edit(session, session.case.annotations.undo(), "undo")


def redo(session: Session) -> None:
    """Do the last undone edit again and show where it was."""
    if session.case is not None:
        _show_edit(session, session.case.annotations.redo(), "redo")


def edit_box(session: Session) -> None:
    """Make the box of the lesion at hand ready to be dragged."""
    row = session.case.current if session.case is not None else None
    if row is None:
        show_info("Choose a lesion first.")
        return
    hold(session, row, Part.DETECTIONS if row.annotation is None else Part.LESIONS, "select")


def hold(session: Session, row: Row, part: Part, mode: str) -> None:
    """Show a lesion and take its shapes in a layer in hand: whole (`mode` "select") or by their ends ("direct")."""
    session.jump(row)
    layer = session.needed_layer(part)
    if isinstance(layer, Shapes):
        take_in_hand(session.viewer, layer, row.key, session.z, mode)


def draw_lesion(session: Session) -> None:
    """Make the next rectangle that is drawn a new lesion; then, or with Esc, drawing ends."""
    if not session.is_axial:
        show_info("Lesions are drawn on slices as they were taken: show them one by one, from above (axial, 2D).")
        return
    layer = session.needed_layer(Part.LESIONS)
    if isinstance(layer, Shapes):
        session.viewer.layers.selection.active = layer
        layer.mode = "add_rectangle"


def stop_drawing(session: Session) -> None:
    """End drawing where it was begun, without a lesion."""
    for part in MARKS:
        layer = session.layer(part)
        if isinstance(layer, Shapes) and str(layer.mode).startswith("add"):
            layer.mode = "pan_zoom"


def _show_edit(session: Session, edit: Edit[Annotation] | None, action: str) -> None:
    if edit is None:
        show_info(f"Nothing to {action}.")
        return
    lesion = edit.after or edit.before
    if lesion is not None and session.case is not None:
        session.jump(session.case.row(lesion.parent_id or "") or session.case.row(lesion.id))
