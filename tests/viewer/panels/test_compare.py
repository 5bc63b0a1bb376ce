"""The Compare methods panel, with a stand-in for the detectors' process."""

import time
from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot
from qtpy.QtCore import Qt
from qtpy.QtGui import QColor

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError, CheckpointError, WorkerError
from napari_uld.inference.catalogue import CheckpointInfo
from napari_uld.lesions.annotations import Annotations, State
from napari_uld.lesions.findings import Findings
from napari_uld.progress import Progress
from napari_uld.viewer.layers.compared import PLACES, REFERENCE_COLOUR, ComparedPart
from napari_uld.viewer.layers.marks import Kind
from napari_uld.viewer.layers.parts import find_layer
from napari_uld.viewer.panels import checkpoints as checkpoints_module
from napari_uld.viewer.panels import compare as compare_module
from napari_uld.viewer.panels.compare import ComparePanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.compared import ANNOTATION, Compared, compare

from ..conftest import drawn, show

NAMES = ("early", "late", "gone")


def found_by(name: str) -> Findings:
    """What a checkpoint finds: both the expert's lesion, the late one less surely than something else."""
    sure = {"early": (0.9, 0.2), "late": (0.3, 0.8)}[name]
    return Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method=name,
        checkpoint="abc",
        boxes=[[16, 20, 44, 40], [60, 60, 80, 80]],
        scores=sure,
        key_slices=[15, 12],
    )


class Detectors:
    """Stands in for the process: each checkpoint finds its own; one may wait to be cancelled, one may fail."""

    def __init__(self, waits: str = "", fails: str = "") -> None:
        self.waits, self.fails = waits, fails
        self.ran: list[str] = []
        self.cancelled = self.closed = False

    def detect(self, volume: CTVolume, checkpoint: Path, device: str = "auto") -> Generator[Progress, None, Findings]:
        self.ran.append(checkpoint.stem)
        self.cancelled = False
        yield Progress(1, 2, "Looking")
        while self.waits == checkpoint.stem:
            time.sleep(0.02)
            yield Progress(1, 2, "Looking")
            if self.cancelled:
                raise CancelledError("Cancelled")
        if self.fails == checkpoint.stem:
            raise WorkerError("The detector's process ended")
        return replace(found_by(checkpoint.stem), scan_id=volume.scan_id)

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def open_case(session: Session, findings: Findings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    """The expert's lesion, no findings, and three checkpoints, one of which is not there any more."""

    def find(name: str) -> Path:
        if name not in (*NAMES[:2], "runs/mine.safetensors"):
            raise CheckpointError(f"There is no checkpoint {name}: give a file")
        return tmp_path / f"{name}.safetensors"

    def read(path: Path) -> CheckpointInfo:
        return CheckpointInfo(path, "abc", {"method": {"name": path.stem, "title": path.stem.title()}}, {})

    monkeypatch.setattr(checkpoints_module, "bundled_checkpoints", lambda: dict.fromkeys(NAMES, tmp_path))
    monkeypatch.setattr(checkpoints_module, "find_checkpoint", find)
    monkeypatch.setattr(checkpoints_module, "read_info", read)
    session.case.remove_findings(findings.detector)
    return session.case


def panel_of(session: Session, qtbot: QtBot, *chosen: str, detectors: Detectors | None = None) -> ComparePanel:
    panel = ComparePanel(session.viewer, detectors or Detectors())
    qtbot.addWidget(panel)
    for name in (*NAMES, ANNOTATION):
        panel.methods.check(name, name in chosen)
    return panel


def run(panel: ComparePanel, qtbot: QtBot) -> None:
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)


def table(panel: ComparePanel) -> list[list[str]]:
    """The texts of the table, its titles first."""
    model, columns = panel.model, range(panel.model.columnCount())
    titles = [model.headerData(column, Qt.Orientation.Horizontal) for column in columns]
    return [titles, *([model.index(row, c).data() for c in columns] for row in range(model.rowCount()))]


def offered(panel: ComparePanel) -> list[str]:
    return [panel.methods.item(row).text() for row in range(panel.methods.count())]


