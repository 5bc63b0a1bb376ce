import os
from dataclasses import replace
from pathlib import Path
from threading import Event

import pytest
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot
from qtpy.QtWidgets import QDockWidget

from napari_uld.ct.entries import ScanEntry
from napari_uld.errors import UldError, WorkerError
from napari_uld.inference.catalogue import CheckpointInfo, bundled_checkpoints
from napari_uld.lesions.annotations import State
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Work
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.checkpoints import CheckpointChoice
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.rows import Mark

from ..conftest import FakeDetector, drawn


def run(panel: DetectPanel, qtbot: QtBot) -> None:
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)


def panel_of(session: Session, qtbot: QtBot, detector: FakeDetector) -> DetectPanel:
    panel = DetectPanel(session.viewer, detector)
    qtbot.addWidget(panel)
    return panel


@pytest.mark.usefixtures("tiny_checkpoint")
def test_running_shows_findings_and_takes_the_first_in_hand(session: Session, findings: Findings, qtbot: QtBot) -> None:
    session.case.remove_findings(findings.detector)
    detector = FakeDetector(findings)
    panel = panel_of(session, qtbot, detector)
    panel.device.value = "cpu"
    run(panel, qtbot)
    assert [call[0::2] for call in detector.calls] == [("study", "cpu")]
    assert session.case.current.mark is Mark.PENDING
    assert panel.status.text().startswith("2 of 3 detections of fake")
    assert panel.run_button.enabled
    assert not panel.cancel_button.enabled


