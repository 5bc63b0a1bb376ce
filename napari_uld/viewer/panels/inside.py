"""The Look inside panel: on the slice that is shown, what teaches a detector and what it sees."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

import html
from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
from magicgui.widgets import ComboBox
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor, QIcon, QPixmap
from qtpy.QtWidgets import QCheckBox, QGridLayout

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.inside_result import Guesses, HeatMap, Inside, Rule
from napari_uld.inference.worker import DetectionWorker, Look
from napari_uld.lesions.findings import Box
from napari_uld.progress import Work
from napari_uld.viewer.layers.inside import (
    ATTENTION,
    ATTENTION_COLOURS,
    BOX_COLOURS,
    CENTRES,
    MAP_COLOURS,
    OBJECTNESS,
    SEGMENTATION,
    Boxes,
    InsideLayers,
    boxes_of,
    kind_of,
    maps_of,
    slices_of,
)
from napari_uld.viewer.panels.detector_panel import DetectorPanel
from napari_uld.viewer.panels.detector_run import Process
from napari_uld.viewer.panels.empty import NO_SCAN
from napari_uld.viewer.panels.legend import swatch
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark

THE_CHECKPOINT, NO_MAP = "none: the detector above", "none"
# How many scores are said, check boxes stand in a row, and pixels a colour takes beside its box.
BEST, BOXES_A_ROW, SWATCH = 5, 3, 10
EXPLANATION = (
    "Shows on the slice in view which anchors (or cells, or queries) are positive for its lesions by each rule, what "
    "the detector takes for an object, what it draws as lesions, what its attention gates let through, and its "
    "detections; of a detector of volumes, where it takes the centres of lesions to lie, on the slices about this one "
    "and in 3D. A recipe has no weights yet: it shows what is positive alone."
)
CALIBRATED = (
    "A score is p (1 + IoU) / 2: the anchor's own, and how well its box fits the one about a component of the map."
)
# Where a skip connection brings features to: levels of the pyramid, then of the segmentation path.
JOINED = {"C4": "P4", "C3": "P3", "C2": "P2", "C1": "P1", "input": "P0"}
TITLES: dict[str, str] = {
    Rule.IOU: "IoU",
    Rule.BM: "BM",
    Rule.BMC: "BMC",
    "points": "Cells",
    "centres": "Cells of centres",
    "queries": "Queries",
}
ONE = {Guesses.ANCHORS: "anchor", Guesses.CELLS: "cell", Guesses.QUERIES: "query"}
# What the map of objectness is of a detector that scores at once.
OWN_SCORES = {
    Guesses.ANCHORS: "Objectness, the anchors' own scores p",
    Guesses.CELLS: "Objectness, the cells' own scores",
    Guesses.QUERIES: "Objectness, the surest query's score where its box has its middle",
}
ORIGINS = {
    Guesses.ANCHORS: "",
    Guesses.CELLS: "A cross lies on the peak that a detection comes from.",
    Guesses.QUERIES: "A cross is the reference point of a detection's query, and a line leads from there to its box.",
}


class Looker(Process, Protocol):
    """What looks inside a detector: `DetectionWorker`, or a stand-in."""

    def look_inside(self, volume: CTVolume, look: Look, device: str = "auto") -> Work[Inside]:
        """Look inside on one slice."""


class InsidePanel(DetectorPanel):
    """Look inside a checkpoint or a recipe on the slice that is shown.

    Parameters
    ----------
    viewer
        The viewer whose open scan is looked at.
    detector
        Runs checkpoints; a process of its own unless a test brings something else.
    """

    def __init__(self, viewer: Viewer, detector: Looker | None = None) -> None:
        self.detector = detector or DetectionWorker()
        super().__init__(viewer, self.detector, "Look at this slice", self._task, self._take)
        self._layers = InsideLayers(self.session.viewer, lambda act: self.session.later(act))
        # What was seen last, the scan that it is of, and whether that slice is shown.
        self._seen: tuple[Case, Inside] | None = None
        self._is_there = self._in_3d = False
        # The map that the person chose, and the one that is shown.
        self._wanted: str | None = None
        self._map = NO_MAP
        self.recipe = ComboBox(choices=[THE_CHECKPOINT, *_recipe_names()], label="Or a recipe")
        self.map = ComboBox(label="Map", tooltip="Which map is shown; the layer's eye hides it for a while")
        self.boxes = {kind: _box(kind) for kind in reversed(Boxes)}
        self._lay_out([self.checkpoints.names, self.checkpoints.open_file, self.recipe, self.device, self.map])
        self._lay_out_boxes()
        self.recipe.changed.connect(self._enable)
        self.map.changed.connect(self._choose_map)
        for box in self.boxes.values():
            box.toggled.connect(self._choose)
        self._following.links.connect(self.session.view_changed, self._turned)
        self._offer()
        self._describe()

    def _lay_out_boxes(self) -> None:
        grid = QGridLayout()
        for i, box in enumerate(self.boxes.values()):
            grid.addWidget(box, i // BOXES_A_ROW, i % BOXES_A_ROW)
        self.body.layout().insertLayout(1, grid)

    def _describe(self) -> None:
        if self._seen is None:
            self._say(EXPLANATION if self.session.case is not None else f"{NO_SCAN} {EXPLANATION}")
        else:
            case, inside = self._seen
            native = case.volume.native_slice(inside.z)
            self._say(f"Slice {native} was looked at: go back to it to see that again, or look at this slice.")

    def _task(self, case: Case) -> tuple[str, Callable[[], Work[Inside]]]:
        detector = self.recipe.value if self._of_recipe else self.checkpoints.path
        z = self.session.z
        look = Look(z, np.array(lesions_on(case, z), dtype=np.float64).reshape(-1, 4), detector)
        return "Looking inside", partial(self.detector.look_inside, case.volume, look, self.device.value)

    def _take(self, case: Case, result: Inside) -> None:
        self._seen, self._is_there, self._in_3d = (case, result), self._is_shown(result), self._is_3d
        self._offer()
        self._draw()
        self._report()

    def _end(self) -> None:
        super()._end()
        self._layers.release()

    def _open(self, case: Case | None) -> None:
        # Its layers went with the scan.
        if self._seen is not None and self._seen[0] is not case:
            self._seen, self._is_there = None, False
            self._offer()
        super()._open(case)

    # -- what is shown of it --

    def _is_shown(self, inside: Inside) -> bool:
        plane = self.session.plane
        if plane is None:
            # In 3D there is something to be seen of what lies on several slices.
            return inside.centres is not None and self._is_3d
        return plane.axis == 0 and plane.index in slices_of(inside)

    @property
    def _is_3d(self) -> bool:
        return self.session.viewer.dims.ndisplay == 3

    def _turned(self) -> None:
        """What was seen is of one slice: it goes with it, and comes back with it."""
        if self._seen is None:
            return
        before = self._is_there, self._in_3d
        self._is_there, self._in_3d = self._is_shown(self._seen[1]), self._is_3d
        if before == (self._is_there, self._in_3d):
            return
        self._layers.see(self._is_there, in_3d=self._in_3d)
        if not self.running:
            self._report()

    def _offer(self) -> None:
        """Offer the maps and boxes that there are to choose from."""
        maps = [] if self._seen is None else list(maps_of(self._seen[1]))
        kinds = {} if self._seen is None else boxes_of(*self._seen)
        with self.map.changed.blocked():
            self.map.choices = [NO_MAP, *maps]
            self.map.value = self._wanted if self._wanted in self.map.choices else next(iter(maps), NO_MAP)
        self.map.visible = bool(maps)
        for kind, box in self.boxes.items():
            box.setVisible(kind in kinds)

    def _choose_map(self, name: str) -> None:
        self._wanted = name
        self._choose()

    def _choose(self) -> None:
        """A person chose what to see."""
        if self._seen is not None:
            self._layers.open()
            self._draw()

    def _draw(self) -> None:
        if self._seen is None:
            return
        before, self._map = self._map, self.map.value
        if self._map == SEGMENTATION and before != SEGMENTATION:
            # In its colours people's lesions would look like something that the detector sees.
            self.session.show_masks(False)
        kinds = [kind for kind, box in self.boxes.items() if box.isChecked()]
        self._layers.take(*self._seen, self._map, kinds)
        self._layers.see(self._is_there, in_3d=self._in_3d)

    def _report(self) -> None:
        """Say what is shown, or of which slice that was."""
        if self._seen is not None and self._is_there:
            self.status.setText(report(*self._seen))
        else:
            self._describe()

    @property
    def _of_recipe(self) -> bool:
        """Whether a recipe is looked at, not a checkpoint."""
        return self.recipe.value != THE_CHECKPOINT

    @property
    def _ready(self) -> bool:
        return self._of_recipe or super()._ready

    def _enable(self) -> None:
        super()._enable()
        self.recipe.enabled = not self.running
        self.checkpoints.enable(not self.running and not self._of_recipe)


def lesions_on(case: Case, z: int) -> list[Box]:
    """Boxes on a slice of the lesions that a person drew or accepted."""
    native = case.volume.native_slice(z)
    return [row.boxes[native] for row in case.rows if row.mark in (Mark.EXPERT, Mark.ACCEPTED) and native in row.boxes]


def report(case: Case, inside: Inside) -> str:
    """Say in HTML what there is to see, and of which slice, its colours beside the names."""
    drawn = {kind: len(boxes) for kind, boxes in boxes_of(case, inside).items()}
    lines = [f"<b>Slice {case.volume.native_slice(inside.z)}</b> of {html.escape(case.volume.name)}"]
    if inside.centres is not None:
        return "<br>".join([*lines, _centres(case, inside.centres), _detections(case, inside, drawn[Boxes.DETECTIONS])])
    total = _total(inside)
    if len(inside.lesions):
        lines += [_table(inside, drawn), total]
    else:
        positive = f"no {ONE[inside.guesses]} is positive"
        lines += [f"No accepted lesion here, so {positive}: draw one, or accept one.", total]
    if len(inside.lesions) and Rule.BMC in inside.anchors:
        lines.append("By BMC all anchors of a cell are positive; drawn is the one of each cell that fits best.")
    if inside.one_stage and Rule.IOU in inside.anchors and not inside.per_lesion(Rule.IOU).all():
        lines.append("No anchor is forced: a lesion that none overlaps enough teaches no box.")
    if inside.objectness is None:
        return "<br>".join([*lines, "A recipe has no weights: no maps, no detections."])
    name = OWN_SCORES[inside.guesses] if inside.one_stage else "Objectness"
    lines += [
        f"{swatch(MAP_COLOURS[OBJECTNESS])} {name}: at most {inside.objectness.max():.2f}",
        _segmentation(inside),
        _detections(case, inside, drawn[Boxes.DETECTIONS]),
    ]
    if inside.one_stage and inside.branch is not None:
        lines.append(CALIBRATED)
    if inside.attention:
        lines.append(_attention(inside))
    if inside.places is not None and drawn[Boxes.DETECTIONS]:
        lines.append(ORIGINS[inside.guesses])
    if inside.windows:
        each = ", ".join(f"{low:g} to {high:g} HU {share:.2f}" for (low, high), share in inside.windows.items())
        lines.append(f"What its gate lets through of each window, from 0 to 1: {each}")
    if inside.position is not None:
        lines.append(f"Position along the body, from 0 towards the head to 1: {inside.position:.2f}")
    return "<br>".join(lines)


def _total(inside: Inside) -> str:
    """How many guesses there are."""
    guesses = f"{inside.cells * inside.per_cell:,} {inside.guesses} in all"
    if inside.guesses is Guesses.ANCHORS:
        return f"{guesses}, {inside.per_cell} on each of {inside.cells:,} cells."
    if inside.guesses is Guesses.QUERIES:
        return f"{guesses}: each lesion is taught one of them, whichever fits it best among what all of them say."
    return f"{guesses}: each makes one guess."


def _table(inside: Inside, drawn: dict[Boxes, int]) -> str:
    """What is positive by rule: all of them, for each lesion, and how many are drawn."""
    rows = ["<tr><td></td><td>positive&nbsp;</td><td>per lesion&nbsp;</td><td>drawn</td></tr>"]
    for rule in [*(rule for rule in TITLES if rule in inside.anchors), *(r for r in inside.anchors if r not in TITLES)]:
        title, kind = TITLES.get(rule, rule), kind_of(rule)
        counts = inside.per_lesion(rule)
        each = ", ".join(f"{n:,}" for n in counts)
        name = f"{swatch(BOX_COLOURS[kind])} {title}&nbsp;"
        rows.append(f"<tr><td>{name}</td><td>{counts.sum():,}</td><td>{each}&nbsp;</td><td>{drawn[kind]}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _centres(case: Case, heat: HeatMap) -> str:
    first, last = (case.volume.native_slice(z) for z in (heat.slices[0], heat.slices[-1]))
    name = f"{swatch(MAP_COLOURS[CENTRES])} {CENTRES} of lesions on slices {min(first, last)} to {max(first, last)}"
    return f"{name}, and in 3D: at most {heat.values.max():.2f}."


def _segmentation(inside: Inside) -> str:
    name = f"{swatch(MAP_COLOURS[SEGMENTATION])} Segmentation"
    if inside.branch is None:
        return f"{name}: this detector has none"
    where = "of the whole slice" if inside.one_stage else "on each detection"
    return (
        f"{name} {where}: at most {inside.branch.max():.2f}. As the map it hides the layer Mask, of the same colours."
    )


def _detections(case: Case, inside: Inside, drawn: int) -> str:
    """How many detections are drawn of how many, and by which threshold."""
    name = f"{swatch(BOX_COLOURS[Boxes.DETECTIONS])} Detections"
    if not len(inside.scores):
        return f"{name}: none"
    lowest = case.thresholds.of(inside.detector, inside.operating_point)
    chosen = f"{drawn} of {len(inside.scores)} drawn, from {lowest:.3f} on as in the review"
    best = ", ".join(f"{score:.2f}" for score in inside.scores[: max(1, min(drawn, BEST))])
    return f"{name}: {chosen}; the best {best}"


def _attention(inside: Inside) -> str:
    """Which features each attention map weighs on their way to which level."""
    legend = "".join(swatch(colour) for colour in ATTENTION_COLOURS)
    names = {features: f"{features} to {level}" for features, level in JOINED.items()}
    gates = (f"{names.get(features, features)} {values.max():.2f}" for features, values in inside.attention.items())
    return f"0 {legend} 1 {ATTENTION}. At most: {', '.join(gates)}"


def _box(kind: Boxes) -> QCheckBox:
    box = QCheckBox(kind.value)
    box.setChecked(True)
    box.setFocusPolicy(Qt.FocusPolicy.NoFocus)
    colour = QPixmap(SWATCH, SWATCH)
    colour.fill(QColor(BOX_COLOURS[kind]))
    box.setIcon(QIcon(colour))
    return box


def _recipe_names() -> list[str]:
    from napari_uld.detectors.specs.recipe import recipe_names

    return recipe_names()
