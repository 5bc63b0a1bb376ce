"""What ties a viewer to the scan open in it: layers follow the case, drawing becomes edits.

No tool is known here: a session announces what happens, and tools listen.
"""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from napari.components import ViewerModel
from napari.layers import Image, Layer
from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal

from napari_uld.errors import AnnotationFileError
from napari_uld.lesions.findings import Box
from napari_uld.masks import MaskKind, MaskParameters
from napari_uld.viewer.layers.directions import HeadUp
from napari_uld.viewer.layers.marking import Marking
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.masks import MaskPainter
from napari_uld.viewer.layers.parts import Part, case_of, disown, insert_layer, is_copy, part_of
from napari_uld.viewer.layers.scan import case_layers, limit, refill, slider_range
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.cases import CaseList
from napari_uld.viewer.state.files import save_case
from napari_uld.viewer.state.hooks import Answer
from napari_uld.viewer.state.keeping import Keeper
from napari_uld.viewer.state.links import Links
from napari_uld.viewer.state.thresholds import Thresholds
from napari_uld.viewer.view import View


class Session(View):
    """One viewer and the case open in it.

    Parameters
    ----------
    viewer
        The viewer (a plain `ViewerModel` does).
    """

    case_changed = Signal()
    # A case was arranged to be read from where it opens.
    arranged = Signal()
    # More of the scan that is being read is there.
    filled = Signal()
    # A layer that belongs to a case is in the viewer now.
    layer_added = Signal(Layer)
    # A person wants a tool, by its name, or nothing in hand any more.
    tool_wanted = Signal(str)
    put_down = Signal()
    # The next phase of the study shall be shown.
    phase_wanted = Signal()
    # The viewer's window is gone.
    closed = Signal()
    # Another folder is worked through.
    cases_changed = Signal()

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__(viewer)
        self.painter: MaskPainter | None = None
        # A reader of the scan wants to see what is under a mask: a window shows none before one is asked for.
        self.shows_masks = True
        self.mask_kind = MaskKind.BM
        self.mask_parameters = MaskParameters()
        self.kinds: frozenset[Kind] = frozenset(Kind)
        self.labels_all = False
        self.marking: Marking | None = None
        self.keeper: Keeper | None = None
        self._given_up: Case | None = None
        self._links = Links()
        # What a person chose for a detector holds for the next scan too.
        self.thresholds = Thresholds()
        # The scans of the folder that is worked through, which the Cases panel lists.
        self._cases: CaseList | None = None
        # The box of a lesion that was copied, to be pasted on another slice or scan.
        self.copied: Box | None = None
        # Whether layers go from one case to the next: what is written on the canvas would come off and on again.
        self._swapping = False
        # Whether a scan is being read.
        self.opening = False
        self._head_up = HeadUp()
        self.closed.connect(self._give_up)
        viewer.layers.events.inserted.connect(self._inserted)
        viewer.layers.events.removed.connect(self._removed)
        viewer.dims.events.point.connect(self._moved)
        viewer.dims.events.order.connect(self._moved)
        viewer.dims.events.ndisplay.connect(self._moved)
        viewer.scene.camera.events.zoom.connect(self._zoomed)
        viewer.scene.camera.events.orientation.connect(self.show_caption)
        for layer in list(viewer.layers):
            self._adopt(layer)

    @property
    def cases(self) -> CaseList | None:
        """The scans of the folder that is worked through."""
        return self._cases

    @cases.setter
    def cases(self, cases: CaseList | None) -> None:
        if cases is not self._cases:
            self._cases = cases
            self.cases_changed.emit()

    def needed_layer(self, part: Part) -> Layer | None:
        """Give a layer of the open case that is to be worked on; one that somebody removed comes back."""
        if self.case is not None and self.layer(part) is None:
            parts = list(Part)
            data, look, kind = case_layers(self.case)[parts.index(part)]
            insert_layer(self.viewer, self.case, Layer.create(data, look, kind), under=parts[parts.index(part) + 1 :])
        return self.layer(part)

    def save(self, path: Path | None = None) -> bool:
        """Save the annotations (to `path`, where it is given); tell whether that was done."""
        if self.case is None or self.case.reading is not None:
            show_info("There is no scan to save the lesions of.")
            return False
        try:
            written = save_case(self.case, path)
        except AnnotationFileError as error:
            show_error(f"The lesions are not saved: {error}")
            elsewhere = self.ask_path(self.case) if path is None else None
            return elsewhere is not None and self.save(elsewhere)
        show_info(f"Saved {len(self.case.annotations)} lesions in {written}")
        return True

    def arrange(self) -> None:
        """Show a newly opened case: the lesion at hand, its first or its middle, the body in view, sliders at hand."""
        if self.case is None:
            return
        natives = set(self.case.volume.slice_numbers.tolist())
        self.viewer.layers.selection.active = self.layer(Part.CT)
        row = self.case.current or next((row for row in self.case.rows if row.native in natives), None)
        if row is None:
            self.show_voxel({axis: (size - 1) // 2 for axis, size in enumerate(self.case.volume.shape)})
        self.jump(row)
        self.fit_body()
        self.arranged.emit()

    def choose_marks(self, kinds: Collection[Kind], *, labels_all: bool) -> None:
        """Choose which marks are shown and whether all are labelled, in this scan and in the next."""
        self.kinds, self.labels_all = frozenset(kinds), labels_all
        if self.marking is not None:
            self.marking.choose(self.kinds, labels_all=labels_all)

    def choose_mask(self, kind: MaskKind, parameters: MaskParameters) -> None:
        """Paint another kind of pseudo mask, in this scan and in the next."""
        self.mask_kind, self.mask_parameters = kind, parameters
        if self.painter is not None:
            self.painter.choose(kind, parameters)
            self.view_changed.emit()

    def show_masks(self, on: bool) -> None:  # noqa: FBT001
        """Show the masks of lesions or not, in this scan and in the next."""
        self.shows_masks = on
        if self.painter is not None:
            (self.painter.eye.open if on else self.painter.eye.shut)()
        self.view_changed.emit()

    def may_close(self) -> bool:
        """Ask about unsaved edits; tell whether the case may go."""
        if self.keeper is not None:
            self.keeper.save()
        if self.case is None or not self.case.annotations.unsaved:
            return True
        answer = self.ask_unsaved(self.case)
        if answer is Answer.SAVE:
            return self.save()
        # Given up when the case goes: what is to take its place may yet be refused.
        self._given_up = self.case if answer is Answer.DISCARD else None
        return answer is Answer.DISCARD

    def offer_restore(self) -> None:
        """Ask about decisions that a crash left in the review log alone, and bring them back where that is wanted."""
        if self.case is None or self.keeper is None or not self.case.unsaved:
            return
        wanted = self.ask_restore(self.case)
        if wanted:
            count = self.keeper.restore()
            show_info(f"{count} lesion{'s are' if count != 1 else ' is'} as before the program ended.")
        elif wanted is not None:
            self.keeper.discard()

    # -- layers that come and go --

    def open(self, case: Case) -> None:
        """Show a scan; the layers of the one that was open are used again."""
        old = self.case
        if old is None:
            with self.still():
                for data, look, kind in case_layers(case):
                    self.viewer.add_layer(Layer.create(data, look, kind))
            return
        layers = {part: self.layer(part) for part in Part}
        self.case = None
        self._leave(old)
        self._take_away(old, but=[layer for layer in layers.values() if layer is not None])
        self._swapping = True
        try:
            for part, made in zip(Part, case_layers(case), strict=True):
                layer = layers[part]
                if layer is not None:
                    refill(layer, made)
        finally:
            self._swapping = False
        marking = self._begin(case)
        with marking.at_once():
            for part in Part:
                layer = self.needed_layer(part)
                if layer is not None and layer is layers[part]:
                    self._follow(layer)

    def show_caption(self) -> None:
        """Write what is shown, once it is there."""
        if not self._swapping:
            super().show_caption()

    def fill(self, done: int, total: int) -> None:
        """Show what has arrived of the scan that is being read: so many of its files, of so many."""
        ct = self.layer(Part.CT)
        if self.case is not None and ct is not None:
            # A scan that was opened just now shows what it is then.
            if self.case.reading != (done, total):
                self.case.reading = (done, total)
                ct.refresh(thumbnail=False, extent=False)
                self.show_caption()
            self.filled.emit()

    def _inserted(self, event: Any) -> None:
        self._adopt(event.value)

    def _adopt(self, layer: Layer) -> None:
        if is_copy(self.viewer, layer):
            disown(layer)
        case, part = case_of(layer), part_of(layer)
        if case is None:
            return
        self.layer_added.emit(layer)
        if part is None:
            return
        if case is not self.case:
            old = self.case
            if old is not None:
                self._leave(old)
                self._take_away(old)
            self._begin(case)
        if part is Part.CT:
            layer.events.contrast_limits.connect(self.show_caption)
        self._follow(layer)

    def _begin(self, case: Case) -> Marking:
        """Set up what follows a case; give what shows its marks."""
        self.case = case
        self._head_up.follow(self.viewer)
        case.use_thresholds(self.thresholds)
        self.marking = marking = Marking(self.viewer, case, shown=lambda: self.plane, later=lambda act: self.later(act))
        marking.choose(self.kinds, labels_all=self.labels_all)
        self._links.connect((case.rows_changed, case.current_changed), self._redraw)
        self.keeper = Keeper(
            case,
            warn=show_warning,
            soon=lambda act: self.soon(act),
            afterwards=lambda act: self.afterwards(act),
            saves_itself=lambda: self.saves_itself(),
        )
        self.case_changed.emit()
        return marking

    def _follow(self, layer: Layer) -> None:
        """Keep one of the case's layers true to it."""
        part, case = part_of(layer), self.case
        if case is None or part is None:
            return
        if part is Part.MASK and isinstance(layer, Image):
            self.painter = MaskPainter(case, layer, shown=self._axial_slice)
            if not self.shows_masks:
                self.painter.eye.shut()
            self.painter.choose(self.mask_kind, self.mask_parameters)
        elif part is Part.CT and isinstance(layer, Image):
            limit(layer, *slider_range(case))
            self.show_caption()
        elif self.marking is not None:
            self.marking.follow(layer)

    def _axial_slice(self) -> int | None:
        return self.z if self.is_axial else None

    def _removed(self, event: Any) -> None:
        if self.case is None or case_of(event.value) is not self.case or part_of(event.value) is not Part.CT:
            return
        # Once napari is through: where all layers were chosen the others go only now, and what it does not find any
        # more, or finds again, it stumbles over.
        if not self.may_close() and self.in_window:
            self.later(lambda: self._bring_back(event.value))
            return
        # A script that closes its viewer does so whatever is said. What could not be saved stays in the review log.
        case, self.case = self.case, None
        self._leave(case)
        self.later(lambda: self._take_away(case))
        self.show_caption()
        self.case_changed.emit()

    def _bring_back(self, ct: Layer) -> None:
        """Put the CT back, and whichever of the case's layers went with it."""
        if self.case is None or case_of(ct) is not self.case:
            return
        if ct not in self.viewer.layers:
            self.viewer.layers.insert(0, ct)
        for part in Part:
            self.needed_layer(part)

    def _leave(self, case: Case) -> None:
        """Follow a case no more."""
        self._links.release()
        if self.marking is not None:
            self.marking.release()
        if self.painter is not None:
            self.painter.release()
        self.marking = self.painter = None
        if self.keeper is not None and self.keeper.case is case:
            self._give_up()
            self.keeper.release()
            self.keeper = None

    def _take_away(self, case: Case, but: Sequence[Layer] = ()) -> None:
        """The layers of a case go, all `but` those that the next one takes over."""
        viewer = self._viewer()
        if viewer is None:
            return
        for layer in [layer for layer in viewer.layers if case_of(layer) is case and layer not in but]:
            viewer.layers.remove(layer)

    def _give_up(self) -> None:
        """The case goes: so do the edits that a person gave up, but not those that nobody was asked about."""
        if self.keeper is not None:
            self.keeper.keep_findings()
        if self.keeper is not None and self._given_up is self.keeper.case and not self.keeper.case.unsaved:
            self.keeper.discard()

    def _moved(self) -> None:
        if self.case is not None:
            self._head_up.follow(self.viewer)
        if self._acts:
            self._changed = True
        else:
            if self.painter is not None:
                self.painter.turned()
            if self.marking is not None:
                self.marking.turned()
        self.show_caption()

    def _zoomed(self) -> None:
        if self.marking is not None:
            self.marking.zoomed()

    def _redraw(self) -> None:
        """The case changed."""
        if self._acts:
            self._changed = True
            return
        if self.marking is not None:
            self.marking.redraw()
        if self.painter is not None:
            self.painter.repaint()
