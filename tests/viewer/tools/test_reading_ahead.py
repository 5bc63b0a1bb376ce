import time
from pathlib import Path
from threading import Event

import nibabel
import numpy as np
import pytest

from napari_uld.ct import find_scans
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.filling import Filling, Reading
from napari_uld.ct.reading import read_gradually
from napari_uld.viewer.tools import reading_ahead
from napari_uld.viewer.tools.reading_ahead import ReadAhead


def write(path: Path, value: int) -> None:
    hu = np.full((16, 14, 6), value, np.int16)
    hu[:4] = -1000
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), path)


def wait_for(ahead: ReadAhead) -> None:
    until = time.monotonic() + 30
    while ahead.busy and time.monotonic() < until:
        time.sleep(0.01)
    assert not ahead.busy


@pytest.fixture
def entries(tmp_path: Path) -> list[ScanEntry]:
    for value in (10, 20, 30):
        write(tmp_path / f"{value}.nii.gz", value)
    return list(find_scans(tmp_path))


def test_the_scan_that_was_asked_for_is_handed_over_once(entries: list[ScanEntry]) -> None:
    ahead = ReadAhead()
    ahead.ask(entries[1])
    wait_for(ahead)
    volume = ahead.take(entries[1])
    assert volume is not None
    assert (volume.name, volume.hu.max()) == ("20", 20)
    assert ahead.take(entries[1]) is None


def test_another_scan_than_the_one_that_was_read_ahead_is_not_there(entries: list[ScanEntry]) -> None:
    ahead = ReadAhead()
    ahead.ask(entries[1])
    wait_for(ahead)
    assert ahead.take(entries[2]) is None


def test_what_is_not_there_soon_is_given_up(entries: list[ScanEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_ahead, "PATIENCE", 0.01)
    go_on, closed = Event(), Event()

    def slowly(entry: ScanEntry) -> Reading:
        try:
            yield Filling(0, 2)
            assert go_on.wait(10)
            yield Filling(1, 2)
            return (yield from read_gradually(entry))
        except GeneratorExit:
            closed.set()
            raise

    monkeypatch.setattr(reading_ahead, "read_gradually", slowly)
    ahead = ReadAhead()
    ahead.ask(entries[0])
    assert ahead.take(entries[0]) is None
    go_on.set()
    assert closed.wait(10)


def test_one_scan_is_held_the_one_before_is_dropped(entries: list[ScanEntry], monkeypatch: pytest.MonkeyPatch) -> None:
    waiting, go_on = Event(), Event()
    closed: list[str] = []

    def slowly(entry: ScanEntry) -> Reading:
        try:
            yield Filling(0, 2)
            if entry is entries[0]:
                waiting.set()
                assert go_on.wait(10)
            yield Filling(1, 2)
            return (yield from read_gradually(entry))
        except GeneratorExit:
            closed.append(entry.name)
            raise

    monkeypatch.setattr(reading_ahead, "read_gradually", slowly)
    ahead = ReadAhead()
    ahead.ask(entries[0])
    assert waiting.wait(10)
    ahead.ask(entries[1])
    go_on.set()
    wait_for(ahead)
    volume = ahead.take(entries[1])
    assert volume is not None
    assert volume.hu.max() == 20
    assert closed == ["10"]
    assert not ahead.busy


def test_what_goes_wrong_is_nobodys_business_yet(entries: list[ScanEntry], tmp_path: Path) -> None:
    file = tmp_path / "20.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])
    ahead = ReadAhead()
    ahead.ask(entries[1])
    wait_for(ahead)
    assert ahead.take(entries[1]) is None


def test_a_file_that_changed_meanwhile_is_not_what_was_asked_for(entries: list[ScanEntry], tmp_path: Path) -> None:
    ahead = ReadAhead()
    ahead.ask(entries[1])
    wait_for(ahead)
    write(tmp_path / "20.nii.gz", 25)
    assert ahead.take(entries[1]) is None


def test_reading_ahead_changes_nothing_on_disk(entries: list[ScanEntry], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ahead = ReadAhead()
    ahead.ask(entries[0])
    wait_for(ahead)
    assert ahead.take(entries[0]) is not None
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