def test_one_click_runs_them_one_after_the_other_and_one_slider_moves_all(
    session: Session, open_case: Case, qtbot: QtBot
) -> None:
    detectors = Detectors()
    panel = panel_of(session, qtbot, ANNOTATION, "early", "late", detectors=detectors)
    assert offered(panel) == [
        "The annotation  ·  1 lesion",
        *(f"{name}  ·  not run on this scan" for name in ("early", "late")),
        "gone  ·  cannot be used",
    ]
    run(panel, qtbot)
    assert detectors.ran == ["early", "late"]
    # Kept as those of Detect are.
    assert list(open_case.findings) == ["early abc", "late abc"]
    assert offered(panel)[1:3] == ["early  ·  2 found", "late  ·  2 found"]
    panel.allowed.value = 0
    assert table(panel) == [["Slice", "mm", "early", "late"], ["15", "10", "0.90", "missed"]]
    assert "early&nbsp;&nbsp;</td><td>1 of 1&nbsp;&nbsp;</td><td>0&nbsp;&nbsp;</td><td>0.900" in panel.points.text()
    assert "late&nbsp;&nbsp;</td><td>0 of 1&nbsp;&nbsp;</td><td>0&nbsp;&nbsp;</td><td>none" in panel.points.text()
    tips = [panel.model.index(0, column).data(Qt.ItemDataRole.ToolTipRole) for column in (2, 3)]
    assert tips[0] == "early found it"
    assert tips[1].startswith("late marked it with 0.30")
    panel.allowed.value = 1
    assert table(panel)[1] == ["15", "10", "0.90", "0.30"]
    assert panel.allowed.max == 1
    # Nothing runs a second time.
    run(panel, qtbot)
    assert detectors.ran == ["early", "late"]


def test_a_row_leads_to_its_lesion_and_the_lesion_at_hand_to_its_row(
    session: Session, open_case: Case, qtbot: QtBot
) -> None:
    open_case.thresholds.choose("early abc", 0.1)
    panel = panel_of(session, qtbot, ANNOTATION, "early", "late")
    run(panel, qtbot)
    assert [row[0] for row in table(panel)] == ["Slice", "15"]
    panel.reference.value = "early abc"
    assert [row[0] for row in table(panel)] == ["Slice", "12", "15"]
    panel.table.selectRow(0)
    assert session.case.volume.native_slice(session.z) == 12
    qtbot.keyClick(panel.table, Qt.Key.Key_Down)
    assert session.case.volume.native_slice(session.z) == 15
    assert open_case.current.box[:2] == pytest.approx((15, 19), abs=1.1)
    open_case.select(next(row.key for row in open_case.rows if row.native == 12))
    assert panel.table.currentIndex().row() == 0
    # Its own choices are a person's alone.
    assert session.case.volume.native_slice(session.z) == 15
    assert not open_case.annotations.unsaved


def test_decisions_change_what_is_compared_and_the_reviews_slider_does_not(
    session: Session, open_case: Case, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    panel = panel_of(session, qtbot, ANNOTATION, "early", "late")
    run(panel, qtbot)
    assert [row[0] for row in table(panel)] == ["Slice", "15"]
    compared: list[str] = []

    def counted(case: Case, reference: str, methods: Sequence[str]) -> Compared:
        compared.append(reference)
        return compare(case, reference, methods)

    monkeypatch.setattr(compare_module, "compare", counted)
    open_case.detector = "early abc"
    for threshold in (0.2, 0.6, 0.1):
        open_case.threshold = threshold
    assert compared == []
    suggestion = next(row for row in open_case.rows if row.native == 12)
    open_case.decide(suggestion.key, State.ACCEPTED)
    assert [row[0] for row in table(panel)] == ["Slice", "12", "15"]
    open_case.decide(suggestion.key, State.REJECTED)
    assert [row[0] for row in table(panel)] == ["Slice", "15"]
    assert set(compared) == {ANNOTATION}


def test_the_comparison_is_drawn_in_place_of_the_reviews_findings_until_it_is_not_wanted(
    session: Session, open_case: Case, qtbot: QtBot
) -> None:
    panel = panel_of(session, qtbot, ANNOTATION, "early")
    open_case.set_findings(found_by("early"))
    session.show_native(12)
    open_case.thresholds.choose("early abc", 0.1)
    open_case.use_thresholds(open_case.thresholds)
    assert drawn(session, Kind.DETECTIONS)
    run(panel, qtbot)
    first = find_layer(session.viewer, open_case, ComparedPart.FIRST)
    assert first.name == "Compare: early"
    assert first.visible
    assert not drawn(session, Kind.DETECTIONS)
    # What is not compared is still the review's.
    open_case.thresholds.choose("late abc", 0.1)
    open_case.set_findings(replace(found_by("late"), boxes=found_by("late").boxes + 8.0))
    assert drawn(session, Kind.DETECTIONS)
    open_case.remove_findings("late abc")
    assert not drawn(session, Kind.DETECTIONS)
    session.show_native(17)
    assert not first.visible
    session.show_native(12)
    panel.drawn.click()
    assert not first.visible
    assert drawn(session, Kind.DETECTIONS)
    panel.drawn.click()
    session.viewer.dims.ndisplay = 3
    assert not first.visible
    session.viewer.dims.ndisplay = 2
    assert first.visible
    panel._end()
    assert not any(find_layer(session.viewer, open_case, part) for part in ComparedPart)
    assert drawn(session, Kind.DETECTIONS)


def test_what_was_found_before_stays_where_a_run_is_cancelled_in_the_middle(
    session: Session, open_case: Case, qtbot: QtBot
) -> None:
    detectors = Detectors(waits="late")
    panel = panel_of(session, qtbot, ANNOTATION, *NAMES, detectors=detectors)
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: panel.status.text() == "2 of 3, late: Looking", timeout=5000)
    assert not panel.methods.isEnabled()
    panel.cancel_button.native.click()
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert list(open_case.findings) == ["early abc"]
    assert table(panel)[0] == ["Slice", "mm", "early"]
    assert panel.status.text().startswith("Cancelled while late ran; what ran before is kept.")
    # The third one was not tried any more.
    assert "gone" not in panel.status.text()
    assert panel.run_button.enabled


