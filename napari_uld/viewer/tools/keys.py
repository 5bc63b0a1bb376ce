"""The review's keys: one table that feeds both the bindings and the help.

They are free in napari's own map, but for M, B, Ctrl+Z and Ctrl+Shift+Z, which there are of layers of labels, T and L,
which draw paths and lines in layers of shapes, and C and Y, which stretch the contrast and turn a plane of images:
nobody reads a CT with them. X stays napari's: it swaps what a brush paints with.
"""

from collections.abc import Callable
from dataclasses import dataclass

from napari.components import ViewerModel
from napari.layers import Layer

from napari_uld.lesions.annotations import State
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.phases import KEY as PHASE_KEY
from napari_uld.viewer.tools import cine, describing, review
from napari_uld.viewer.tools.measuring import measure
from napari_uld.viewer.tools.tool import ToolName


@dataclass(frozen=True)
class Key:
    """A key, what it does in a few words, and the doing of it."""

    key: str
    title: str
    act: Callable[[Session], object]


KEYS = (
    Key("Down", "next lesion", lambda session: review.step(session, 1)),
    Key("Up", "previous lesion", lambda session: review.step(session, -1)),
    Key("J", "next undecided", lambda session: review.step(session, 1, pending_only=True)),
    Key("K", "previous undecided", lambda session: review.step(session, -1, pending_only=True)),
    Key("G", "accept (good)", lambda session: review.decide(session, State.ACCEPTED)),
    Key("N", "reject (no)", lambda session: review.decide(session, State.REJECTED)),
    Key(",", "skip (later)", review.skip),
    Key("PageDown", "next scan", lambda session: session.turn_to(1)),
    Key("PageUp", "previous scan", lambda session: session.turn_to(-1)),
    Key("T", "type: a digit says which", describing.choose_type),
    Key("Y", "noisy or not (doubtful)", describing.toggle_noisy),
    Key("C", "comment", describing.write_comment),
    Key("M", "measure (RECIST)", measure),
    Key("L", "draw RECIST (line)", lambda session: session.tool_wanted.emit(ToolName.RECIST)),
    Key("U", "undo", review.undo),
    Key("H", "redo", review.redo),
    Key("Ctrl+Z", "undo", review.undo),
    Key("Ctrl+Shift+Z", "redo", review.redo),
    Key("Ctrl+C", "copy box", review.copy_box),
    Key("Ctrl+V", "paste box", review.paste_box),
    Key("W", "save (write)", Session.save),
    Key("Escape", "put down, stop drawing", review.put_down),
    Key(".", "play slices (cine), or stop", cine.toggle),
    Key(PHASE_KEY, "next phase (bolus)", lambda session: session.phase_wanted.emit()),
    Key("8", "lung window", lambda session: session.set_window("lung")),
    Key("9", "mediastinum window", lambda session: session.set_window("mediastinum")),
    Key("0", "liver window", lambda session: session.set_window("liver")),
    Key("Q", "bone window", lambda session: session.set_window("bone")),
)


def bind(target: ViewerModel | Layer, session: Session) -> None:
    """Bind all keys on a viewer or a layer to its session."""
    for key in KEYS:
        target.bind_key(key.key, _action(key, session), overwrite=True)


def key_of(title: str) -> str:
    """Give the key whose title begins with `title`."""
    return next(key.key for key in KEYS if key.title.startswith(title))


def _action(key: Key, session: Session) -> Callable[[object], None]:
    def act(_target: object) -> None:
        key.act(session)

    act.__doc__ = f"Lesion review: {key.title}."
    act.__name__ = key.title
    return act
