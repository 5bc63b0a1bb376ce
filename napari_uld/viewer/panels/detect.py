"""The Detect panel: choose a detector, run it in a process of its own, filter what it found."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from functools import partial
from pathlib import Path
from typing import Protocol

from magicgui.widgets import ComboBox, Container, FloatSlider, PushButton
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CheckpointError
from napari_uld.inference.worker import DetectionWorker
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Work
from napari_uld.viewer.case import Case
from napari_uld.viewer.layers import Part
from napari_uld.viewer.panels.checkpoints import CheckpointChoice
from napari_uld.viewer.panels.detector_run import DetectorRun, Outcome, Process
from napari_uld.viewer.settings import DEVICES, settings
from napari_uld.viewer.window import session_in_window

# Detectors report nothing below it, so there is nothing to filter.
LOWEST_SCORE = 0.05


class Detector(Process, Protocol):
    """What runs a checkpoint on a scan: `DetectionWorker`, or a stand-in."""

    def detect(self, volume: CTVolume, checkpoint: Path, device: str = "auto") -> Work[Findings]:
        """Detect lesions."""


class DetectPanel(QWidget):
    """Run a detector on the open scan.

    Parameters
    ----------
    viewer
        The viewer whose open scan is searched.
    detector
        Runs checkpoints; a process of its own unless a test brings something else.
    """

    def __init__(self, viewer: Viewer, detector: Detector | None = None) -> None:
        super().__init__()
        self.session = session_in_window(viewer)
        self.detector = detector or DetectionWorker()
        self.run_in_process = DetectorRun(self, self.session, self.detector)
        self._case: Case | None = None
        self._build()
        self.session.case_changed.connect(self._open)
        self.session.closed.connect(self._leave)
        self._open()

    def _build(self) -> None:
        chosen = settings()
        self.checkpoints = CheckpointChoice(self, chosen.checkpoint)
        self.device = ComboBox(choices=DEVICES, value=chosen.device, label="Device")
        self.threshold = FloatSlider(
            value=chosen.score_threshold, min=LOWEST_SCORE, max=1.0, step=0.01, label="Score at least"
        )
        self.run_button = PushButton(text="Run")
        self.cancel_button = PushButton(text="Cancel")
        form = Container(widgets=[self.checkpoints.names, self.checkpoints.open_file, self.device, self.threshold])
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button.native)
        buttons.addWidget(self.cancel_button.native)
        self.status = QLabel()
        self.status.setWordWrap(True)
        layout = QVBoxLayout(self)
        layout.addWidget(form.native)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
        layout.addStretch(1)
        self.threshold.changed.connect(self._filter)
        self.run_button.changed.connect(self.run)
        self.cancel_button.changed.connect(self.cancel)
        self.checkpoints.names.changed.connect(self._describe)
        self.run_in_process.said.connect(self.status.setText)
        self.run_in_process.returned.connect(self._returned)
        self.run_in_process.finished.connect(self._finished)
        self._describe()

    def _describe(self) -> None:
        try:
            self.status.setText(self.checkpoints.info.title)
        except CheckpointError as error:
            self.status.setText(str(error))
        self._enable()

    # -- running --

    @property
    def running(self) -> bool:
        """Whether a detection is in progress."""
        return self.run_in_process.running

    def run(self) -> None:
        """Detect on the open scan with what is chosen."""
        case = self.session.case
        if case is None or self.running:
            return
        try:
            checkpoint = self.checkpoints.path
        except CheckpointError as error:
            show_error(str(error))
            return
        self._case = case
        work = partial(self.detector.detect, case.volume, checkpoint, self.device.value)
        self.run_in_process.start(f"Detecting in {case.volume.name}", work)
        self.status.setText("Starting the detector")
        self._enable()

    def cancel(self) -> None:
        """Stop the detection in progress."""
        self.cancel_button.enabled = False
        self.run_in_process.cancel()

    def _returned(self, outcome: Outcome) -> None:
        case = self._case
        if outcome.error is not None:
            self.status.setText(f"Failed: {outcome.error}")
            show_error(str(outcome.error))
        elif outcome.result is None:
            self.status.setText("Cancelled; nothing changed.")
        elif case is not None and case is self.session.case:
            case.set_findings(outcome.result)
            layer = self.session.layer(Part.DETECTIONS)
            if layer is not None:
                layer.visible = True
            self._count()
            self.session.step(1, pending_only=True)
        else:
            show_info(f"{outcome.result.scan_name} was closed meanwhile; what was found in it is not shown.")

    def _finished(self) -> None:
        self._case = None
        self._enable()

    # -- following the case --

    def _open(self) -> None:
        case = self.session.case
        if case is not None:
            case.threshold = self.threshold.value
        self._enable()

    def _filter(self, value: float) -> None:
        if self.session.case is not None:
            self.session.case.threshold = value
            if not self.running:
                self._count()

    def _count(self) -> None:
        case = self.session.case
        if case is not None and case.findings is not None:
            scores = case.findings.scores[~case.findings.negative]
            shown = int((scores >= case.threshold).sum())
            self.status.setText(f"{shown} of {len(scores)} detections score at least {case.threshold:.2f}")

    def _enable(self) -> None:
        ready = self.session.case is not None and self.checkpoints.names.value is not None
        self.run_button.enabled = ready and not self.running
        self.cancel_button.enabled = self.running
        self.device.enabled = not self.running
        self.checkpoints.enable(not self.running)

    def _leave(self) -> None:
        """Stop listening to a window that is gone."""
        self.session.case_changed.disconnect(self._open)