def test_what_cannot_be_used_or_fails_is_said_and_the_others_are_compared(
    session: Session, open_case: Case, qtbot: QtBot, shown: list[Notification]
) -> None:
    panel = panel_of(session, qtbot, ANNOTATION, *NAMES, detectors=Detectors(fails="early"))
    run(panel, qtbot)
    assert list(open_case.findings) == ["late abc"]
    assert table(panel)[0] == ["Slice", "mm", "late"]
    said = panel.status.text()
    assert "early failed: The detector's process ended" in said
    assert "gone failed: There is no checkpoint gone" in said
    assert sum(each.message.startswith("Failed") for each in shown) == 2


def test_what_is_found_in_a_scan_that_was_replaced_meanwhile_is_not_compared_on_the_next(
    session: Session, open_case: Case, qtbot: QtBot, tmp_path: Path
) -> None:
    detectors = Detectors(waits="early")
    panel = panel_of(session, qtbot, ANNOTATION, "early", "late", detectors=detectors)
    panel.run_button.native.click()
    qtbot.waitUntil(lambda: bool(detectors.ran), timeout=5000)
    volume = replace(open_case.volume, name="next", series_uid="4.5.6")
    other = Case(volume, Annotations("4.5.6"), tmp_path / "next.lesions.json")
    show(session.viewer, other)
    detectors.waits = ""
    qtbot.waitUntil(lambda: not panel.running, timeout=5000)
    assert detectors.ran == ["early"]
    assert not other.findings
    assert table(panel) == [["Slice", "mm"]]
    assert offered(panel)[0] == "The annotation  ·  0 lesions"
    # What was chosen is chosen still: one click compares here, too.
    run(panel, qtbot)
    assert list(other.findings) == ["early abc", "late abc"]
    assert panel.reference.value == "early abc"
    assert "Nobody annotated a lesion on this scan" in panel.status.text()


def test_findings_beside_the_scan_are_a_method_and_known_to_be_a_checkpoints(
    session: Session, open_case: Case, findings: Findings, qtbot: QtBot
) -> None:
    open_case.set_findings(findings)
    open_case.set_findings(found_by("late"))
    panel = panel_of(session, qtbot, "late")
    assert offered(panel)[1:] == [
        "early  ·  not run on this scan",
        "late  ·  2 found",
        "gone  ·  cannot be used",
        "fake  ·  3 found",
    ]
    assert not panel.run_button.enabled
    panel.methods.item(4).setCheckState(Qt.CheckState.Checked)
    assert panel.run_button.enabled
    run(panel, qtbot)
    assert panel.reference.value == "late abc"
    assert table(panel)[0] == ["Slice", "mm", "fake"]
    for row, colour in ((2, REFERENCE_COLOUR), (4, PLACES[ComparedPart.FIRST])):
        seen = panel.methods.item(row).icon().pixmap(10).toImage().pixelColor(5, 5)
        # A screen may have fewer colours.
        assert np.allclose(seen.getRgb(), QColor(colour).getRgb(), atol=8)


