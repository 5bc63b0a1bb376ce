"""The tools of a viewer, one taken at a time, and the keys, which work wherever a person may press them."""

from typing import Any
from weakref import WeakKeyDictionary

from napari.components import ViewerModel
from napari.layers import Layer

from napari_uld.viewer.layers.parts import case_of
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools.brush import MaskBrush
from napari_uld.viewer.tools.drawing import RecistDrawing
from napari_uld.viewer.tools.ends import EndDragger
from napari_uld.viewer.tools.keys import bind
from napari_uld.viewer.tools.mask_comparison import MaskComparison
from napari_uld.viewer.tools.phases import PhaseSwitch
from napari_uld.viewer.tools.pointing import Pointer
from napari_uld.viewer.tools.reading import ReadingMouse
from napari_uld.viewer.tools.reading_ahead import ReadAhead
from napari_uld.viewer.tools.ruler import Ruler
from napari_uld.viewer.tools.tool import Tool, ToolName


class Workbench:
    """A viewer's session and the tools that work on it; `workbench_of` gives the one of a viewer.

    Parameters
    ----------
    session
        The session.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.brush = MaskBrush(session)
        self.comparison = MaskComparison(session)
        self.mouse = ReadingMouse(session)
        self.pointer = Pointer(session)
        self.drawing = RecistDrawing(session)
        self.ruler = Ruler(session)
        self.ends = EndDragger(session)
        self.phases = PhaseSwitch(session)
        # Whatever leads from scan to scan, one is read ahead.
        self.ahead = ReadAhead()
        self._tools: tuple[Tool, ...] = (self.brush, self.comparison, self.drawing, self.ruler)
        session.tool_wanted.connect(self._take)
        for tool in self._tools:
            tool.taken.connect(self._stop_others)
        # A layer's keys shadow the viewer's, so both are bound.
        bind(session.viewer, session)
        for layer in session.viewer.layers:
            if case_of(layer) is not None:
                self._bind(layer)
        session.layer_added.connect(self._bind)

    def _bind(self, layer: Layer) -> None:
        bind(layer, self.session)

    def _take(self, name: str) -> None:
        if name == ToolName.RECIST:
            self.drawing.start()
        else:
            self.ruler.start(ToolName(name))

    def _stop_others(self, taken: Tool) -> None:
        for tool in self._tools:
            if tool is not taken:
                tool.stop()


_WORKBENCHES: WeakKeyDictionary[ViewerModel, Workbench] = WeakKeyDictionary()


def workbench_of(viewer: ViewerModel) -> Workbench:
    """Give the workbench of a viewer, made with its session at the first call."""
    # Plugins are handed proxies; the viewer itself is what lasts.
    real: Any = getattr(viewer, "__wrapped__", viewer)
    if real not in _WORKBENCHES:
        _WORKBENCHES[real] = Workbench(Session(real))
    return _WORKBENCHES[real]
