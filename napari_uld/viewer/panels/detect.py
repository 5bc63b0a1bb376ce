"""The Detect panel: choose a detector, run it in a process of its own, filter what it found."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from magicgui.widgets import ComboBox, Container, FloatSlider, PushButton
from napari.qt.threading import GeneratorWorker, create_worker
from napari.utils import progress
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtWidgets import QFileDialog, QHBoxLayout, QLabel, QVBoxLayout, QWidget

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError, CheckpointError, UldError, WorkerError
from napari_uld.inference.catalogue import bundled_checkpoints, find_checkpoint, read_info
from napari_uld.inference.worker import DetectionWorker
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Progress, Work
from napari_uld.viewer.case import Case
from napari_uld.viewer.layers import Part
from napari_uld.viewer.settings import DEVICES, settings
from napari_uld.viewer.window import session_in_window

# Detectors report nothing below it, so there is nothing to filter.
LOWEST_SCORE = 0.05


class Detector(Protocol):
    """What runs a checkpoint on a scan: `DetectionWorker`, or a stand-in."""

    def detect(self, volume: CTVolume, checkpoint: Path, device: str = "auto") -> Work[Findings]:
        """Detect lesions."""

    def cancel(self) -> None:
        """Stop the run in progress; from any thread."""

    def close(self) -> None:
        """End the process."""


@dataclass(frozen=True)
class Outcome:
    """How a run ended: with findings, with an error, or (neither) cancelled."""

    findings: Findings | None = None
    error: UldError | None = None


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
        self._run: GeneratorWorker | None = None
        self._bar: Any = None
        self._case: Case | None = None
        self._ended = False
        self._build()
        self.session.case_changed.connect(self._open)
        self.session.closed.connect(self._end)
        self._open()

    def _build(self) -> None:
        chosen = settings()
        names = list(bundled_checkpoints())
        self.checkpoint = ComboBox(choices=names, label="Checkpoint")
        self.open_file = PushButton(text="Open a checkpoint file…")
        self.device = ComboBox(choices=DEVICES, value=chosen.device, label="Device")
        self.threshold = FloatSlider(
            value=chosen.score_threshold, min=LOWEST_SCORE, max=1.0, step=0.01, label="Score at least"
        )
        self.run_button = PushButton(text="Run")
        self.cancel_button = PushButton(text="Cancel")
        form = Container(widgets=[self.checkpoint, self.open_file, self.device, self.threshold])
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
        self.open_file.changed.connect(self._ask_checkpoint)
        self.threshold.changed.connect(self._filter)
        self.run_button.changed.connect(self.run)
        self.cancel_button.changed.connect(self.cancel)
        self.checkpoint.changed.connect(self._describe)
        if chosen.checkpoint:
            self._prefer(chosen.checkpoint)
        self._describe()

    # -- checkpoints --

    def add_checkpoint(self, path: Path) -> None:
        """Offer a checkpoint file and choose it.

        Raises
        ------
        CheckpointError
            If the file is none.
        """
        read_info(path)
        name = str(path)
        if name not in self.checkpoint.choices:
            self.checkpoint.choices = (*self.checkpoint.choices, name)
        self.checkpoint.value = name
        self._enable()

    def _prefer(self, name_or_path: str) -> None:
        if name_or_path in self.checkpoint.choices:
            self.checkpoint.value = name_or_path
            return
        try:
            self.add_checkpoint(find_checkpoint(name_or_path))
        except CheckpointError as error:
            show_error(f"The checkpoint set in the preferences cannot be used: {error}")

    def _ask_checkpoint(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Open a checkpoint", "", "Checkpoints (*.safetensors)")
        if name:
            try:
                self.add_checkpoint(Path(name))
            except CheckpointError as error:
                show_error(str(error))

    def _describe(self) -> None:
        name = self.checkpoint.value
        if name is None:
            self.status.setText("No checkpoint comes with this installation: open a file.")
            return
        try:
            info = read_info(find_checkpoint(name))
        except CheckpointError as error:
            self.status.setText(str(error))
        else:
            self.status.setText(info.title)

    # -- running --

    @property
    def running(self) -> bool:
        """Whether a detection is in progress."""
        return self._run is not None

    def run(self) -> None:
        """Detect on the open scan with what is chosen."""
        case = self.session.case
        if case is None or self.running:
            return
        try:
            checkpoint = find_checkpoint(self.checkpoint.value)
        except CheckpointError as error:
            show_error(str(error))
            return
        self._case = case
        self._bar = progress(total=0, desc=f"Detecting in {case.volume.name}")
        self._run = create_worker(
            _detect,
            self.detector,
            case.volume,
            checkpoint,
            self.device.value,
            _connect={"yielded": self._progressed, "returned": self._returned, "finished": self._finished},
        )
        self.status.setText("Starting the detector")
        self._enable()

    def cancel(self) -> None:
        """Stop the detection in progress."""
        if self.running:
            self.status.setText("Cancelling")
            self.cancel_button.enabled = False
            self.detector.cancel()

    def _progressed(self, step: Progress) -> None:
        message = step.message or "Detecting"
        self.status.setText(message)
        bar = self._bar
        if bar is not None:
            if bar.total != step.total:
                bar.reset(step.total)  # the time that is left counts from the first slice
                bar.total = step.total
            bar.set_description(message)
            # Last, because it lets Qt handle events: the run may be over when it comes back.
            bar.update(step.done - bar.n)

    def _returned(self, outcome: Outcome) -> None:
        case = self._case
        if outcome.error is not None:
            self.status.setText(f"Failed: {outcome.error}")
            show_error(str(outcome.error))
        elif outcome.findings is None:
            self.status.setText("Cancelled; nothing changed.")
        elif case is not None and case is self.session.case:
            case.set_findings(outcome.findings)
            layer = self.session.layer(Part.DETECTIONS)
            if layer is not None:
                layer.visible = True
            self._count()
            self.session.step(1, pending_only=True)
        else:
            show_info(f"{outcome.findings.scan_name} was closed meanwhile; what was found in it is not shown.")

    def _finished(self) -> None:
        if self._bar is not None:
            self._bar.close()
        self._run = self._bar = self._case = None
        if self._ended:
            self.detector.close()
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
        ready = self.session.case is not None and self.checkpoint.value is not None
        self.run_button.enabled = ready and not self.running
        self.cancel_button.enabled = self.running
        self.checkpoint.enabled = self.device.enabled = self.open_file.enabled = not self.running

    # -- the end --

    def _end(self) -> None:
        """End the detector's process with the window; nothing less than that cancels a run."""
        self._ended = True
        self.session.case_changed.disconnect(self._open)
        if self.running:
            self.detector.cancel()
        else:
            self.detector.close()


def _detect(detector: Detector, volume: CTVolume, checkpoint: Path, device: str) -> Work[Outcome]:
    """Follow a detection from a thread; errors that a person can understand come back as a result."""
    try:
        findings = yield from detector.detect(volume, checkpoint, device)
    except CancelledError:
        return Outcome()
    except UldError as error:
        return Outcome(error=error)
    except (RuntimeError, OSError) as error:
        # Qt's thread would take a RuntimeError for its own end and tell nobody.
        return Outcome(error=WorkerError(f"The detector failed: {error}"))
    return Outcome(findings)
