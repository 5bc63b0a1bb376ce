"""The Detect panel: choose a detector, run it in a process of its own, filter what it found."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Protocol

from magicgui.widgets import ComboBox, FloatSlider, PushButton
from napari.viewer import Viewer

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CheckpointError
from napari_uld.inference.worker import DetectionWorker
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Work
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.detector_panel import DetectorPanel
from napari_uld.viewer.panels.detector_run import Process
from napari_uld.viewer.panels.empty import NO_SCAN
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.found import short_names
from napari_uld.viewer.state.rows import Mark
from napari_uld.viewer.state.thresholds import ANY

# Of the slider; operating points are in thousandths too.
STEP = 0.001


class Detector(Process, Protocol):
    """What runs a checkpoint on a scan: `DetectionWorker`, or a stand-in."""

    def detect(self, volume: CTVolume, checkpoint: Path, device: str = "auto") -> Work[Findings]:
        """Detect lesions."""


class DetectPanel(DetectorPanel):
    """Run a detector on the open scan; what several found lies side by side, each with a threshold of its own.

    Parameters
    ----------
    viewer
        The viewer whose open scan is searched.
    detector
        Runs checkpoints; a process of its own unless a test brings something else.
    """

    def __init__(self, viewer: Viewer, detector: Detector | None = None) -> None:
        self.detector = detector or DetectionWorker()
        super().__init__(viewer, self.detector, "Run", self._task, self._take)
        self.threshold = FloatSlider(
            value=self.session.thresholds.of(ANY, None), min=STEP, max=1.0, step=STEP, label="Score at least"
        )
        self.found = ComboBox(
            label="Findings of", tooltip="Whose findings the slider is for; each detector has its own"
        )
        self.remove = PushButton(
            text="Remove its findings", tooltip="Take away what this detector found; what you decided stays"
        )
        fields = [self.checkpoints.names, self.checkpoints.open_file, self.device]
        self._lay_out(fields, [self.found, self.threshold, self.remove])
        self.threshold.changed.connect(self._filter)
        self.found.changed.connect(self._turn_to)
        self.remove.changed.connect(self._remove)
        self.checkpoints.names.changed.connect(self._describe)
        self._describe()

    def _describe(self) -> None:
        try:
            info = self.checkpoints.info
            point = info.operating_point
            where = "" if point is None else f" From a score of {point:.3f} on it gave two false positives a key slice."
            begun = NO_SCAN if self.session.case is None else "Not run on this scan yet: Run looks at all its slices."
            self._say(f"{begun} {info.title}.{where}")
            if self.session.case is None or not self.session.case.findings:
                self._follow(self.session.thresholds.of(ANY, point))
        except CheckpointError as error:
            self._say(str(error))

    def _task(self, case: Case) -> tuple[str, Callable[[], Work[Findings]]]:
        chosen = (self.checkpoints.path, self.device.value)
        work = partial(detection, self.detector, case, self._phases(), *chosen)
        return f"Detecting in {case.volume.name}", work

    def _phases(self) -> tuple[str, ...]:
        try:
            return self.checkpoints.info.phases
        except CheckpointError:
            # The process says what is wrong with it.
            return ()

    def _take(self, case: Case, result: Findings) -> None:
        with self.session.at_once():
            case.set_findings(result)
            if self.session.needed_layer(Part.MARKS) is not None and self.session.marking is not None:
                self.session.marking.open_eyes()
            self._count()
            pending = [row for row in case.rows if row.mark is Mark.PENDING]
            if pending:
                self.session.jump(max(pending, key=lambda row: row.score or 0.0))

    def _open(self, case: Case | None) -> None:
        if case is not None:
            self._following.case_links.connect(case.threshold_changed, self._follow)
            self._following.case_links.connect(case.findings_changed, self._recount)
            self._follow(case.threshold)
        super()._open(case)
        self._recount()

    def _follow(self, value: float) -> None:
        """Stand where the case's threshold is; a detector's operating point moves it."""
        with self.threshold.changed.blocked():
            self.threshold.value = min(max(value, STEP), 1.0)

    def _filter(self, value: float) -> None:
        if self.session.case is not None:
            self.session.case.threshold = value
            self._recount()

    def _turn_to(self, detector: str | None) -> None:
        """Have the slider work on another detector's findings."""
        if self.session.case is not None and detector:
            self.session.case.detector = detector
            self._recount()

    def _remove(self) -> None:
        if self.session.case is not None:
            self.session.case.remove_findings(self.session.case.detector)

    def _list_detectors(self) -> None:
        """Offer the detectors whose findings are open, the one at hand chosen."""
        case = self.session.case
        names = short_names(case.findings) if case is not None else {}
        with self.found.changed.blocked():
            self.found.choices = [(name, detector) for detector, name in names.items()]
            if case is not None and names:
                self.found.value = case.detector
        # Where a detector's findings begin is not known before it was run.
        self.found.enabled = self.threshold.enabled = self.remove.enabled = bool(names)

    def _recount(self) -> None:
        """Say it again, unless the status tells how far a run is."""
        self._list_detectors()
        if self.running:
            return
        if self.session.case is not None and self.session.case.findings:
            self._count()
        else:
            self._describe()

    def _count(self) -> None:
        case = self.session.case
        findings = None if case is None else case.findings.get(case.detector)
        if case is not None and findings is not None:
            scores = findings.scores[~findings.negative]
            shown = int((scores >= case.threshold).sum())
            name = short_names(case.findings)[case.detector]
            if not len(scores):
                self._say(f"{name} found nothing on this scan.")
                return
            self._say(f"{shown} of {len(scores)} detections of {name} score at least {case.threshold:.3f}")


def detection(detector: Detector, case: Case, phases: Sequence[str], checkpoint: Path, device: str) -> Work[Findings]:
    """Detect in the open scan, or in these phases of its study; those that are not held are read first."""
    volume = (yield from case.phases.together(phases)) if phases else case.volume
    return (yield from detector.detect(volume, checkpoint, device))
