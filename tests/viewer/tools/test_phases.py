"""The phases of a study take each other's place on the canvas; everything else stays where it was."""

from pathlib import Path
from threading import Event

import cv2
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image
from napari.utils.notifications import Notification
from pytestqt.qtbot import QtBot

from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.reading import find_scans, read_entry
from napari_uld.ct.studies import of_study
from napari_uld.ct.volume import CTVolume
from napari_uld.progress import Progress, Work
from napari_uld.viewer.layers.parts import Part
from napari_uld.viewer.panels.opening import open_entry
from napari_uld.viewer.panels.window import workbench_in_window
from napari_uld.viewer.session import Session
from napari_uld.viewer.state.files import open_case
from napari_uld.viewer.state.phases import HELD
from napari_uld.viewer.tools import phases
from napari_uld.viewer.tools.keys import KEYS
from napari_uld.viewer.tools.linked import LinkedViews
from napari_uld.viewer.tools.tool import ToolName
from napari_uld.viewer.tools.workbench import workbench_of

from ..conftest import show
from .clicking import Clicker


def write_series(root: Path, name: str, hu: int, slices: int = 6) -> Path:
    """A series as DeepLesion has it: a block of this HU in air."""
    folder = root / "Images_png" / name
    folder.mkdir(parents=True)
    image = np.full((48, 64), -1000 + 32768, np.uint16)
    image[8:40, 8:56] = hu + 32768
    for number in range(1, slices + 1):
        cv2.imwrite(str(folder / f"{number:03d}.png"), image)
    return folder


@pytest.fixture
def study(tmp_path: Path) -> Path:
    for number, hu in enumerate((100, 180, 40, 80), 1):
        write_series(tmp_path, f"000001_01_0{number}", hu)
    write_series(tmp_path, "000001_01_05", 0, slices=7)
    write_series(tmp_path, "000002_01_01", 0)
    return tmp_path


def opened(root: Path, series: str = "000001_01_01", viewer: ViewerModel | None = None) -> Session:
    """A viewer with a series open, as it is when a person opens it."""
    (entry,) = find_scans(root / "Images_png" / series)
    case, _ = open_case(read_entry(entry))
    case.entry = entry
    case.phases.offer(entry, of_study(entry))
    return show(viewer or ViewerModel(), case)


def press(session: Session) -> None:
    next(key for key in KEYS if key.title.startswith("next phase")).act(session)


def ct(session: Session) -> Image:
    layer = session.layer(Part.CT)
    assert isinstance(layer, Image)
    return layer


def shown_hu(session: Session) -> int:
    return int(ct(session).data.max())


def caption(session: Session) -> list[str]:
    return str(session.viewer.canvas.overlays.text.text).splitlines()


def test_the_key_goes_through_a_studys_phases_and_begins_anew(study: Path) -> None:
    session = opened(study)
    seen = []
    for _ in range(5):
        seen.append((caption(session)[1], shown_hu(session)))
        press(session)
    assert seen == [
        ("phase 1 of 4 (B)", 100),
        ("phase 2 of 4 (B): 000001_01_02", 180),
        ("phase 3 of 4 (B): 000001_01_03", 40),
        ("phase 4 of 4 (B): 000001_01_04", 80),
        ("phase 1 of 4 (B)", 100),
    ]


def test_slice_zoom_window_and_lesions_stay_and_are_the_opened_series(study: Path) -> None:
    session = opened(study, "000001_01_02")
    case, viewer = session.case, session.viewer
    assert case is not None
    case.add(2, (10.0, 10.0, 30.0, 30.0))
    session.show_slice(2)
    viewer.scene.camera.zoom = 3.5
    ct(session).contrast_limits = (20, 90)
    rows, layers = case.rows, list(viewer.layers)
    press(session)
    assert caption(session)[:2] == ["000001_01_02", "phase 3 of 4 (B): 000001_01_03"]
    assert (session.z, viewer.scene.camera.zoom, session.window) == (2, 3.5, (20.0, 90.0))
    assert session.case is case
    assert case.rows == rows
    assert case.annotations.scan_id == "deeplesion:000001_01_02"
    assert list(viewer.layers) == layers
    assert ct(session).name == "CT 000001_01_03"


