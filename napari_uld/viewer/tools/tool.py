"""What a person takes in hand on the canvas, and puts down again."""

from abc import ABC, abstractmethod
from enum import StrEnum

from psygnal import Signal

from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.links import Links


class ToolName(StrEnum):
    """What a tool that works on the canvas is called when a person wants it."""

    RECIST = "RECIST"
    DISTANCE = "distance"
    ELLIPSE = "ellipse"
    RECTANGLE = "rectangle"


class Tool(ABC):
    """Works on the case of a session from when it is taken until it is stopped.

    Parameters
    ----------
    session
        The session whose case it works on.
    """

    # It is about to be taken in hand; with the tool itself.
    taken = Signal(object)
    changed = Signal()

    def __init__(self, session: Session) -> None:
        self._session = session
        self._case: Case | None = None
        self._links = Links()

    @abstractmethod
    def stop(self) -> None:
        """Put it down; where it is not in hand, nothing happens."""
