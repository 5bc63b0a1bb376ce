"""Correcting a mask by brush: a layer to paint on, each stroke an edit of the lesion at hand."""

from typing import Any

import numpy as np
from napari.components import ViewerModel
from napari.components.overlays import BrushCircleOverlay
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap
from napari.utils.notifications import show_info, show_warning

from napari_uld.errors import AnnotationError
from napari_uld.lesions.findings import Box
from napari_uld.lesions.rle import decode, encode
from napari_uld.viewer.layers.masks import mask_to_correct, painted_mask
from napari_uld.viewer.layers.parts import Part, insert_layer, metadata, on_slice
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark, Row
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.keys import key_of
from napari_uld.viewer.tools.tool import Tool

NAME = "Corrected mask"
COLOUR = "#FF6A1A"
LESION = 1
# Of the box's short side: fine enough for the rim, coarse enough to fill the middle.
BRUSH_SHARE = 6
MOST_BRUSH = 12


class MaskBrush(Tool):
    """The brush on the mask of the lesion at hand; it goes with the lesion and with its key slice.

    Parameters
    ----------
    session
        The session whose lesion is painted on.
    """

    def __init__(self, session: Session) -> None:
        super().__init__(session)
        self._key = ""
        self._z = 0
        self.layer: Labels | None = None
        # What the layer was filled from last, and what it showed when it was last saved or filled.
        self._source: object = None
        self._known = np.zeros((0, 0), bool)
        self._began = ""
        self._saving = False
        # Whether napari told of painting that is still to come.
        self._due = False

    @property
    def on(self) -> bool:
        """Whether there is a layer to paint on."""
        return self.layer is not None

    @property
    def note(self) -> str:
        """Say what the brush began with, and what a stroke decides besides; "" where there is no brush."""
        row = None if self._case is None else self._case.row(self._key)
        if row is None:
            return ""
        note = f"The brush began with {self._began}."
        if row.mark in (Mark.REJECTED, Mark.PENDING):
            stands = "is rejected" if row.mark is Mark.REJECTED else "waits for a decision"
            note += f" The lesion {stands}: painting on it accepts it."
        return note

    def start(self) -> None:
        """Make a layer to paint on, on the key slice of the lesion at hand."""
        session, case = self._session, self._session.case
        row = case.current if case is not None else None
        if case is None or row is None:
            show_info("Choose a lesion first.")
            return
        self.taken.emit(self)
        session.jump(row)
        if self.on or case.volume.native_slice(session.z) != row.native:
            return
        self._case, self._key, self._z, self._due, self._began = case, row.key, session.z, False, ""
        self.layer = self._make_layer(case, row)
        self._fill(row)
        _without_box(session.viewer)
        insert_layer(session.viewer, case, self.layer)
        session.viewer.layers.selection.active = self.layer
        self.layer.mode = "paint"
        links, events = self._links, self.layer.events
        links.connect(events.paint, self._painted)
        # After the canvas, which would draw what was erased over a mask that is filled in again.
        links.connect(events.labels_update, self._drawn, position="last")
        links.connect(events.selected_label, self._one_label)
        links.connect(session.viewer.layers.events.removed, self._removed)
        links.connect(session.case_changed, self.stop)
        links.connect((session.view_changed, case.rows_changed, case.current_changed), self._follow)
        if session.painter is not None:
            session.painter.leave_out(row.key)
        self.changed.emit()

    def stop(self) -> None:
        """Take the layer away; a stroke that is not finished yet is saved as it is."""
        session, case, layer = self._session, self._case, self.layer
        if case is None or layer is None:
            return
        if session.case is case and case.row(self._key) is not None:
            self._save(case, layer)
        self._case = self.layer = None
        self._links.release()
        layers = session.viewer.layers
        in_hand = layers.selection.active in (layer, None)
        if layer in layers:
            layers.remove(layer)
        if in_hand:
            layers.selection.active = session.layer(Part.CT)
        if session.painter is not None:
            session.painter.leave_out(None)
        self.changed.emit()

    def use_generated(self) -> None:
        """Take the correction of the lesion at hand away; what is painted on becomes the generated mask."""
        case = self._session.case
        row = case.current if case is not None else None
        if case is not None and row is not None:
            case.paint_mask(row.key, None)
            self._fill(case.row(row.key) or row)

    def _make_layer(self, case: Case, row: Row) -> Labels:
        session = self._session
        layer = Labels(
            np.zeros((1, *case.volume.hu.shape[1:]), np.uint8),
            **on_slice(case, self._z),
            name=NAME,
            metadata=metadata(case),
            colormap=DirectLabelColormap(color_dict={None: "transparent", 0: "transparent", LESION: COLOUR}),
            opacity=0.4,
            blending="translucent_no_depth",
        )
        layer.selected_label = LESION
        x1, y1, x2, y2 = row.box
        layer.brush_size = min(max(round(min(x2 - x1, y2 - y1) / BRUSH_SHARE), 1), MOST_BRUSH)
        # napari's own undo would change the picture and not the lesion.
        layer.bind_key("Control-Z", lambda _: review.undo(session), overwrite=True)
        layer.bind_key("Control-Shift-Z", lambda _: review.redo(session), overwrite=True)
        return layer

    # -- the layer follows the lesion --

    def _follow(self) -> None:
        case = self._case
        if case is None or self.layer is None or self._saving:
            return
        row, current = case.row(self._key), case.current
        if row is None or current is None or current.key != self._key or self._session.z != self._z:
            self.stop()
        elif self._source_of(row) != self._source:
            self._fill(row)

    def _source_of(self, row: Row) -> object:
        """Give all that the layer shows as long as nobody paints on it."""
        if row.corrected_mask is not None:
            return row.corrected_mask
        return self._session.mask_kind, self._session.mask_parameters, row.box, row.recist

    def _fill(self, row: Row) -> None:
        case, layer = self._case, self.layer
        if case is None or layer is None:
            return
        self._source = self._source_of(row)
        try:
            mask = painted_mask(case, row)
        except AnnotationError as error:
            show_info(f"The painted mask is not shown: {error}")
            mask = None
        if mask is None:
            kind, parameters = self._session.mask_kind, self._session.mask_parameters
            mask, self._began = mask_to_correct(case, self._z, row, kind, parameters)
        self._began = self._began or "the corrected mask"
        layer.data[0] = mask
        self._known = mask
        layer.refresh()
        self.changed.emit()

    # -- the lesion follows the layer --

    def _painted(self, _event: Any) -> None:
        if self._case is not None and self.layer is not None:
            # Of a stroke napari tells when it is over, of a polygon just before it is drawn.
            self._due = not self._save(self._case, self.layer)

    def _drawn(self, _event: Any) -> None:
        if self._due and self._case is not None and self.layer is not None:
            self._due = not self._save(self._case, self.layer)

    def _save(self, case: Case, layer: Labels) -> bool:
        """Make what is painted an edit of the lesion; tell whether there was anything new.

        Nothing painted is no mask: a correction is taken away, and the layer begins again.
        """
        mask = layer.data[0] != 0
        if np.array_equal(mask, self._known):
            return False
        known, self._known = self._known, mask
        before, self._saving = self._saving, True
        try:
            case.paint_mask(self._key, encode(mask) if mask.any() else None)
        finally:
            self._saving = before
        row = case.row(self._key)
        if row is not None and mask.any():
            self._source = self._source_of(row)
            if _reaches_far(mask, row.box) and not _reaches_far(known, row.box):
                # What fills the slice at one click is a slip; of what is meant one is told once.
                show_warning(f"The mask now reaches far beyond the lesion's box. Key {key_of('undo')} takes that back.")
        elif row is not None:
            self._fill(row)
            show_info(f"Nothing was left of the mask. The brush begins again with {self._began}.")
        return True

    def _one_label(self, _event: Any) -> None:
        if self.layer is not None and self.layer.selected_label != LESION:
            self.layer.selected_label = LESION

    def _removed(self, event: Any) -> None:
        if event.value is self.layer:
            self.stop()


def mask_note(case: Case) -> str:
    """Say what a person should know about the corrected mask of the lesion at hand, or "" where there is none."""
    row = case.current
    if row is None or row.corrected_mask is None:
        return ""
    note = "Mask corrected by hand."
    if _leaves(decode(row.corrected_mask), row.box):
        note += " It reaches beyond the lesion's box, which stays as it is."
    return note


def _reaches_far(mask: np.ndarray, box: Box) -> bool:
    """Tell whether a mask leaves even the box grown by its own width and height on each side."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return _leaves(mask, (x1 - width, y1 - height, x2 + width, y2 + height))


def _leaves(mask: np.ndarray, box: Box) -> bool:
    """Tell whether a mask, bool (height, width), has pixels outside a box."""
    rows, columns = np.nonzero(mask)
    x1, y1, x2, y2 = box
    return bool(((rows < y1) | (rows > y2) | (columns < x1) | (columns > x2)).any())


def _without_box(viewer: ViewerModel) -> None:
    """Have no box behind napari's brush: it stays on the canvas as a black square when the brush is gone."""
    for overlay in viewer.canvas.overlays.values():
        if isinstance(overlay, BrushCircleOverlay):
            overlay.box = False