def test_a_phase_is_read_when_it_is_first_asked_for_and_the_last_ones_are_held(
    study: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    session = opened(study)
    read: list[str] = []
    reading = phases.read_phase

    def counted(entry: object) -> object:
        read.append(entry.name)  # type: ignore[attr-defined]
        return reading(entry)  # type: ignore[arg-type]

    monkeypatch.setattr(phases, "read_phase", counted)
    for _ in range(6):
        press(session)
    # The scan itself is never read again; of the others as many as are held were there the second time.
    names = ["000001_01_02", "000001_01_03", "000001_01_04"]
    assert read == names + names[: 3 - HELD] + (["000001_01_03"] if HELD == 2 else [])
    assert session.case is not None
    held = [entry.name for entry in session.case.phases.entries if session.case.phases.held(entry) is not None]
    assert len(held) == 1 + HELD


def test_a_scan_without_other_phases_says_so_and_has_none_in_its_caption(
    study: Path, shown: list[Notification]
) -> None:
    session = opened(study, "000002_01_01")
    press(session)
    assert "No other series of its study" in shown[-1].message
    assert not any(line.startswith("phase") for line in caption(session))


def test_a_phase_that_cannot_be_read_is_said_and_the_one_before_stays(study: Path, shown: list[Notification]) -> None:
    session = opened(study)
    (study / "Images_png" / "000001_01_02" / "003.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    press(session)
    assert "The phase 000001_01_02 cannot be shown" in shown[-1].message
    assert caption(session)[1] == "phase 1 of 4 (B)"
    assert shown_hu(session) == 100


def test_a_phase_on_another_grid_is_said_and_the_one_before_stays(study: Path, shown: list[Notification]) -> None:
    session = opened(study)
    for file in (study / "Images_png" / "000001_01_02").iterdir():
        cv2.imwrite(str(file), np.full((48, 60), 32768, np.uint16))
    press(session)
    assert "000001_01_02 does not lie where 000001_01_01 does: it has 6 x 48 x 60 voxels" in shown[-1].message
    assert shown_hu(session) == 100


def test_the_views_from_the_side_and_a_measured_region_are_of_the_phase_that_is_shown(study: Path) -> None:
    session = opened(study)
    views, ruler = LinkedViews(session), workbench_of(session.viewer).ruler
    session.show_voxel({0: 3, 1: 24, 2: 30})
    press(session)
    for view in views.views:
        assert view.layers[0].data.max() == 180
    ruler.start(ToolName.RECTANGLE)
    Clicker(session).drag((12, 12), (20, 20))
    assert "mean 180.0" in ruler.text


def test_the_next_scan_begins_with_its_own_series(study: Path) -> None:
    session = opened(study)
    press(session)
    opened(study, "000002_01_01", session.viewer)
    assert shown_hu(session) == 0


def test_a_ct_layer_that_was_removed_comes_back_as_the_phase_that_is_shown(study: Path) -> None:
    session = opened(study)
    press(session)
    session.in_window = True
    session.may_close = lambda: False  # type: ignore[method-assign]
    session.viewer.layers.remove(ct(session))
    assert shown_hu(session) == 180


@pytest.fixture
def in_window(study: Path, qtbot: QtBot) -> Session:
    """A session that follows what is read in the background, with the study's first series open."""
    session = workbench_in_window(ViewerModel()).session
    (entry,) = find_scans(study / "Images_png" / "000001_01_01")
    open_entry(session, entry)
    return session


def test_in_a_window_a_phase_is_read_in_the_background_and_the_caption_tells_how_far(
    in_window: Session, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, goes_on = in_window, Event()

    def slowly(entry: ScanEntry) -> Work[CTVolume]:
        yield Progress(2, 6, f"reading {entry.name}")
        goes_on.wait(30)
        return read_entry(entry)

    monkeypatch.setattr(phases, "read_phase", slowly)
    assert caption(session)[1] == "phase 1 of 4 (B)"
    press(session)
    said = "phase 1 of 4 (B)   (reading 000001_01_02: 2 of 6 files)"
    qtbot.waitUntil(lambda: caption(session)[1] == said)
    # The scan can be read on meanwhile, and the key asks for no more.
    session.show_slice(4)
    press(session)
    assert (session.z, shown_hu(session)) == (4, 100)
    goes_on.set()
    qtbot.waitUntil(lambda: shown_hu(session) == 180)
    assert (session.z, caption(session)[1]) == (4, "phase 2 of 4 (B): 000001_01_02")


def test_a_phase_that_arrives_after_another_scan_was_opened_is_not_shown(
    study: Path, in_window: Session, qtbot: QtBot, monkeypatch: pytest.MonkeyPatch
) -> None:
    session, goes_on, ended = in_window, Event(), Event()

    def slowly(entry: ScanEntry) -> Work[CTVolume]:
        try:
            yield Progress(2, 6, f"reading {entry.name}")
            goes_on.wait(30)
            yield Progress(3, 6, f"reading {entry.name}")
        finally:
            ended.set()
        return read_entry(entry)

    monkeypatch.setattr(phases, "read_phase", slowly)
    press(session)
    (other,) = find_scans(study / "Images_png" / "000002_01_01")
    open_entry(session, other)
    goes_on.set()
    qtbot.waitUntil(ended.is_set)
    qtbot.wait(300)
    assert shown_hu(session) == 0
    assert not any(line.startswith("phase") for line in caption(session))
