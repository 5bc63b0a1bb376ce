"""What ties a viewer to the scan open in it: layers follow the case, drawing becomes edits."""

from collections.abc import Callable
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any
from weakref import WeakKeyDictionary, ref

import numpy as np
from napari.components import ViewerModel
from napari.layers import Image, Layer, Shapes
from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal

from napari_uld.ct.windows import WINDOWS, Window
from napari_uld.errors import AnnotationFileError, UldError
from napari_uld.lesions.annotations import Edit, State
from napari_uld.lesions.review_log import append_log, log_path
from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers.canvas import fit_body, show_caption
from napari_uld.viewer.layers.editing import take_in_hand, take_over
from napari_uld.viewer.layers.masks import MaskPainter
from napari_uld.viewer.layers.scan import Part, case_layers, case_of, draw, drawn_of, part_of, series_window
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.files import export_dl_info, save_case
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.state.rows import Row
from napari_uld.viewer.state.thresholds import Thresholds
from napari_uld.viewer.tools.brush import MaskBrush
from napari_uld.viewer.tools.keys import bind
from napari_uld.viewer.tools.mask_comparison import MaskComparison

# The window that a series brings along.
SERIES = "series"


class Answer(StrEnum):
    """What to do with unsaved edits."""

    SAVE = "save"
    DISCARD = "discard"
    KEEP_OPEN = "keep open"


