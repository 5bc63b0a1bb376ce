"""The Detect panel with the real process behind it and an untrained detector in it."""

import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pytestqt.qtbot import QtBot

from napari_uld.inference.worker import DetectionWorker
from napari_uld.lesions.annotations import State
from napari_uld.viewer.panels.detect import DetectPanel
from napari_uld.viewer.session import Session
from napari_uld.viewer.tools import review

# In a process of its own: torch beside an OpenGL driver that brings its own LLVM crashes on import.
MAKE = """
import sys, torch
from pathlib import Path
from napari_uld.detectors.build import build_detector
from napari_uld.inference.checkpoint import save_checkpoint
from napari_uld.detectors.specs.recipe import load_recipe
recipe = load_recipe("faster_rcnn", "small")
recipe = recipe.model_copy(update={"detector": recipe.detector.model_copy(update={"width": 0.125})})
torch.manual_seed(0)
model = build_detector(recipe)
save_checkpoint(Path(sys.argv[1]), model, recipe.model_dump(mode="json"), {})
"""


@pytest.fixture(scope="module")
def untrained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("checkpoint") / "untrained.safetensors"
    subprocess.run([sys.executable, "-c", MAKE, str(path)], check=True, timeout=120)
    return path


@pytest.fixture
def panel(session: Session, untrained: Path, qtbot: QtBot) -> Iterator[DetectPanel]:
    session.case.remove_findings(session.case.detector)
    worker = DetectionWorker()
    panel = DetectPanel(session.viewer, worker)
    qtbot.addWidget(panel)
    panel.checkpoints.add(untrained)
    panel.device.value = "cpu"
    panel.threshold.value = panel.threshold.min
    yield panel
    worker.close()


def test_a_finding_of_the_process_is_accepted_and_a_killed_process_leaves_it_alone(
    panel: DetectPanel, session: Session, qtbot: QtBot
) -> None:
    panel.run()
    qtbot.waitUntil(lambda: not panel.running, timeout=90_000)
    (found,) = session.case.findings.values()
    assert len(found) > 0
    review.decide(session, State.ACCEPTED)
    accepted = list(session.case.annotations)
    assert len(accepted) == 2

    panel.run()
    qtbot.waitUntil(lambda: "Slice" in panel.status.text(), timeout=90_000)
    for process in multiprocessing.active_children():
        process.kill()
    qtbot.waitUntil(lambda: not panel.running, timeout=90_000)
    assert "ended unexpectedly" in panel.status.text()
    assert list(session.case.annotations) == accepted
    assert session.case.annotations.unsaved
    assert panel.run_button.enabled
