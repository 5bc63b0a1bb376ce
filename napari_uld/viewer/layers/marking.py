"""Keeps the marks' layers and the case in step: the case is drawn, and what is drawn becomes edits."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from napari.components import ViewerModel
from napari.layers import Layer, Points, Shapes, Surface, Vectors
from napari.utils.notifications import show_info
from psygnal import Signal

from napari_uld.errors import UldError
from napari_uld.lesions.recist import Recist
from napari_uld.viewer.layers.bodies import show_bodies
from napari_uld.viewer.layers.eye import Eye
from napari_uld.viewer.layers.hand import DRAWING, Held, Hold, held_shapes, show_hand, take_over
from napari_uld.viewer.layers.marks import (
    Drawn,
    Kind,
    Plane,
    drawn_on,
    line_width,
    recist_lines,
    show_labels,
    show_marks,
)
from napari_uld.viewer.layers.parts import OVERLAYS, Part, case_of, find_layer, part_of
from napari_uld.viewer.layers.sketch import Sketch
from napari_uld.viewer.layers.surface_points import SurfacePointsLayers
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Row


class Marking:
    """The marks of a case on the slice that is shown, and what a person does to them.

    Parameters
    ----------
    viewer
        The viewer that the layers are in.
    case
        The open scan.
    shown
        Gives the slice that is shown, None in 3D.
    later
        Does something once napari is through with what it is doing.
    """

    kinds_changed = Signal()

    def __init__(
        self,
        viewer: ViewerModel,
        case: Case,
        *,
        shown: Callable[[], Plane | None],
        later: Callable[[Callable[[], None]], object],
    ) -> None:
        self._viewer = viewer
        self._case = case
        self._shown = shown
        self._later = later
        self._plane: Plane | None = None
        self._zoom = 0.0
        self._drawn: list[Drawn] = []
        self._eyes: dict[Part, Eye] = {}
        self._points = SurfacePointsLayers(viewer)
        self._busy = False
        self.held: Held | None = None
        self.sketch = Sketch()
        self.kinds: frozenset[Kind] = frozenset(Kind)
        self.labels_all = False
        self._left_out: frozenset[str] = frozenset()
        self._pointed: str | None = None

    @property
    def drawn(self) -> list[Drawn]:
        """What there is on the slice that is shown."""
        return self._drawn

    def follow(self, layer: Layer) -> None:
        """Fill a layer of the case's; of the one that is worked on, hear what is done to it."""
        part = part_of(layer)
        if part is None or part not in OVERLAYS:
            return
        self._eyes[part] = Eye(layer, self.redraw)
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._edited)
        self.redraw()

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Whatever changes meanwhile, show the case once."""
        with self._while_busy():
            yield
        self.redraw()

    def release(self) -> None:
        """Hear no more of the layers, which another case takes over."""
        for eye in self._eyes.values():
            eye.release()
            if isinstance(eye.layer, Shapes):
                eye.layer.events.data.disconnect(self._edited)

    def turned(self) -> None:
        """Another slice is shown, or slices are shown otherwise."""
        if self._shown() != self._plane:
            self.redraw()

    def zoomed(self) -> None:
        """Lines keep their width on the screen."""
        if self._drawn or self.sketch.lines or self.held is not None:
            self._later(self._refit)

    def point(self, key: str | None) -> None:
        """Label the lesion that is pointed at."""
        if key != self._pointed:
            self._pointed = key
            self._label()

    def choose(self, kinds: frozenset[Kind], *, labels_all: bool) -> None:
        """Choose what is shown, and whether every mark is labelled."""
        self.kinds, self.labels_all = kinds, labels_all
        self.redraw()
        self.kinds_changed.emit()

    def leave_out(self, detectors: frozenset[str]) -> None:
        """Do not show what these found but the one at hand: something else shows it meanwhile."""
        if detectors != self._left_out:
            self._left_out = detectors
            self.redraw()

    def open_eyes(self) -> None:
        """Let the marks be seen again where a person hid them."""
        self._eyes[Part.MARKS].open()

    # -- what a tool draws --

    def draw(self, sketch: Sketch) -> None:
        """Show what a tool draws now, among the marks and in their place where it is of the same lesion."""
        self.sketch = sketch
        with self._while_busy():
            self._show_marks()
            self._label()

    def show_dragged(self, recist: Recist) -> None:
        """Show the diameters in hand as they are dragged; no edit yet."""
        layer = self._layer(Part.HAND)
        if isinstance(layer, Shapes) and self._plane is not None:
            with self._while_busy():
                layer.data = [(line, "line") for line in recist_lines(recist, self._plane.index)]

    # -- the lesion in hand --

    def hold(self, row: Row, what: Hold, mode: str) -> Shapes | None:
        """Take a lesion's box or diameters in hand, whole (`mode` "select") or by their ends ("direct")."""
        self.held = Held(row.key, what, mode)
        self.redraw()
        return self._take_up()

    def draw_new(self) -> None:
        """Make the next rectangle that is drawn a new lesion."""
        self.held = DRAWING
        self.redraw()
        self._take_up()

    def let_go(self) -> None:
        """Put down what is in hand."""
        layer = self._layer(Part.HAND)
        if self.held is None or not isinstance(layer, Shapes):
            return
        self.held = None
        layer.mode = "pan_zoom"
        self.redraw()
        if self._viewer.layers.selection.active is layer:
            self._viewer.layers.selection.active = self._layer(Part.CT)

    def _take_up(self) -> Shapes | None:
        """Make the layer the one that the mouse works on, all that is in hand chosen."""
        layer = self._layer(Part.HAND)
        if self.held is None or not isinstance(layer, Shapes) or not layer.visible:
            return None
        self._viewer.layers.selection.active = layer
        layer.mode = self.held.mode
        layer.selected_data = set(range(len(layer.data)))
        return layer

    # -- drawing the case --

    def redraw(self) -> None:
        """Show the case as it is now."""
        if self._busy:
            return
        self._plane, self._zoom = self._shown(), self._viewer.scene.camera.zoom
        current = self._case.current
        if self.held is not None and self.held.key and (current is None or current.key != self.held.key):
            self.let_go()
            return
        self._drawn = drawn_on(self._case, self._plane, self.kinds, without=self._left_out)
        with self._while_busy():
            self._show_hand()
            self._show_marks()
            self._label()
            self._show_bodies()
            self._show_points()

    def _refit(self) -> None:
        if self._zoom != self._viewer.scene.camera.zoom:
            self.redraw()

    def _show_marks(self) -> None:
        layer = self._layer(Part.MARKS)
        if isinstance(layer, Vectors):
            drawn, held = self._drawn, self.held if self._hand_is_seen() else None
            if held is not None:
                drawn = [each for each in drawn if each.key != held.key or each.kind not in held.kinds]
            drawn = self.sketch.over(drawn, self._plane)
            if self._see(Part.MARKS, bool(drawn)) and self._plane is not None:
                show_marks(layer, drawn, self._plane, self._zoom)

    def _show_hand(self) -> None:
        layer = self._layer(Part.HAND)
        if isinstance(layer, Shapes):
            seen = self._see(Part.HAND, self._hand_is_seen())
            width = 1.0 if self._plane is None else line_width(self._case.volume.spacing, self._plane, self._zoom)
            show_hand(layer, self._case, self.held, width)
            if seen and self.held is not None and layer.mode == "pan_zoom":
                layer.mode = self.held.mode

    def _hand_is_seen(self) -> bool:
        if self.held is None or self._plane is None or self._plane.axis != 0:
            return False
        shapes = held_shapes(self._case, self.held)
        return self.held is DRAWING or any(shape[0, 0] == self._plane.index for shape in shapes)

    def _label(self) -> None:
        layer = self._layer(Part.LABELS)
        if not isinstance(layer, Points):
            return
        current = self._case.current
        keys = {self._pointed, None if current is None else current.key}
        seen = {each.key: each for each in self._drawn if each.label and (self.labels_all or each.key in keys)}
        labelled = self.sketch.labels_over(list(seen.values()), self._plane)
        if self._see(Part.LABELS, bool(labelled)):
            show_labels(layer, labelled)

    def _show_bodies(self) -> None:
        layer = self._layer(Part.BODIES)
        in_3d = self._viewer.dims.ndisplay == 3
        if isinstance(layer, Surface) and self._see(Part.BODIES, in_3d and bool(self._case.rows)):
            show_bodies(layer, self._case)

    def _show_points(self) -> None:
        seen = Kind.POINTS in self.kinds and (self._plane is not None or self._viewer.dims.ndisplay == 3)
        self._points.show(self._case, self._case.current if seen else None, self._plane)

    def _see(self, part: Part, something: bool) -> bool:
        """Hide a layer with nothing on it; tell whether it is seen, and so to be filled."""
        return part in self._eyes and self._eyes[part].show(something)

    def _layer(self, part: Part) -> Layer | None:
        return find_layer(self._viewer, self._case, part)

    # -- taking over what a person does --

    def _edited(self, event: Any) -> None:
        layer: Shapes = event.source
        if not self._busy and case_of(layer) is self._case and event.action.value in ("changed", "added", "removed"):
            self._take_over(layer, event.action.value)

    def _take_over(self, layer: Shapes, action: str) -> None:
        drawn = None
        try:
            with self._while_busy():
                drawn = take_over(self._case, layer, action, self.held)
        except UldError as error:
            show_info(f"The lesion stays as it was: {error}")
        if drawn is not None:
            self._case.select(drawn)
            self.held = Held(drawn, Hold.BOX, "select")
        if action == "removed":
            self.held = None
        # When the mouse is let go, napari goes on with the shape's number: until then it must stay that shape's.
        if action != "changed":
            self.redraw()
        self._later(self.redraw)
        if drawn is not None:
            self._later(self._drawing_ends)

    def _drawing_ends(self) -> None:
        """Drawing is one act: what was drawn is in hand now, and the next drag moves it."""
        if self.held is not None and self.held is not DRAWING:
            self._take_up()

    @contextmanager
    def _while_busy(self) -> Iterator[None]:
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before
