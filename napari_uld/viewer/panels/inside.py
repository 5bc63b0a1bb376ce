"""The Look inside panel: on the slice that is shown, what teaches a detector and what it sees."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Callable
from functools import partial
from typing import Protocol

import numpy as np
from magicgui.widgets import ComboBox
from napari.viewer import Viewer

from napari_uld.ct.volume import CTVolume
from napari_uld.inference.inside_result import Inside, Rule
from napari_uld.inference.worker import DetectionWorker, Look
from napari_uld.lesions.findings import Box
from napari_uld.progress import Work
from napari_uld.viewer.layers.inside import (
    ATTENTION_COLOURS,
    MAP_COLOURS,
    STYLES,
    InsidePart,
    part_of_rule,
    show_inside,
)
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.panels.detector_panel import DetectorPanel
from napari_uld.viewer.panels.detector_run import Process
from napari_uld.viewer.panels.legend import swatch
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.rows import Mark

THE_CHECKPOINT = "none: the checkpoint above"
EXPLANATION = (
    "Shows as layers of the slice in view which anchors are positive for its lesions by each rule, what the "
    "detector takes for an object, what it draws as lesions, what its attention gates let through, and its "
    "detections. A recipe has no weights yet: it shows anchors alone."
)
CALIBRATED = (
    "A score is p (1 + IoU) / 2: the anchor's own, and how well its box fits the one about a component of the map."
)
# Where a skip connection brings features to: levels of the pyramid, then of the segmentation path.
JOINED = {"C4": "P4", "C3": "P3", "C2": "P2", "C1": "P1", "input": "P0"}
TITLES: dict[str, str] = {Rule.IOU: "IoU", Rule.BM: "BM", Rule.BMC: "BMC"}


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
        self.recipe = ComboBox(choices=[THE_CHECKPOINT, *_recipe_names()], label="Or a recipe")
        self._lay_out([self.checkpoints.names, self.checkpoints.open_file, self.recipe, self.device])
        self.recipe.changed.connect(self._enable)
        self._describe()

    def _describe(self) -> None:
        self._say(EXPLANATION)

    def _task(self, case: Case) -> tuple[str, Callable[[], Work[Inside]]]:
        detector = self.recipe.value if self._of_recipe else self.checkpoints.path
        z = self.session.z
        look = Look(z, np.array(lesions_on(case, z), dtype=np.float64).reshape(-1, 4), detector)
        return "Looking inside", partial(self.detector.look_inside, case.volume, look, self.device.value)

    def _take(self, case: Case, result: Inside) -> None:
        viewer, painter = self.session.viewer, self.session.painter
        new = result.branch is not None and find_layer(viewer, case, InsidePart.SEGMENTATION) is None
        if new and painter is not None:
            # In its colours people's lesions would look like something that the detector sees.
            painter.eye.shut()
        drawn = show_inside(viewer, case, result)
        self.status.setText(report(case, result, drawn))

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


def report(case: Case, inside: Inside, drawn: dict[InsidePart, int]) -> str:
    """Say in HTML what the layers show, their colours beside their names."""
    lines = [f"<b>Slice {case.volume.native_slice(inside.z)}</b>"]
    total = f"{inside.cells * inside.per_cell:,} anchors in all, {inside.per_cell} on each of {inside.cells:,} cells."
    if len(inside.lesions):
        lines += [_table(inside, drawn), total]
    else:
        lines += ["No accepted lesion here, so no anchor is positive: draw one, or accept one.", total]
    if len(inside.lesions) and Rule.BMC in inside.anchors:
        lines.append("By BMC all anchors of a cell are positive; drawn is the one of each cell that fits best.")
    if inside.one_stage and Rule.IOU in inside.anchors and not inside.per_lesion(Rule.IOU).all():
        lines.append("No anchor is forced: a lesion that none overlaps enough teaches no box.")
    if inside.objectness is None:
        return "<br>".join([*lines, "A recipe has no weights: no maps, no detections."])
    name = "Objectness, the anchors' own scores p" if inside.one_stage else "Objectness"
    lines += [
        f"{swatch(MAP_COLOURS[InsidePart.OBJECTNESS])} {name}: at most {inside.objectness.max():.2f}",
        _segmentation(inside),
        _detections(case, inside, drawn[InsidePart.DETECTIONS]),
    ]
    if inside.one_stage and inside.branch is not None:
        lines.append(CALIBRATED)
    if inside.attention:
        lines.append(_attention(inside))
    return "<br>".join(lines)


def _table(inside: Inside, drawn: dict[InsidePart, int]) -> str:
    """Positive anchors by rule: all of them, for each lesion, and how many are drawn."""
    rows = ["<tr><td></td><td>positive&nbsp;</td><td>per lesion&nbsp;</td><td>drawn</td></tr>"]
    for rule in [*(rule for rule in TITLES if rule in inside.anchors), *(r for r in inside.anchors if r not in TITLES)]:
        title, part = TITLES.get(rule, rule), part_of_rule(rule)
        counts = inside.per_lesion(rule)
        each = ", ".join(f"{n:,}" for n in counts)
        name = f"{swatch(STYLES[part].colour)} {title}&nbsp;"
        rows.append(f"<tr><td>{name}</td><td>{counts.sum():,}</td><td>{each}&nbsp;</td><td>{drawn[part]}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _segmentation(inside: Inside) -> str:
    name = f"{swatch(MAP_COLOURS[InsidePart.SEGMENTATION])} Segmentation"
    if inside.branch is None:
        return f"{name}: this detector has none"
    where = "of the whole slice" if inside.one_stage else "on each detection"
    return (
        f"{name} {where}: at most {inside.branch.max():.2f}. The layer Mask, of the same colours, is hidden at first."
    )


def _detections(case: Case, inside: Inside, drawn: int) -> str:
    """How many detections are drawn of how many, and by which threshold."""
    name = f"{swatch(STYLES[InsidePart.DETECTIONS].colour)} Detections"
    if not len(inside.scores):
        return f"{name}: none"
    lowest = case.thresholds.of(inside.detector, inside.operating_point)
    chosen = f"{drawn} of {len(inside.scores)} drawn, from {lowest:.3f} on as in the review"
    return f"{name}: {chosen}; the best {inside.scores[0]:.2f}"


def _attention(inside: Inside) -> str:
    """Which features each attention map weighs on their way to which level."""
    legend = "".join(swatch(colour) for colour in ATTENTION_COLOURS)
    names = {features: f"{features} to {level}" for features, level in JOINED.items()}
    gates = (f"{names.get(features, features)} {values.max():.2f}" for features, values in inside.attention.items())
    return f"0 {legend} 1 Attention, layers hidden at first. At most: {', '.join(gates)}"


def _recipe_names() -> list[str]:
    from napari_uld.detectors.specs.recipe import recipe_names

    return recipe_names()
