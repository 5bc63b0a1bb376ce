"""The Compare methods panel: detectors and the annotation on the open scan, side by side."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

import html
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import numpy as np
from magicgui.widgets import ComboBox, Container, Slider
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QLabel

from napari_uld.inference.worker import DetectionWorker
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Work
from napari_uld.viewer.layers.compared import PLACES, REFERENCE_COLOUR, ComparedLayers, ComparedPart
from napari_uld.viewer.layers.marks import Plane
from napari_uld.viewer.panels.compare_choices import Choices
from napari_uld.viewer.panels.compare_table import Column, ComparisonTable, ComparisonView
from napari_uld.viewer.panels.detect import Detector, detection
from napari_uld.viewer.panels.detector_panel import DetectorPanel
from napari_uld.viewer.panels.detector_run import Outcome
from napari_uld.viewer.panels.empty import NO_SCAN
from napari_uld.viewer.panels.legend import swatch
from napari_uld.viewer.panels.method_list import Choice, MethodList
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.compared import ANNOTATION, Compared, basis_of, compare, row_of

# False positives on the scan where the slider begins.
ALLOWED = 4
CHOOSE = "Choose two or more above, then press Run and compare: what did not run on this scan yet runs first."
LINES = "Solid boxes hit a lesion of the reference, dashed ones are false positives."
SLIDER_TIP = (
    "How many false positives each method may give on this scan: all are shown from the score on that gives no more. "
    "Scores themselves do not mean the same from one detector to another."
)


class ComparePanel(DetectorPanel):
    """Run detectors one after the other and hold them against a reference, at as many false positives each.

    Parameters
    ----------
    viewer
        The viewer whose open scan they are compared on.
    detector
        Runs checkpoints; a process of its own unless a test brings something else.
    """

    def __init__(self, viewer: Viewer, detector: Detector | None = None) -> None:
        self.detector = detector or DetectionWorker()
        super().__init__(viewer, self.detector, "Run and compare", self._task, self._take)
        self._layers = ComparedLayers(self.session.viewer, lambda act: self.session.later(act))
        self._choices = Choices(self.checkpoints)
        self._offered: list[Choice] = []
        # The scan that is compared on, what came of it, and the layer of each method.
        self._on: Case | None = None
        self._compared: Compared | None = None
        self._basis: tuple[object, ...] | None = None
        self._places: dict[str, ComparedPart] = {}
        self._plane: Plane | None = None
        # Checkpoints that are to run yet, the one that runs and how many there were; what became of them.
        self._waiting: list[str] = []
        self._name, self._total = "", 0
        self._said: list[str] = []
        # The reference and the false positives that the person chose.
        self._wanted: str = ANNOTATION
        self._allowed = ALLOWED
        self._build()
        self._lay_out([self.checkpoints.open_file, self.device, self.reference])
        self._lay_out_comparison()
        self._following.links.connect(self.session.view_changed, self._turned)

    def _build(self) -> None:
        self.methods = MethodList()
        self.methods.check(ANNOTATION)
        if self.checkpoints.names.value is not None:
            self.methods.check(self.checkpoints.names.value)
        self.reference = ComboBox(label="Reference", tooltip="What counts as a lesion: the others are held against it")
        self.allowed = Slider(value=ALLOWED, min=0, max=ALLOWED, label="False positives up to", tooltip=SLIDER_TIP)
        self.points = QLabel()
        self.points.setWordWrap(True)
        self.points.setTextFormat(Qt.TextFormat.RichText)
        self.model = ComparisonTable()
        self.table = ComparisonView(self.model)
        self.drawn = QCheckBox("Draw on the slices")
        self.drawn.setToolTip("What is compared in its colours, in place of what the review draws of its findings")
        self.drawn.setChecked(True)
        self.drawn.setFocusPolicy(Qt.FocusPolicy.NoFocus)
        self.methods.changed.connect(self._refresh)
        self.checkpoints.names.changed.connect(self.methods.check)
        self.reference.changed.connect(self._choose_reference)
        self.allowed.changed.connect(self._allow)
        self.drawn.toggled.connect(lambda _on: self._draw())
        self.table.chosen.connect(self._go)

    def _lay_out_comparison(self) -> None:
        layout = self.body.layout()
        layout.insertWidget(0, self.methods)
        for i, widget in enumerate((Container(widgets=[self.allowed]).native, self.points, self.drawn, self.table)):
            layout.insertWidget(3 + i, widget)
        layout.setStretch(layout.indexOf(self.table), 1)
        layout.setStretch(layout.indexOf(self.status), 0)

    # -- running --

    def run(self) -> None:
        """Run what did not run on the open scan yet, and compare what is chosen."""
        case = self.session.case
        if case is None or self.running:
            return
        self._on, self._said = case, []
        self._waiting = [choice.key for choice in self._chosen() if not choice.method and choice.key != ANNOTATION]
        self._total = len(self._waiting)
        self._go_on()

    def cancel(self) -> None:
        """Stop the run in progress and those to come; what ran is kept."""
        self._waiting = []
        super().cancel()

    def _go_on(self) -> None:
        """Run the next one, or show what came of all."""
        case = self._on
        # Another name of the same checkpoint may have run meanwhile.
        self._waiting = [name for name in self._waiting if case is not None and not self._choices.has_run(name, case)]
        if self._waiting:
            super().run()
        if not self.running:
            self._waiting = []
            self._refresh()

    def _task(self, case: Case) -> tuple[str, Callable[[], Work[Findings]]]:
        self._name = name = self._waiting.pop(0)
        work = partial(self._detect, case, name, self._choices.phases_of(name), self.device.value)
        return f"Detecting in {case.volume.name}", work

    def _detect(self, case: Case, name: str, phases: Sequence[str], device: str) -> Work[Findings]:
        return (yield from detection(self.detector, case, phases, self.checkpoints.path_of(name), device))

    def _take(self, case: Case, result: Findings) -> None:
        self._choices.ran(self._name, result.detector)
        case.set_findings(result)

    def _returned(self, outcome: Outcome) -> None:
        if outcome.error is not None:
            self._said.append(f"{self._title(self._name)} failed: {outcome.error}")
        elif outcome.result is None:
            self._said.append(f"Cancelled while {self._title(self._name)} ran; what ran before is kept.")
        super()._returned(outcome)

    def _finished(self) -> None:
        super()._finished()
        self._go_on()

    def _say(self, text: str) -> None:
        """Say how far a run is, and which of how many it is."""
        which = f"{self._total - len(self._waiting)} of {self._total}, {self._title(self._name)}: "
        super()._say(which + text if self.running else text)

    # -- what is compared --

    def _open(self, case: Case | None) -> None:
        if self._on is not None and self._on is not case:
            # Its layers went with the scan.
            self._on, self._waiting, self._said = None, [], []
        if case is not None:
            self._following.case_links.connect(case.rows_changed, self._refresh)
            self._following.case_links.connect(case.current_changed, self._mark)
        super()._open(case)
        self._refresh()

    def _end(self) -> None:
        super()._end()
        self._waiting = []
        self._leave_out(frozenset())
        self._layers.release()

    def _chosen(self) -> list[Choice]:
        """What is checked of what is offered."""
        return [choice for choice in self._offered if choice.key in self.methods.checked]

    def _refresh(self) -> None:
        """Offer what there is and compare what is chosen."""
        self._offered = self._choices.on(self.session.case)
        there: dict[str, Choice] = {}
        for choice in self._chosen():
            # Of two names of one checkpoint the first counts.
            if choice.method:
                there.setdefault(choice.method, choice)
        reference = self._offer_reference(there)
        methods = [method for method in there if method != reference][: len(PLACES)]
        self._compare(self._on, reference, methods)
        self._place([] if self._compared is None else methods)
        colours = {there[method].key: PLACES[part] for method, part in self._places.items()}
        if self._compared is not None:
            colours[there[reference].key] = REFERENCE_COLOUR
        self.methods.offer(self._offered, colours)
        self._set_slider()
        self._show()
        self._enable()
        if not self.running:
            self._describe()

    def _compare(self, case: Case | None, reference: str, methods: Sequence[str]) -> None:
        """Compare, unless nothing that it depends on has changed: the review's rows do at every step of a slider."""
        basis = basis_of(case, reference, methods) if case is not None and methods else None
        if basis != self._basis:
            self._basis = basis
            self._compared = compare(case, reference, methods) if case is not None and methods else None

    def _offer_reference(self, there: Mapping[str, Choice]) -> str:
        """Let a person choose the reference among what is there; give it, "" where there is none."""
        with self.reference.changed.blocked():
            self.reference.choices = [(choice.title, method) for method, choice in there.items()]
            if there:
                self.reference.value = next(each for each in (self._wanted, ANNOTATION, *there) if each in there)
        self.reference.enabled = len(there) > 1
        return self.reference.value or ""

    def _place(self, methods: Sequence[str]) -> None:
        """Give each method a layer and keep it there."""
        kept = {method: self._places[method] for method in methods if method in self._places}
        free = [part for part in PLACES if part not in kept.values()]
        new = [method for method in methods if method not in kept]
        self._places = kept | dict(zip(new, free, strict=False))

    def _set_slider(self) -> None:
        self.allowed.enabled = self._compared is not None and self._compared.most_false > 0
        if self._compared is None:
            return
        most = self._compared.most_false
        with self.allowed.changed.blocked():
            # Never beyond its end on the way.
            self.allowed.max = max(most, 1, self.allowed.value)
            self.allowed.value = min(self._allowed, max(most, 1))
            self.allowed.max = max(most, 1)

    # -- what the person does --

    def _choose_reference(self, method: str | None) -> None:
        if method:
            self._wanted = method
            self._refresh()

    def _allow(self, allowed: int) -> None:
        self._allowed = allowed
        self._show()

    def _go(self, row: int) -> None:
        """Go to a lesion of the reference."""
        case, compared = self._on, self._compared
        if case is None or compared is None:
            return
        lesion = compared.lesions[row]
        with self.session.at_once():
            known = row_of(case, lesion)
            case.select(None if known is None else known.key)
            self.session.show_box(lesion.native, lesion.box)

    # -- what is shown --

    def _show(self) -> None:
        """Show the comparison at the false positives that are allowed."""
        compared, names = self._compared, self._names
        if compared is None:
            self.points.setText("")
            self.model.show(None, (), ())
        else:
            points = compared.points(self.allowed.value)
            columns = [Column(names[each.name], PLACES[self._places[each.name]]) for each in compared.methods]
            self.points.setText(report(compared, columns, names[compared.reference], self.allowed.value))
            self.model.show(compared, columns, points)
        self.points.setVisible(compared is not None)
        self._mark()
        self._draw()

    def _draw(self) -> None:
        plane, compared = self.session.plane, self._compared
        self._plane = plane
        seen = compared is not None and self.drawn.isChecked() and plane is not None and plane.axis == 0
        if not seen or compared is None or plane is None or self._on is None:
            self._leave_out(frozenset())
            self._layers.hide()
            return
        points, names = compared.points(self.allowed.value), self._names
        self._leave_out(frozenset({compared.reference, *self._places}))
        self._layers.show(self._on, compared, points, self._places, plane.index)
        self._layers.name({part: names[method] for method, part in self._places.items()})

    def _leave_out(self, detectors: frozenset[str]) -> None:
        if self.session.marking is not None:
            self.session.marking.leave_out(detectors)

    def _turned(self) -> None:
        if self._compared is not None and self.session.plane != self._plane:
            self._draw()

    def _mark(self) -> None:
        """Show which lesion is at hand."""
        case, compared, place = self._on, self._compared, -1
        if case is not None and compared is not None and case.current is not None:
            at_hand = {case.current.key, *(ref.id for ref in case.current.also)}
            place = next((i for i, lesion in enumerate(compared.lesions) if lesion.id in at_hand), -1)
        self.table.mark(place)

    def _describe(self) -> None:
        """Say how it stands, and what to do next."""
        said, empty = list(self._said), "The reference has no lesion on this scan."
        if self.session.case is None:
            empty = f"{NO_SCAN} {CHOOSE}"
        elif self._compared is None:
            empty = CHOOSE if self._on is None else "Fewer than two of what is chosen are there to be compared."
        else:
            if ANNOTATION in self.methods.checked and not self._offered[0].method:
                said.append("Nobody annotated a lesion on this scan: a detector is the reference.")
            left_out = len(self._names) - 1 - len(self._compared.methods)
            if left_out > 0:
                said.append(f"{len(PLACES)} can be told apart: of what is checked the last {left_out} are left out.")
            said.append(LINES)
        self.status.setText("<br>".join(html.escape(text, quote=False) for text in said))
        self.table.empty = empty
        self.table.viewport().update()

    def _title(self, key: str) -> str:
        return next((choice.title for choice in self._offered if choice.key == key), key)

    @property
    def _names(self) -> dict[str, str]:
        """What each chosen method that is there is called: by the first of its names."""
        return {choice.method: choice.title for choice in reversed(self._chosen()) if choice.method}

    @property
    def _ready(self) -> bool:
        return len(self._chosen()) > 1

    def _enable(self) -> None:
        super()._enable()
        self.methods.setEnabled(not self.running)


def report(compared: Compared, columns: Sequence[Column], reference: str, allowed: int) -> str:
    """Say in HTML what each method finds where it may give so many false positives, its colour beside its name."""
    lesions = len(compared.lesions)
    rows = ["<tr><td></td><td>found&nbsp;&nbsp;</td><td>false&nbsp;&nbsp;</td><td>from</td></tr>"]
    for column, point in zip(columns, compared.points(allowed), strict=True):
        score = "" if point.score == -np.inf else "none" if point.score == np.inf else f"{point.score:.3f}"
        name = f"{swatch(column.colour)} {html.escape(column.title)}&nbsp;&nbsp;"
        found = f"{point.found} of {lesions}&nbsp;&nbsp;"
        rows.append(f"<tr><td>{name}</td><td>{found}</td><td>{point.false}&nbsp;&nbsp;</td><td>{score}</td></tr>")
    what = f"{swatch(REFERENCE_COLOUR)} Reference: {html.escape(reference)}, {lesions} lesion{'s' * (lesions != 1)}"
    return f"<table>{''.join(rows)}</table>{what}"