class Session:
    """One viewer and the case open in it; `session_of` gives the one of a viewer.

    Parameters
    ----------
    viewer
        The viewer (a plain `ViewerModel` does).
    """

    case_changed = Signal()
    view_changed = Signal()
    # The viewer's window is gone.
    closed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        self._viewer = ref(viewer)
        self.case: Case | None = None
        self.painter: MaskPainter | None = None
        self.mask_kind = MaskKind.BM
        self.mask_parameters = MaskParameters()
        self.comparison = MaskComparison(self)
        self.brush = MaskBrush(self)
        # Questions are asked in windows; where there are none, nothing unsaved is ever given up.
        self.ask_unsaved: Callable[[Case], Answer] = lambda case: Answer.KEEP_OPEN
        self.ask_path: Callable[[Case], Path | None] = lambda case: None
        # Does something once napari is through with what it is doing; at once where no window's loop runs.
        self.later: Callable[[Callable[[], None]], object] = lambda act: act()
        self._busy = False
        self._log_works = True
        self._links = Links()
        # What a person chose for a detector holds for the next scan too.
        self.thresholds = Thresholds()
        self._fitted: float | None = None
        viewer.canvas.events.size.connect(self._canvas_resized)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        viewer.dims.events.point.connect(self._moved)
        bind(viewer, self)
        for layer in list(viewer.layers):
            self._adopt(layer)

    @property
    def viewer(self) -> ViewerModel:
        """The viewer.

        Raises
        ------
        RuntimeError
            If it was closed.
        """
        viewer = self._viewer()
        if viewer is None:
            raise RuntimeError("The viewer was closed")
        return viewer

    def layer(self, part: Part) -> Layer | None:
        """Give a layer of the open case, or None where somebody removed it."""
        if self.case is None:
            return None
        return next((at for at in self.viewer.layers if case_of(at) is self.case and part_of(at) is part), None)

    @property
    def z(self) -> int:
        """Index of the slice that is shown."""
        ct = self.layer(Part.CT)
        if self.case is None or ct is None:
            return 0
        z = round((self.viewer.dims.point[0] - ct.translate[0]) / ct.scale[0])
        return min(max(z, 0), self.case.volume.shape[0] - 1)

    def show_slice(self, z: int) -> None:
        """Show the slice with this index."""
        ct = self.layer(Part.CT)
        if ct is not None:
            self.viewer.dims.set_point(0, float(ct.translate[0] + z * ct.scale[0]))

    def show_native(self, native: int) -> None:
        """Show the slice with this number in the scan's files, or say that it is not there."""
        if self.case is None:
            return
        try:
            self.show_slice(self.case.volume.z_of(native))
        except KeyError:
            show_info(f"Slice {native} of this lesion is not among the slices on disk.")

    def jump(self, row: Row | None) -> None:
        """Take a lesion in hand and show its key slice."""
        if self.case is None or row is None:
            return
        self.case.select(row.key)
        self.show_native(row.native)

    def step(self, by: int, *, pending_only: bool = False) -> None:
        """Go to the next lesion (`by` = 1) or the previous one (-1)."""
        if self.case is not None:
            self.jump(self.case.step(by, pending_only=pending_only))

    def decide(self, state: State) -> None:
        """Accept or reject the lesion at hand and go on to the next undecided one."""
        if self.case is None or self.case.current is None:
            show_info("Choose a lesion first.")
            return
        self.case.decide(self.case.current.key, state)
        self.step(1, pending_only=True)

    def undo(self) -> None:
        """Take back the last edit and show where it was."""
        self._show_edit("undo")

    def redo(self) -> None:
        """Do the last undone edit again and show where it was."""
        self._show_edit("redo")

    @property
    def window(self) -> tuple[float, float] | None:
        """The window that the CT is shown with, (low, high) HU."""
        ct = self.layer(Part.CT)
        if not isinstance(ct, Image):
            return None
        low, high = ct.contrast_limits
        return float(low), float(high)

    @property
    def windows(self) -> dict[str, Window]:
        """The windows to choose from: the series' own and the presets, (low, high) HU."""
        return {} if self.case is None else {SERIES: series_window(self.case), **WINDOWS}

    def set_window(self, name: str) -> None:
        """Show the CT through one of `windows`."""
        ct = self.layer(Part.CT)
        if isinstance(ct, Image):
            ct.contrast_limits = self.windows[name]

    def save(self, path: Path | None = None) -> bool:
        """Save the annotations (to `path`, where it is given); tell whether that was done."""
        if self.case is None:
            show_info("There is no scan to save the lesions of.")
            return False
        try:
            written = save_case(self.case, path)
        except AnnotationFileError as error:
            show_error(str(error))
            elsewhere = self.ask_path(self.case) if path is None else None
            return elsewhere is not None and self.save(elsewhere)
        show_info(f"Saved {len(self.case.annotations)} lesions in {written}")
        return True

    def export(self, path: Path) -> bool:
        """Write the lesions of the open DeepLesion series into a DL_info.csv; tell whether that was done."""
        if self.case is None:
            show_info("There is no scan to export the lesions of.")
            return False
        try:
            show_info(export_dl_info(self.case, path))
        except UldError as error:
            show_error(str(error))
            return False
        return True

    def arrange(self) -> None:
        """Show a newly opened case: its first lesion, zoomed to the body, the window's sliders at hand."""
        if self.case is None:
            return
        natives = set(self.case.volume.slice_numbers.tolist())
        self.viewer.layers.selection.active = self.layer(Part.CT)
        self.jump(next((row for row in self.case.rows if row.native in natives), None))
        self.fit_body()

    def fit_body(self) -> None:
        """Zoom to the body on the slice that is shown, leaving the air and the table out."""
        ct = self.layer(Part.CT)
        if self.case is not None and ct is not None:
            self._fitted = fit_body(self.viewer, ct, self.case.volume.hu[self.z])

    def _canvas_resized(self) -> None:
        """Panels that are docked take room: fit again, unless the person zoomed meanwhile."""
        if self._fitted is not None and np.isclose(self.viewer.scene.camera.zoom, self._fitted):
            self.fit_body()

    def edit_box(self) -> None:
        """Make the box of the lesion at hand ready to be dragged."""
        row = self.case.current if self.case is not None else None
        if row is None:
            show_info("Choose a lesion first.")
            return
        self.jump(row)
        layer = self.layer(Part.DETECTIONS if row.annotation is None else Part.LESIONS)
        if isinstance(layer, Shapes):
            take_in_hand(self.viewer, layer, row.key, self.z, "select")

    def draw_lesion(self) -> None:
        """Make the next rectangle that is drawn a new lesion."""
        layer = self.layer(Part.LESIONS)
        if isinstance(layer, Shapes):
            self.viewer.layers.selection.active = layer
            layer.mode = "add_rectangle"

    def choose_mask(self, kind: MaskKind, parameters: MaskParameters) -> None:
        """Paint another kind of pseudo mask, in this scan and in the next."""
        self.mask_kind, self.mask_parameters = kind, parameters
        if self.painter is not None:
            self.painter.choose(kind, parameters, self.z)
            self.view_changed.emit()

    def may_close(self) -> bool:
        """Ask about unsaved edits; tell whether the case may go."""
        if self.case is None or not self.case.annotations.unsaved:
            return True
        answer = self.ask_unsaved(self.case)
        if answer is Answer.SAVE:
            return self.save()
        return answer is Answer.DISCARD

    def _show_edit(self, what: str) -> None:
        if self.case is None:
            return
        edit = self.case.annotations.undo() if what == "undo" else self.case.annotations.redo()
        if edit is None:
            show_info(f"Nothing to {what}.")
            return
        lesion = edit.after or edit.before
        if lesion is not None:
            self.jump(self.case.row(lesion.parent_id or "") or self.case.row(lesion.id))

    # -- layers that come and go --

    def _inserted(self, event: Any) -> None:
        self._adopt(event.value)

    def _adopt(self, layer: Layer) -> None:
        case, part = case_of(layer), part_of(layer)
        if case is None:
            return
        bind(layer, self)
        if part is None:
            return
        if case is not self.case:
            self._open(case)
        if part is Part.MASK and isinstance(layer, Image):
            self.painter = MaskPainter(case, layer)
            self.painter.choose(self.mask_kind, self.mask_parameters, self.z)
        if part is Part.CT:
            layer.events.contrast_limits.connect(self._show_caption)
            self._show_caption()
        if isinstance(layer, Shapes):
            layer.events.data.connect(self._drawn)

    def _open(self, case: Case) -> None:
        old, self.case, self.painter = self.case, case, None
        case.thresholds = self.thresholds
        if old is not None:
            self._leave(old)
        self._links.connect((case.rows_changed, case.current_changed), self._redraw)
        self._links.connect(case.edited, self._log)
        self._log_works = True
        self.case_changed.emit()

    def _removed(self, event: Any) -> None:
        if self.case is not None and case_of(event.value) is self.case and part_of(event.value) is Part.CT:
            if not self.may_close():
                self._bring_back(event.value)
                # Where all layers were chosen, the others go only now.
                self.later(lambda: self._bring_back(event.value))
                return
            case, self.case, self.painter = self.case, None, None
            self._leave(case)
            self._show_caption()
            self.case_changed.emit()

    def _bring_back(self, ct: Layer) -> None:
        """Put the CT back, and whichever of the case's layers went with it."""
        if self.case is None or case_of(ct) is not self.case:
            return
        if ct not in self.viewer.layers:
            self.viewer.layers.insert(0, ct)
        for i, (data, look, kind) in enumerate(case_layers(self.case)):
            if self.layer(look["metadata"]["part"]) is None:
                self.viewer.layers.insert(i, Layer.create(data, look, kind))

    def _leave(self, case: Case) -> None:
        self._links.release()
        for layer in [at for at in self.viewer.layers if case_of(at) is case]:
            self.viewer.layers.remove(layer)

    def _log(self, edit: Edit) -> None:
        """Add a decision to the review log; a folder that cannot be written to is mentioned once."""
        if self.case is None or not self._log_works:
            return
        try:
            append_log(log_path(self.case.path), [edit], self.case.reviewer)
        except AnnotationFileError as error:
            self._log_works = False
            show_warning(f"Decisions are not logged: {error}")

    def _moved(self) -> None:
        if self.painter is not None:
            self.painter.paint(self.z)
        self._show_caption()

    def _show_caption(self) -> None:
        """Write on the canvas what a reader of CT looks for first: which slice, which window."""
        show_caption(self.viewer, self.case, self.z, self.window)
        self.view_changed.emit()

    # -- the case changed: redraw --

    def _redraw(self) -> None:
        if self.case is None or self._busy:
            return
        with self._while_busy():
            for part in (Part.RECIST, Part.LESIONS, Part.DETECTIONS):
                layer = self.layer(part)
                if isinstance(layer, Shapes):
                    draw(layer, drawn_of(self.case, part))
        if self.painter is not None:
            self.painter.repaint(self.z)

    # -- somebody drew: edit the case --

    def _drawn(self, event: Any) -> None:
        layer: Shapes = event.source
        if self.case is None or self._busy or case_of(layer) is not self.case:
            return
        action = event.action.value
        if action not in ("changed", "added", "removed"):
            return
        try:
            with self._while_busy():
                take_over(self.case, layer, action, tuple(event.data_indices))
        except UldError as error:
            show_info(str(error))
        self._redraw()

    @contextmanager
    def _while_busy(self):  # noqa: ANN202
        before, self._busy = self._busy, True
        try:
            yield
        finally:
            self._busy = before


_SESSIONS: WeakKeyDictionary[ViewerModel, Session] = WeakKeyDictionary()


def session_of(viewer: ViewerModel) -> Session:
    """Give the session of a viewer, made at the first call."""
    # Plugins are handed proxies; the viewer itself is what lasts.
    real = getattr(viewer, "__wrapped__", viewer)
    if real not in _SESSIONS:
        _SESSIONS[real] = Session(real)
    return _SESSIONS[real]
