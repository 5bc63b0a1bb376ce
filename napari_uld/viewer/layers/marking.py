"""Keeps the marks' layers and the case in step: the case is drawn, and what is drawn becomes edits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer, Shapes
from napari.utils.notifications import show_info

from napari_uld.errors import UldError
from napari_uld.viewer.layers.editing import take_in_hand, take_over
from napari_uld.viewer.layers.marks import draw, drawn_of
from napari_uld.viewer.layers.parts import MARKS, PART, case_of, find_layer
from napari_uld.viewer.state.case import Case


class Marking:
    """The marks of a case on the slice that is shown, and what a person does to them.

    Parameters
    ----------
    viewer
        The viewer that the layers are in.
    case
        The open scan.
    shown
        Gives the slice that is shown, None where slices are not shown one by one (3D, other views).
    later
        Does something once napari is through with what it is doing.
    """

    def __init__(
        self,
        viewer: ViewerModel,
        case: Case,
        *,
        shown: Callable[[], int | None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._viewer = viewer
        self._case = case
        self._shown = shown
        self._later = later
        self._at: int | None = None
        self._busy = False

    def follow(self, layer: Shapes) -> None:
        """Draw on a layer of the case's, and hear of what is drawn on it."""
        layer.events.data.connect(self._drawn)
        layer.events.features.connect(self._pasted)
        self.redraw()

    def turned(self) -> None:
        """Another slice is shown, or slices are shown otherwise."""
        if self._shown() != self._at:
            self.redraw()

    def redraw(self, but: Layer | None = None) -> None:
        """Show the case as it is now, on all layers `but` one."""
        if self._busy:
            return
        self._at = self._shown()
        with self._while_busy():
            for part in MARKS:
                layer = find_layer(self._viewer, self._case, part)
                if isinstance(layer, Shapes) and layer is not but:
                    draw(layer, drawn_of(self._case, part, self._at))

    def _drawn(self, event: Any) -> None:
        layer: Shapes = event.source
        if self._busy or case_of(layer) is not self._case:
            return
        action = event.action.value
        if action in ("changed", "added", "removed"):
            self._take_over(layer, action, tuple(event.data_indices))
        if action == "added":
            self._later(lambda: self._drawing_ends(layer))

    def _take_over(self, layer: Shapes, action: str, indices: tuple[int, ...]) -> None:
        try:
            with self._while_busy():
                take_over(self._case, layer, action, indices, self._at)
        except UldError as error:
            show_info(str(error))
        if action == "changed":
            # When the mouse is let go, napari goes on with the shape's number: until then it must stay that shape's.
            self.redraw(but=layer)
            self._later(self.redraw)
        else:
            self.redraw()

    def _pasted(self, event: Any) -> None:
        """Take over what was pasted: of that a layer says no more than that its features are others."""
        layer: Shapes = event.source
        if self._busy or str(layer.mode).startswith("add") or case_of(layer) is not self._case:
            return
        if len(layer.data) > len(drawn_of(self._case, layer.metadata[PART], self._at)):
            self._take_over(layer, "added", ())

    def _drawing_ends(self, layer: Shapes) -> None:
        """Drawing is one act: what was drawn is in hand now, and the next drag moves it."""
        row, z = self._case.current, self._shown()
        if row is not None and z is not None and layer in self._viewer.layers and str(layer.mode).startswith("add"):
            take_in_hand(self._viewer, layer, row.key, z, "select")

    @contextmanager
    def _while_busy(self) -> Iterator[None]:
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before
