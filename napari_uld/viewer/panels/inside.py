"""The Look inside panel: on the slice that is shown, what teaches a detector and what it sees."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

import html
from functools import partial
from typing import Protocol

import numpy as np
from magicgui.widgets import ComboBox, Container, PushButton
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CheckpointError
from napari_uld.inference.inside_result import Inside, Rule
from napari_uld.inference.worker import DetectionWorker, Look
from napari_uld.lesions.findings import Box
from napari_uld.progress import Work
from napari_uld.viewer.case import Case, Mark
from napari_uld.viewer.inside_layers import MAP_COLOURS, STYLES, InsidePart, show_inside
from napari_uld.viewer.panels.checkpoints import CheckpointChoice
from napari_uld.viewer.panels.detector_run import DetectorRun, Outcome, Process
from napari_uld.viewer.settings import DEVICES, settings
from napari_uld.viewer.window import session_in_window

THE_CHECKPOINT = "none: the checkpoint above"
EXPLANATION = (
    "Shows as layers of the slice in view which anchors are positive for its lesions by each rule, what the "
    "detector takes for an object, and what its segmentation branch draws on its detections. A recipe has no "
    "weights yet: it shows anchors alone."
)
TITLES = {Rule.IOU: "IoU", Rule.BM: "BM", Rule.BMC: "BMC"}


class Looker(Process, Protocol):
    """What looks inside a detector: `DetectionWorker`, or a stand-in."""

    def look_inside(self, volume: CTVolume, look: Look, device: str = "auto") -> Work[Inside]:
        """Look inside on one slice."""


class InsidePanel(QWidget):
    """Look inside a checkpoint or a recipe on the slice that is shown.

    Parameters
    ----------
    viewer
        The viewer whose open scan is looked at.
    detector
        Runs checkpoints; a process of its own unless a test brings something else.
    """

    def __init__(self, viewer: Viewer, detector: Looker | None = None) -> None:
        super().__init__()
        self.session = session_in_window(viewer)
        self.detector = detector or DetectionWorker()
        self.run_in_process = DetectorRun(self, self.session, self.detector)
        self._case: Case | None = None
        self._build()
        self.session.case_changed.connect(self._enable)
        self.session.closed.connect(self._leave)
        self._enable()

    def _build(self) -> None:
        chosen = settings()
        self.checkpoints = CheckpointChoice(self, chosen.checkpoint)
        self.recipe = ComboBox(choices=[THE_CHECKPOINT, *_recipe_names()], label="Or a recipe")
        self.device = ComboBox(choices=DEVICES, value=chosen.device, label="Device")
        self.look_button = PushButton(text="Look at this slice")
        self.cancel_button = PushButton(text="Cancel")
        form = Container(widgets=[self.checkpoints.names, self.checkpoints.open_file, self.recipe, self.device])
        buttons = QHBoxLayout()
        buttons.addWidget(self.look_button.native)
        buttons.addWidget(self.cancel_button.native)
        self.status = QLabel(EXPLANATION)
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self)
        layout.addWidget(form.native)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
        layout.addStretch(1)
        self.recipe.changed.connect(self._enable)
        self.checkpoints.names.changed.connect(self._enable)
        self.look_button.changed.connect(self.look)
        self.cancel_button.changed.connect(self.cancel)
        self.run_in_process.said.connect(self.status.setText)
        self.run_in_process.returned.connect(self._returned)
        self.run_in_process.finished.connect(self._finished)

    @property
    def running(self) -> bool:
        """Whether a look is in progress."""
        return self.run_in_process.running

    def look(self) -> None:
        """Look inside what is chosen, on the slice that is shown."""
        case = self.session.case
        if case is None or self.running:
            return
        try:
            detector = self.checkpoints.path if self.recipe.value == THE_CHECKPOINT else self.recipe.value
        except CheckpointError as error:
            show_error(str(error))
            return
        z = self.session.z
        look = Look(z, np.array(lesions_on(case, z), dtype=np.float64).reshape(-1, 4), detector)
        self._case = case
        work = partial(self.detector.look_inside, case.volume, look, self.device.value)
        self.run_in_process.start("Looking inside", work)
        self.status.setText("Starting the detector")
        self._enable()

    def cancel(self) -> None:
        """Stop the look in progress."""
        self.cancel_button.enabled = False
        self.run_in_process.cancel()

    def _returned(self, outcome: Outcome) -> None:
        case = self._case
        if outcome.error is not None:
            self.status.setText(html.escape(f"Failed: {outcome.error}"))
            show_error(str(outcome.error))
        elif outcome.result is None:
            self.status.setText("Cancelled; nothing changed.")
        elif case is not None and case is self.session.case:
            drawn = show_inside(self.session.viewer, case, outcome.result)
            self.status.setText(report(case, outcome.result, drawn))
        else:
            show_info("The scan was closed meanwhile; what was found inside the detector is not shown.")

    def _finished(self) -> None:
        self._case = None
        self._enable()

    def _enable(self) -> None:
        of_recipe = self.recipe.value != THE_CHECKPOINT
        ready = self.session.case is not None and (of_recipe or self.checkpoints.names.value is not None)
        self.look_button.enabled = ready and not self.running
        self.cancel_button.enabled = self.running
        self.recipe.enabled = self.device.enabled = not self.running
        self.checkpoints.enable(not self.running and not of_recipe)

    def _leave(self) -> None:
        """Stop listening to a window that is gone."""
        self.session.case_changed.disconnect(self._enable)


def lesions_on(case: Case, z: int) -> list[Box]:
    """Boxes on a slice of the lesions that a person drew or accepted."""
    native = case.volume.native_slice(z)
    return [row.boxes[native] for row in case.rows if row.mark in (Mark.EXPERT, Mark.ACCEPTED) and native in row.boxes]


def report(case: Case, inside: Inside, drawn: dict[Rule, int]) -> str:
    """Say in HTML what the layers show, their colours beside their names."""
    lines = [f"<b>Slice {case.volume.native_slice(inside.z)}</b>"]
    total = f"{inside.cells * inside.per_cell:,} anchors in all, {inside.per_cell} on each of {inside.cells:,} cells."
    if len(inside.lesions):
        note = "By BMC all anchors of a cell are positive; drawn is the one of each cell that fits best."
        lines += [_table(inside, drawn), total, note]
    else:
        lines += ["No accepted lesion here, so no anchor is positive: draw one, or accept one.", total]
    if inside.objectness is None:
        lines.append("A recipe has no weights: no objectness, no branch.")
        return "<br>".join(lines)
    best = f", the best with {inside.scores[0]:.2f}" if len(inside.scores) else ""
    branch = "drawn on each detection" if inside.branch is not None else "this detector has none"
    lines += [
        f"{_swatch(MAP_COLOURS[InsidePart.OBJECTNESS])} Objectness: at most {inside.objectness.max():.2f}",
        f"{_swatch(MAP_COLOURS[InsidePart.BRANCH])} Branch: {branch}",
        f"Detections: {len(inside.scores)}{best}",
    ]
    return "<br>".join(lines)


def _table(inside: Inside, drawn: dict[Rule, int]) -> str:
    """Positive anchors by rule: all of them, for each lesion, and how many are drawn."""
    rows = ["<tr><td></td><td>positive&nbsp;</td><td>per lesion&nbsp;</td><td>drawn</td></tr>"]
    for rule, title in TITLES.items():
        counts = inside.per_lesion(rule)
        each = ", ".join(f"{n:,}" for n in counts)
        name = f"{_swatch(STYLES[rule].colour)} {title}&nbsp;"
        rows.append(f"<tr><td>{name}</td><td>{counts.sum():,}</td><td>{each}&nbsp;</td><td>{drawn[rule]}</td></tr>")
    return f"<table>{''.join(rows)}</table>"


def _swatch(colour: str) -> str:
    return f'<span style="color: {colour}">■</span>'


def _recipe_names() -> list[str]:
    from napari_uld.training.recipe import recipe_names

    return recipe_names()
