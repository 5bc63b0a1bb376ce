"""Scans that are dropped at once are all offered, and none takes another's place in silence."""

from collections.abc import Callable, Sequence
from pathlib import Path

import nibabel
import numpy as np
import pytest
from napari import Viewer
from napari.components import ViewerModel
from napari.utils.notifications import Notification, notification_manager
from pytestqt.qtbot import QtBot

from napari_uld.ct import ScanEntry
from napari_uld.viewer.layers.parts import case_of
from napari_uld.viewer.panels import opening
from napari_uld.viewer.plugin import reader
from napari_uld.viewer.session import Answer, Session
from napari_uld.viewer.tools.workbench import workbench_of

from .dicom_series import write

Offered = list[list[str]]


def scan(folder: Path, name: str) -> Path:
    hu = np.random.default_rng(len(name)).integers(-200, 200, (16, 14, 6), dtype=np.int16)
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), folder / f"{name}.nii.gz")
    return folder / f"{name}.nii.gz"


@pytest.fixture
def paths(tmp_path: Path) -> list[Path]:
    return [scan(tmp_path, name) for name in ("arterial", "portal", "late")]


@pytest.fixture
def viewer(viewer: ViewerModel, monkeypatch: pytest.MonkeyPatch) -> ViewerModel:
    """The viewer that the reader finds open; what is dropped on a window comes the same way."""
    monkeypatch.setattr(reader, "_session", lambda: workbench_of(viewer).session)
    monkeypatch.setattr(opening, "show_review", lambda **_: None)
    return viewer


def answering(monkeypatch: pytest.MonkeyPatch, chosen: int | None) -> Offered:
    """Every question about scans is answered with one of them, or with Cancel; gives what was offered."""
    offered: Offered = []

    def choose(said: str, scans: Sequence[ScanEntry]) -> ScanEntry | None:
        offered.append([said, *(entry.name for entry in scans)])
        return None if chosen is None else scans[chosen]

    monkeypatch.setattr(reader, "choose_scan", choose)
    return offered


def drop(viewer: ViewerModel, qtbot: QtBot, *paths: Path) -> Session:
    viewer.open([str(path) for path in paths], plugin="napari-uld")
    qtbot.wait(150)
    return workbench_of(viewer).session


def test_all_are_offered_once_and_the_chosen_one_is_shown_alone(
    make_napari_viewer: Callable[..., Viewer], qtbot: QtBot, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = answering(monkeypatch, 1)
    session = drop(make_napari_viewer(), qtbot, *paths)
    assert offered == [["3 scans were dropped at once.", "arterial", "portal", "late"]]
    assert session.case.volume.name == "portal"
    assert {case_of(layer) for layer in session.viewer.layers} == {session.case}


def test_where_nobody_chooses_the_first_stays_open(
    viewer: ViewerModel, qtbot: QtBot, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = answering(monkeypatch, None)
    session = drop(viewer, qtbot, *paths[:2])
    assert len(offered) == 1
    assert session.case.volume.name == "arterial"


def test_scans_that_are_dropped_one_after_the_other_are_opened_without_a_question(
    viewer: ViewerModel, qtbot: QtBot, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    offered = answering(monkeypatch, 0)
    for path in paths:
        session = drop(viewer, qtbot, path)
        assert f"{session.case.volume.name}.nii.gz" == path.name
    assert offered == []


def test_a_folder_of_two_and_a_file_are_two_questions_and_three_scans(
    viewer: ViewerModel, qtbot: QtBot, paths: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "patient"
    folder.mkdir()
    for path in paths[:2]:
        path.rename(folder / path.name)
    offered = answering(monkeypatch, 1)
    session = drop(viewer, qtbot, folder, paths[2])
    assert [said for said, *_ in offered] == ["patient holds 2 scans.", "2 scans were dropped at once."]
    assert session.case.volume.name == "late"


def test_what_cannot_be_opened_hides_none_of_the_others(
    viewer: ViewerModel, qtbot: QtBot, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    paths[0].write_text("version https://git-lfs.github.com/spec/v1\n")
    offered = answering(monkeypatch, 0)
    session = drop(viewer, qtbot, *paths)
    assert offered == [["2 scans were dropped at once.", "portal", "late"]]
    assert session.case.volume.name == "portal"


def test_files_of_two_series_are_two_scans(
    viewer: ViewerModel, qtbot: QtBot, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
    files = [*write(tmp_path / "a", uid="1.2.3.4"), *write(tmp_path / "b", uid="1.2.3.5")]
    offered = answering(monkeypatch, 1)
    session = drop(viewer, qtbot, *files)
    ((said, *names),) = offered
    assert said == "2 scans were dropped at once."
    assert len(names) == 2
    assert session.case.volume.series_uid == "1.2.3.5"


def test_a_second_scan_that_cannot_be_read_leaves_the_first_open_and_says_why(
    viewer: ViewerModel, qtbot: QtBot, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []

    def hear(notification: Notification) -> None:
        told.append(notification.message)

    whole = paths[1].read_bytes()
    paths[1].write_bytes(whole[:-40])
    answering(monkeypatch, 1)
    notification_manager.notification_ready.connect(hear)
    try:
        session = drop(viewer, qtbot, *paths[:2])
    finally:
        notification_manager.notification_ready.disconnect(hear)
    assert session.case.volume.name == "arterial"
    assert any("portal.nii.gz" in message for message in told)


def test_decisions_are_asked_about_before_the_chosen_one_comes(
    viewer: ViewerModel, qtbot: QtBot, paths: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    answering(monkeypatch, 1)
    session = drop(viewer, qtbot, paths[2])
    session.saves_itself = lambda: False
    session.ask_unsaved = lambda case: Answer.KEEP_OPEN
    session.case.add(2, (1.0, 2.0, 5.0, 6.0))
    drop(viewer, qtbot, *paths[:2])
    assert session.case.volume.name == "late"
    session.ask_unsaved = lambda case: Answer.DISCARD
    drop(viewer, qtbot, *paths[:2])
    assert session.case.volume.name == "portal"
