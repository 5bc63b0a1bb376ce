"""From a lesion to its RECIST by one key."""

from napari.utils.notifications import show_info

from napari_uld.errors import UldError
from napari_uld.lesions.recist import Recist
from napari_uld.lesions.rle import Rle
from napari_uld.masks.from_box import measured
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.scan import series_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row
from napari_uld.viewer.tools import review


def measure(session: Session) -> None:
    """Measure the lesion at hand and take its diameters in hand, ready to be dragged; that accepts it.

    What is measured already stays as it is: it may be a person's.
    """
    row = session.case.current if session.case is not None else None
    if session.case is None or row is None:
        show_info("Choose a lesion first.")
        return
    native, recist, source = row.native, row.recist, "Measured before"
    if recist is None:
        try:
            native, recist, source = _automatic(session.case, row)
            session.case.measure(row.key, recist, native)
        except UldError as error:
            show_info(f"It is not measured: {error}")
            return
    review.hold(session, session.case.row(row.key) or row, Hold.RECIST, "direct")
    long, short = recist.millimetres(session.case.volume.spacing)
    show_info(f"{long:.1f} x {short:.1f} mm on slice {native}. {source}; drag an end to correct it.")


def _automatic(case: Case, row: Row) -> tuple[int, Recist, str]:
    """The slice to measure on, the diameters there, and what they were taken from: a mask where there is one."""
    mask, window = _mask_of(row), series_window(case)
    native, recist, by_mask = measured(case.volume, row.native, row.boxes, mask, window, tight=row.tight)
    return native, recist, "From its mask" if by_mask else "From grey values in its box"


def _mask_of(row: Row) -> Rle | None:
    """The mask that a person painted, else the one that a detector predicted, unless the box was moved since."""
    if row.annotation is not None:
        return row.annotation.mask
    return None if row.finding is None else row.finding.mask
