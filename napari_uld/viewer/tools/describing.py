"""What a person says about the chosen lesions beside yes and no: what kind they are, whether doubtful, a comment."""

from collections.abc import Sequence

from napari.utils.notifications import show_info

from napari_uld.lesions.annotations import LesionType
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Row


def choose_type(session: Session) -> None:
    """Ask what kind of lesion the chosen ones are; saying so of one that waits for a decision accepts it."""
    rows = _chosen(session)
    answer = session.ask_type() if rows else None
    if answer is not None:
        set_type(session, answer)


def set_type(session: Session, lesion_type: LesionType) -> None:
    """Say what kind of lesion the chosen ones are."""
    if session.case is not None:
        session.case.set_type(_keys(session.case.chosen), lesion_type)


def toggle_noisy(session: Session) -> None:
    """Call the chosen lesions doubtful, or no longer where all of them are; one that waits is accepted by it."""
    rows = _chosen(session)
    if session.case is not None and rows:
        session.case.set_noisy(_keys(rows), not all(row.noisy for row in rows))


def write_comment(session: Session) -> None:
    """Ask for a line about the chosen lesions; one that waits for a decision is accepted by it."""
    rows = _chosen(session)
    written = {row.comment for row in rows}
    answer = session.ask_comment(written.pop() if len(written) == 1 else "") if rows else None
    if session.case is not None and answer is not None:
        session.case.set_comment(_keys(rows), answer)


def _chosen(session: Session) -> Sequence[Row]:
    rows = () if session.case is None else session.case.chosen
    if not rows:
        show_info("Choose a lesion first.")
    return rows


def _keys(rows: Sequence[Row]) -> list[str]:
    return [row.key for row in rows]