def offer_phases(panel: DetectPanel, monkeypatch: pytest.MonkeyPatch, *phases: str) -> None:
    """Have the chosen checkpoint be of a detector that sees these phases."""
    recipe = {"method": {"name": "fake", "title": "Fake"}, "input": {"phases": phases}}
    info = CheckpointInfo(Path("fake"), "f00", recipe, {})
    monkeypatch.setattr(CheckpointChoice, "info", property(lambda _: info))


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_detector_of_phases_is_given_the_studys_whichever_is_shown(
    session: Session, findings: Findings, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, detector = session.case, FakeDetector(findings)
    own, other = (
        ScanEntry(name, "nifti", Path(name), 10, files=(Path(name),)) for name in ("study, portal", "arterial")
    )
    case.phases.offer(own, (other, own))
    arterial = replace(case.volume, hu=case.volume.hu + 50, name="arterial")
    case.phases.show(other, arterial)
    panel = panel_of(session, qtbot, detector)
    offer_phases(panel, monkeypatch, "portal", "arterial")
    run(panel, qtbot)
    (seen,) = detector.seen
    assert seen.scan_id == case.volume.scan_id
    assert [each.hu.max() for each in seen.phases] == [case.volume.hu.max(), arterial.hu.max()]
    assert findings.detector in case.findings


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_detector_of_phases_on_a_scan_by_itself_says_what_is_missing(
    session: Session, findings: Findings, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = panel_of(session, qtbot, FakeDetector(findings))
    offer_phases(panel, monkeypatch, "portal", "arterial")
    run(panel, qtbot)
    assert "sees 2 phases together (portal, arterial)" in panel.status.text()


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_slider_filters_what_is_drawn_while_it_moves(session: Session, findings: Findings, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeDetector(findings))
    run(panel, qtbot)
    counts = []
    session.show_native(15)
    for value in (0.05, 0.6, 0.95):
        panel.threshold.value = value
        counts.append(len(drawn(session, Kind.DETECTIONS)))
    assert counts == [2, 1, 0]


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_run_ends_at_the_surest_finding(session: Session, findings: Findings, qtbot: QtBot) -> None:
    session.case.remove_findings(findings.detector)
    panel = panel_of(session, qtbot, FakeDetector(findings))
    run(panel, qtbot)
    assert session.case.current.score == 0.9


@pytest.mark.usefixtures("tiny_checkpoint")
def test_findings_from_a_file_are_counted_too(session: Session, findings: Findings, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, FakeDetector())
    session.case.set_findings(replace(findings, method="another"))
    assert panel.status.text() == "2 of 3 detections of another score at least 0.400"


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_slider_is_for_the_detector_that_is_chosen_and_its_findings_can_be_taken_away(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    second = replace(findings, method="second", checkpoint="abc", boxes=findings.boxes + 1, operating_point=0.8)
    panel = panel_of(session, qtbot, FakeDetector(second))
    run(panel, qtbot)
    assert panel.found.choices == (findings.detector, second.detector)
    assert (panel.found.value, panel.threshold.value) == (second.detector, 0.8)
    panel.found.value = findings.detector
    assert panel.threshold.value == 0.4
    assert panel.status.text() == "2 of 3 detections of fake score at least 0.400"
    panel.threshold.value = 0.05
    assert session.case.thresholds.of(second.detector, 0.8) == 0.8
    panel.remove.native.click()
    assert list(session.case.findings) == [second.detector]
    assert panel.found.value == second.detector
    panel.remove.native.click()
    assert not panel.remove.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_the_slider_goes_to_the_detectors_operating_point(session: Session, findings: Findings, qtbot: QtBot) -> None:
    session.case.remove_findings(findings.detector)
    panel = panel_of(session, qtbot, FakeDetector(replace(findings, operating_point=0.15)))
    assert panel.threshold.value == 0.4
    run(panel, qtbot)
    assert panel.threshold.value == 0.15
    assert panel.status.text().startswith("3 of 3 detections of fake score at least 0.150")


def test_before_a_run_the_slider_is_idle_where_the_findings_will_begin(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    session.case.remove_findings(findings.detector)
    panel = panel_of(session, qtbot, FakeDetector(findings))
    assert panel.threshold.value == pytest.approx(panel.checkpoints.info.operating_point, abs=0.001)
    assert not panel.threshold.enabled
    run(panel, qtbot)
    assert panel.threshold.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_buttons_swap_while_it_runs_and_cancelling_changes_nothing(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    before = [row.key for row in session.case.rows]
    panel = panel_of(session, qtbot, FakeDetector(findings, waits=True))
    panel.run_button.native.click()
    assert not panel.run_button.enabled
    assert panel.cancel_button.enabled
    panel.cancel_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.status.text() == "Cancelled; nothing changed."
    assert [row.key for row in session.case.rows] == before


@pytest.mark.usefixtures("tiny_checkpoint")
@pytest.mark.parametrize("error", [WorkerError("The detector's process ended (exit code -9)"), RuntimeError("boom")])
def test_a_crash_is_a_message_and_unsaved_edits_stay(
    session: Session, qtbot: QtBot, shown: list[Notification], error: Exception
) -> None:
    session.case.decide(session.case.rows[0].key, State.ACCEPTED)
    rows = list(session.case.annotations)
    panel = panel_of(session, qtbot, FakeDetector(error=error))
    run(panel, qtbot)
    assert str(error) in shown[-1].message
    assert list(session.case.annotations) == rows
    assert session.case.annotations.unsaved
    assert panel.run_button.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_what_is_found_in_a_scan_that_was_closed_meanwhile_is_not_shown_on_another(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    session.case.remove_findings(findings.detector)
    case = session.case
    detector = FakeDetector(findings, waits=True)
    panel = panel_of(session, qtbot, detector)
    panel.run_button.native.click()
    session.viewer.layers.remove(session.layer(Part.CT))
    detector.waits = False
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert not case.findings
    assert not panel.run_button.enabled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_panel_that_is_closed_in_a_run_ends_the_run_and_its_process(session: Session, qtbot: QtBot) -> None:
    detector, deleted = FakeDetector(waits=True), []
    panel, dock = DetectPanel(session.viewer, detector), QDockWidget()
    qtbot.addWidget(dock)
    dock.setWidget(panel)
    panel.run()
    qtbot.waitUntil(lambda: bool(detector.calls))
    panel.destroyed.connect(lambda: deleted.append(True))
    panel.setParent(None)
    qtbot.waitUntil(lambda: bool(deleted))
    del panel
    qtbot.waitUntil(lambda: detector.closed)
    assert detector.cancelled


@pytest.mark.usefixtures("tiny_checkpoint")
def test_a_cancel_from_before_the_process_knows_of_the_run_is_not_lost(
    session: Session, findings: Findings, qtbot: QtBot
) -> None:
    cancelled = Event()

    class Slow(FakeDetector):
        def detect(self, *asked: object) -> Work[Findings]:
            assert cancelled.wait(5)
            return (yield from super().detect(*asked))

    panel = panel_of(session, qtbot, Slow(findings, waits=True))
    panel.run()
    panel.cancel()
    cancelled.set()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert panel.status.text() == "Cancelled; nothing changed."


def test_choosing_a_checkpoint_reads_its_description_alone(
    session: Session, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: CheckpointInfo) -> None:
        pytest.fail("the whole file is read for its hash")

    monkeypatch.setattr(CheckpointInfo, "digest", property(refuse))
    panel = panel_of(session, qtbot, FakeDetector())
    panel.checkpoints.add(bundled_checkpoints()["uldor"])
    assert panel.checkpoints.info.name == "uldor"
    assert "looks at all its slices. ULDor" in panel.status.text()


def test_a_file_that_is_no_checkpoint_is_refused(session: Session, qtbot: QtBot, tmp_path: Path) -> None:
    panel = panel_of(session, qtbot, FakeDetector())
    damaged = tmp_path / "damaged.safetensors"
    damaged.write_bytes(os.urandom(64))
    with pytest.raises(UldError, match="damaged"):
        panel.checkpoints.add(damaged)
    assert str(damaged) not in panel.checkpoints.names.choices
