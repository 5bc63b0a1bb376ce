import os

# Preferences of the person who runs the tests are neither read nor written.
os.environ["NAPARI_CONFIG"] = ""

import shutil
import time
from collections.abc import Generator, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Shapes
from napari.settings import get_plugin_settings
from napari.utils.notifications import Notification, notification_manager

from napari_uld.ct.volume import CTVolume
from napari_uld.errors import CancelledError
from napari_uld.lesions.annotations import Annotation, Annotations, LesionType, new_id
from napari_uld.lesions.findings import Findings
from napari_uld.lesions.recist import Recist
from napari_uld.progress import Progress
from napari_uld.viewer.layers.hand import Hold
from napari_uld.viewer.layers.marks import Drawn, Kind
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels import checkpoints as checkpoints_module
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.case import Case
from napari_uld.viewer.state.settings import PLUGIN
from napari_uld.viewer.tools import review
from napari_uld.viewer.tools.workbench import workbench_of

DATA = Path(__file__).parents[2].parent / "shared" / "data"
RECIST = Recist(((20.0, 30.0), (40.0, 30.0)), ((30.0, 24.0), (30.0, 36.0)))


@pytest.fixture
def deeplesion(tmp_path: Path) -> Path:
    """A copy of the real series 000001_03_01, so that nothing is written beside the original."""
    source = DATA / "deeplesion"
    if not source.is_dir():
        pytest.skip(f"the real data is not at {DATA}")
    (tmp_path / "Images_png").mkdir()
    shutil.copy(source / "DL_info.csv", tmp_path)
    shutil.copytree(source / "Images_png" / "000001_03_01", tmp_path / "Images_png" / "000001_03_01")
    return tmp_path


@pytest.fixture
def volume(tmp_path: Path) -> CTVolume:
    """Ten slices 5 mm apart, numbered 19 (feet) to 10 (head); a body of water in air, two bright blocks on slice 15."""
    hu = np.full((10, 96, 96), -1000, np.int16)
    hu[:, 8:88, 8:88] = 0
    hu[4, 24:37, 20:41] = hu[4, 54:67, 20:41] = 80
    return CTVolume(
        hu=hu,
        spacing=(5.0, 0.5, 0.5),
        source=tmp_path / "study.nii.gz",
        name="study",
        slice_numbers=np.arange(19, 9, -1),
        origin=(-24.0, -20.0, 100.0),
        series_uid="1.2.3",
        window=(-100.0, 200.0),
    )


@pytest.fixture
def expert() -> Annotation:
    box = RECIST.box()
    return Annotation(
        id=new_id("1.2.3", 15, box),
        scan_id="1.2.3",
        key_slice=15,
        box=box,
        recist=RECIST,
        lesion_type=LesionType.LIVER,
    )


@pytest.fixture
def findings() -> Findings:
    """Four beside the expert's lesion and elsewhere, the second traced over three slices, the last a mined negative."""
    return Findings.from_rows(
        scan_id="1.2.3",
        scan_name="study",
        method="fake",
        checkpoint="f00",
        boxes=[[14, 48, 46, 72], [60, 60, 80, 80], [50, 20, 70, 34], [10, 60, 30, 80]],
        scores=[0.9, 0.7, 0.2, 0.8],
        key_slices=[15, 12, 15, 11],
        negative=[False, False, False, True],
        slice_boxes=(
            {15: (14.0, 48.0, 46.0, 72.0)},
            {11: (61.0, 61.0, 79.0, 79.0), 12: (60.0, 60.0, 80.0, 80.0), 13: (62.0, 62.0, 78.0, 78.0)},
            {15: (50.0, 20.0, 70.0, 34.0)},
            {11: (10.0, 60.0, 30.0, 80.0)},
        ),
    )


@pytest.fixture
def case(volume: CTVolume, expert: Annotation, tmp_path: Path) -> Case:
    return Case(volume, Annotations("1.2.3", [expert]), tmp_path / "study.lesions.json", reviewer="reader")


def show(viewer: ViewerModel, case: Case) -> Session:
    """Open a case in a viewer."""
    session = workbench_of(viewer).session
    session.open(case)
    return session


def drawn(session: Session, kind: Kind | None = None) -> list[Drawn]:
    """What is marked on the slice that is shown, all of it or what is of one kind."""
    assert session.marking is not None
    return [each for each in session.marking.drawn if kind in (None, each.kind)]


def hand(session: Session) -> Shapes:
    """The layer of the lesion in hand."""
    layer = session.layer(Part.HAND)
    assert isinstance(layer, Shapes)
    return layer


def take_in_hand(session: Session, key: str, what: Hold = Hold.BOX) -> Shapes:
    """Take a lesion's box or diameters in hand; give the layer that shows them."""
    row = session.case.row(key)
    assert row is not None
    layer = review.hold(session, row, what, "select" if what is Hold.BOX else "direct")
    assert layer is not None
    return layer


def drag(layer: Shapes, index: int, by: tuple[float, float]) -> None:
    """Move one shape by (y, x) voxels as a drag does: the layer says its data changed."""
    moved = [corners + (np.array([0, *by]) if i == index else 0) for i, corners in enumerate(layer.data)]
    layer.data = list(zip(moved, layer.shape_type, strict=True))


@pytest.fixture(autouse=True)
def first_time() -> None:
    """What is said once was not said yet, whatever test ran before."""
    get_plugin_settings(PLUGIN).review.hint = True


@pytest.fixture
def viewer() -> ViewerModel:
    return ViewerModel()


@pytest.fixture
def session(viewer: ViewerModel, case: Case, findings: Findings) -> Session:
    """The expert's lesion and the detector's findings, open in a viewer without a window."""
    session = show(viewer, case)
    case.set_findings(findings)
    return session


@pytest.fixture
def tiny_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The one checkpoint that panels offer; there is no such file."""
    path = tmp_path / "tiny.safetensors"
    monkeypatch.setattr(checkpoints_module, "bundled_checkpoints", lambda: {"tiny": path})
    monkeypatch.setattr(checkpoints_module, "find_checkpoint", lambda name: path)
    return path


class FakeDetector:
    """Stands in for the detector's process: gives findings, fails, or waits to be cancelled."""

    def __init__(self, findings: Findings | None = None, error: Exception | None = None, waits: bool = False) -> None:
        self.findings, self.error, self.waits = findings, error, waits
        self.cancelled = self.closed = False
        self.calls: list[tuple[str, Path, str]] = []
        self.seen: list[CTVolume] = []

    def detect(self, volume: CTVolume, checkpoint: Path, device: str = "auto") -> Generator[Progress, None, Findings]:
        self.calls.append((volume.name, checkpoint, device))
        self.seen.append(volume)
        # Like the process, it knows nothing of a cancel from before the run.
        self.cancelled = False
        yield Progress(1, 2, "Looking")
        while self.waits:
            time.sleep(0.02)  # a detector's slices come slower than Qt can handle them
            yield Progress(1, 2, "Looking")
            if self.cancelled:
                raise CancelledError("Cancelled")
        if self.error is not None:
            raise self.error
        assert self.findings is not None
        return replace(self.findings, scan_id=volume.scan_id, scan_name=volume.name)

    def cancel(self) -> None:
        self.cancelled = True

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def shown() -> Iterator[list[Notification]]:
    """What napari told the person."""
    seen: list[Notification] = []

    def note(event: Notification) -> None:
        seen.append(event)

    notification_manager.notification_ready.connect(note)
    yield seen
    notification_manager.notification_ready.disconnect(note)
