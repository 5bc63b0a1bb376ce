import gc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from qtpy.QtCore import QEvent
from qtpy.QtWidgets import QApplication, QMainWindow
from skimage.io import imread

from napari_uld.ct import read_scan
from napari_uld.errors import WorkerError
from napari_uld.lesions.findings import Findings
from napari_uld.progress import finish
from napari_uld.training.data.phantom import generate_phantoms
from napari_uld.viewer.layers.marks import COLOURS
from napari_uld.viewer.panels import checkpoints as checkpoints_module
from napari_uld.viewer.panels import detect as detect_module
from napari_uld.viewer.plugin.demo import run_demo
from napari_uld.viewer.state.files import open_case

from ..conftest import FakeDetector


@pytest.fixture(autouse=True)
def window_is_gone(qapp: QApplication) -> Iterator[None]:
    """The demo makes its own viewer: let Qt delete it before the next test makes one."""
    yield
    for _ in range(3):
        QApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete)
        qapp.processEvents()
        gc.collect()


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return finish(generate_phantoms(tmp_path / "phantom", patients=1, seed=5))


def use(monkeypatch: pytest.MonkeyPatch, detector: FakeDetector, tmp_path: Path) -> None:
    monkeypatch.setattr(detect_module, "DetectionWorker", lambda: detector)
    monkeypatch.setattr(checkpoints_module, "bundled_checkpoints", lambda: {"tiny": tmp_path})
    monkeypatch.setattr(checkpoints_module, "find_checkpoint", lambda name: tmp_path)


def seen(picture: np.ndarray, colour: str) -> int:
    """Pixels of a picture that have a colour, "#RRGGBB"."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return int((np.abs(picture[..., :3].astype(int) - wanted).max(axis=-1) < 12).sum())


def test_the_demo_pictures_the_scan_its_lesions_and_what_was_found(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, _ = open_case(read_scan(study))
    lesion = case.rows[0]
    found = Findings.from_rows(
        scan_id="", scan_name="", method="fake", checkpoint="f00",
        boxes=[lesion.box, [150, 200, 180, 230]], scores=[0.91, 0.64], key_slices=[lesion.native, lesion.native],
    )  # fmt: skip
    use(monkeypatch, FakeDetector(found), tmp_path)
    rows = run_demo(tmp_path / "demo.png", study)
    assert [row["Score"] for row in rows if row["State"] == "to decide"] == ["0.64"]
    # The other one is the lesion that is annotated there: nobody is asked about it.
    assert [row["Source"] for row in rows if row["State"] == "expert"].count("expert +1") == 1
    assert len(rows) == len(case.rows) + 1
    picture = imread(tmp_path / "demo.png")
    assert picture.shape[0] > 800
    assert picture.shape[1] > 1300
    for mark in ("expert", "to decide"):
        assert seen(picture, COLOURS[mark]) > 100, mark
    body = picture[300:600, 500:900, :3]
    assert body.std() > 20


def test_a_demo_whose_detector_fails_says_why_and_closes(
    qapp: QApplication, study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    use(monkeypatch, FakeDetector(error=WorkerError("The detector's process ended")), tmp_path)
    with pytest.raises(WorkerError, match="The detector's process ended"):
        run_demo(tmp_path / "demo.png", study)
    assert not (tmp_path / "demo.png").exists()
    # Nor is a window left for the program's end, which would crash on it.
    assert [widget for widget in qapp.topLevelWidgets() if isinstance(widget, QMainWindow)] == []
