"""What the panels share that run a detector: a checkpoint, a device, one run at a time, and how it ends."""

# PyQt's stubs call every getter optional; these are there as long as the widget is.
# mypy: disable-error-code="union-attr, override"

import html
from collections.abc import Callable, Sequence
from typing import Any

from magicgui.widgets import ComboBox, Container, PushButton
from magicgui.widgets.bases import Widget
from napari.utils.notifications import show_error, show_info
from napari.viewer import Viewer
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QHBoxLayout, QLabel, QVBoxLayout

from napari_uld.errors import CheckpointError
from napari_uld.progress import Work
from napari_uld.viewer.panels.checkpoints import CheckpointChoice
from napari_uld.viewer.panels.detector_run import DetectorRun, Outcome, Process
from napari_uld.viewer.panels.following import Following
from napari_uld.viewer.panels.scrolled import ScrolledPanel
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.settings import DEVICES, settings


class DetectorPanel(ScrolledPanel):
    """A panel that runs a detector on the open scan; what it asks for and shows is its own.

    Parameters
    ----------
    viewer
        The viewer whose open scan it works on.
    process
        The detector's process.
    action
        What the button that starts it says.
    task
        Gives what to run on a case with what is chosen, and its description.
    take
        Shows a run's result on the case that it was asked for.
    """

    def __init__(
        self,
        viewer: Viewer,
        process: Process,
        action: str,
        task: Callable[[Case], tuple[str, Callable[[], Work[Any]]]],
        take: Callable[[Case, Any], None],
    ) -> None:
        super().__init__()
        self._make_task, self._take_result = task, take
        self.session = workbench_in_window(viewer).session
        chosen = settings()
        self.checkpoints = CheckpointChoice(self, chosen.checkpoint)
        self.device = ComboBox(choices=DEVICES, value=chosen.device, label="Device")
        self.run_button = PushButton(text=action)
        self.cancel_button = PushButton(text="Cancel")
        self.status = QLabel()
        self._case: Case | None = None
        self._run = DetectorRun(self, process)
        self._run.said.connect(self._say)
        self._run.returned.connect(self._returned)
        self._run.finished.connect(self._finished)
        self.run_button.changed.connect(self.run)
        self.cancel_button.changed.connect(self.cancel)
        self.checkpoints.names.changed.connect(self._enable)
        self._following = Following(self, self.session, self._open, self._end)

    def _lay_out(self, fields: Sequence[Widget], found: Sequence[Widget] = ()) -> None:
        """Stand what is run with above the buttons, what is for its findings below, and follow the case from now on."""
        form = Container(widgets=fields)
        buttons = QHBoxLayout()
        buttons.addWidget(self.run_button.native)
        buttons.addWidget(self.cancel_button.native)
        self.status.setWordWrap(True)
        self.status.setTextFormat(Qt.TextFormat.RichText)
        layout = QVBoxLayout(self.body)
        layout.addWidget(form.native)
        layout.addLayout(buttons)
        if found:
            layout.addWidget(Container(widgets=found).native)
        self.status.setAlignment(Qt.AlignmentFlag.AlignTop)
        layout.addWidget(self.status, stretch=1)
        self._following.begin()

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._run.running

    def run(self) -> None:
        """Run on the open scan with what is chosen."""
        case = self.session.case
        if case is None or self.running:
            return
        if case.reading is not None:
            show_info(f"Still reading {case.volume.name}: run the detector once all of it is there.")
            return
        try:
            self._start(case, *self._make_task(case))
        except CheckpointError as error:
            show_error(f"The detector cannot be used: {error}")

    def cancel(self) -> None:
        """Stop the run in progress."""
        self.cancel_button.enabled = False
        self._run.cancel()

    def _start(self, case: Case, description: str, work: Callable[[], Work[Any]]) -> None:
        self._case = case
        self._run.start(description, work)
        self._say("Starting the detector")
        self._enable()

    def _returned(self, outcome: Outcome) -> None:
        case = self._case
        if outcome.error is not None:
            self._say(f"Failed: {outcome.error}")
            show_error(f"Failed: {outcome.error}")
        elif outcome.result is None:
            self._say("Cancelled; nothing changed.")
        elif case is not None and case is self.session.case:
            self._take_result(case, outcome.result)
        elif case is not None:
            show_info(f"Not shown, its scan was closed meanwhile: what was found in {case.volume.name}.")

    def _finished(self) -> None:
        self._case = None
        self._enable()

    def _say(self, text: str) -> None:
        """Write plain text into the status."""
        self.status.setText(html.escape(text, quote=False))

    @property
    def _ready(self) -> bool:
        """Whether there is a detector to run."""
        return self.checkpoints.names.value is not None

    def _open(self, _case: Case | None) -> None:
        # What it said is of the scan before.
        if not self.running:
            self._describe()
        self._enable()

    def _describe(self) -> None:
        """Say what there is to say before anything was run on the open scan."""
        self._say("")

    def _end(self) -> None:
        """The panel goes, or the window."""
        self._run.end()

    def _enable(self) -> None:
        self.run_button.enabled = self.session.case is not None and self._ready and not self.running
        self.cancel_button.enabled = self.running
        self.device.enabled = not self.running
        self.checkpoints.enable(not self.running)