def test_a_method_keeps_its_colour_while_others_come_and_go(session: Session, open_case: Case, qtbot: QtBot) -> None:
    for name in ("early", "late"):
        open_case.set_findings(found_by(name))
    panel = panel_of(session, qtbot, ANNOTATION, "late")
    run(panel, qtbot)
    colours = [panel.model.columns[0].colour]
    panel.methods.check("early")
    assert [column.title for column in panel.model.columns] == ["early", "late"]
    colours.append(panel.model.columns[1].colour)
    panel.methods.check("early", on=False)
    colours.append(panel.model.columns[0].colour)
    assert colours == [PLACES[ComparedPart.FIRST]] * 3


def test_of_more_methods_than_there_are_colours_the_last_are_left_out(
    session: Session, open_case: Case, qtbot: QtBot
) -> None:
    panel = panel_of(session, qtbot, ANNOTATION)
    for i in range(len(PLACES) + 2):
        one = replace(found_by("early"), method=f"m{i}", scores=np.array([0.9, 0.1 * i]))
        open_case.set_findings(one)
        panel.methods.check(one.detector)
    run(panel, qtbot)
    assert [column.title for column in panel.model.columns] == [f"m{i}" for i in range(len(PLACES))]
    assert "of what is checked the last 2 are left out" in panel.status.text()


def test_checkpoints_of_one_title_are_told_apart_and_two_files_of_one_checkpoint_are_one_method(
    session: Session, open_case: Case, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Two runs that are called alike, and a copy of the second.
    files = [f"{folder}/mine-seed0/best.safetensors" for folder in ("first", "second", "copy")]

    def read(path: Path) -> CheckpointInfo:
        digest = "abc" if path.parts[0] == "first" else "def"
        return CheckpointInfo(path, digest, {"method": {"name": "mine", "title": "Mine"}}, {})

    monkeypatch.setattr(checkpoints_module, "find_checkpoint", Path)
    monkeypatch.setattr(checkpoints_module, "read_info", read)
    for digest in ("abc", "def"):
        open_case.set_findings(replace(found_by("early"), method="mine", checkpoint=digest))
    panel = panel_of(session, qtbot, ANNOTATION)
    for file in files:
        panel.checkpoints.add(Path(file))
    for key in panel.methods.checked - {ANNOTATION, *files}:
        panel.methods.check(key, on=False)
    run(panel, qtbot)
    assert [column.title for column in panel.model.columns] == files[:2]
    assert "left out" not in panel.status.text()
    panel.reference.value = "mine def"
    assert [column.title for column in panel.model.columns] == ["The annotation", files[0]]


def test_two_files_of_one_checkpoint_run_once(
    session: Session, open_case: Case, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checkpoints_module, "find_checkpoint", Path)
    monkeypatch.setattr(
        checkpoints_module,
        "read_info",
        lambda path: CheckpointInfo(path, "abc", {"method": {"name": "early", "title": "E"}}, {}),
    )
    detectors = Detectors()
    panel = panel_of(session, qtbot, ANNOTATION, detectors=detectors)
    for file in ("here/early.safetensors", "copy/early.safetensors"):
        panel.checkpoints.add(Path(file))
    for key in panel.methods.checked - {ANNOTATION, "here/early.safetensors", "copy/early.safetensors"}:
        panel.methods.check(key, on=False)
    run(panel, qtbot)
    assert detectors.ran == ["early"]
    assert len(panel.model.columns) == 1


def test_without_a_scan_or_a_choice_it_says_what_to_do(session: Session, open_case: Case, qtbot: QtBot) -> None:
    panel = panel_of(session, qtbot, "early")
    assert not panel.run_button.enabled
    assert panel.table.empty.startswith("Choose two or more above")
    # A file that is opened is chosen.
    panel.checkpoints.names.value = "early"
    panel.checkpoints.add(Path("runs/mine.safetensors"))
    assert offered(panel)[4] == "runs/mine  ·  not run on this scan"
    assert panel.run_button.enabled
    session.viewer.layers.clear()
    assert panel.table.empty.startswith("Open a CT scan first")
    assert not panel.run_button.enabled
