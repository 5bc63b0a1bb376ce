"""Cine: the slices play by themselves, from the one that is shown, starting over at the end."""

from collections.abc import Callable
from weakref import WeakKeyDictionary

from napari_uld.viewer.session import Session

# Scans are read from the head to the feet, from the front to the back, from right to left.
STEPS = (-1, 1, 1)

_PLAYING: WeakKeyDictionary[Session, Callable[[], object]] = WeakKeyDictionary()


def toggle(session: Session) -> None:
    """Play the slices of the view that is shown, or stop."""
    if session in _PLAYING:
        stop(session)
    elif session.plane is not None:
        _PLAYING[session] = session.every(1 / session.cine_rate(), lambda: _step(session), lambda: stop(session))


def stop(session: Session) -> None:
    """Stop on the slice that is shown."""
    end = _PLAYING.pop(session, None)
    if end is not None:
        end()


def _step(session: Session) -> None:
    plane, case = session.plane, session.case
    # Turned to 3D, or closed.
    if plane is None or case is None:
        stop(session)
        return
    index = (plane.index + STEPS[plane.axis]) % case.volume.shape[plane.axis]
    session.show_voxel({plane.axis: index})
