from pathlib import Path
from threading import Event

import nibabel
import numpy as np
import pytest

from napari_uld.ct import find_scans
from napari_uld.ct.entries import ScanEntry
from napari_uld.ct.filling import Filling, Reading
from napari_uld.ct.reading import read_gradually
from napari_uld.errors import ScanError
from napari_uld.viewer.tools import reading_ahead
from napari_uld.viewer.tools.reading_ahead import ReadAhead


def write(path: Path, value: int) -> None:
    hu = np.full((16, 14, 6), value, np.int16)
    hu[:4] = -1000
    nibabel.save(nibabel.Nifti1Image(hu, np.diag([-0.8, -0.8, 2.0, 1.0])), path)


@pytest.fixture
def entries(tmp_path: Path) -> list[ScanEntry]:
    for value in (10, 20, 30):
        write(tmp_path / f"{value}.nii.gz", value)
    return list(find_scans(tmp_path))


@pytest.fixture
def again(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The scans that were read when they were opened."""
    names: list[str] = []
    read = reading_ahead.read_entry
    monkeypatch.setattr(reading_ahead, "read_entry", lambda entry: (names.append(entry.name), read(entry))[1])
    return names


def test_the_scan_that_was_asked_for_is_there_without_being_read_again(
    entries: list[ScanEntry], again: list[str]
) -> None:
    ahead = ReadAhead()
    ahead.ask(entries[1])
    volume = ahead.take(entries[1])
    assert (volume.name, volume.hu.max(), again) == ("20", 20, [])
    # It is handed over, not kept.
    ahead.take(entries[1])
    assert again == ["20"]


def test_another_scan_than_the_one_that_was_read_ahead_is_read_now(entries: list[ScanEntry], again: list[str]) -> None:
    ahead = ReadAhead()
    ahead.ask(entries[1])
    assert ahead.take(entries[2]).hu.max() == 30
    assert again == ["30"]


def test_one_scan_is_held_the_one_before_is_dropped(
    entries: list[ScanEntry], again: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert ahead.take(entries[1]).hu.max() == 20
    assert (closed, again) == (["10"], [])
    assert not ahead.busy


def test_what_goes_wrong_is_said_when_that_scan_is_opened(entries: list[ScanEntry], tmp_path: Path) -> None:
    ahead = ReadAhead()
    file = tmp_path / "20.nii.gz"
    file.write_bytes(file.read_bytes()[:-20])
    ahead.ask(entries[1])
    assert ahead.take(entries[0]).hu.max() == 10
    ahead.ask(entries[1])
    with pytest.raises(ScanError, match=r"20\.nii\.gz"):
        ahead.take(entries[1])


def test_a_file_that_changed_meanwhile_is_read_again(entries: list[ScanEntry], tmp_path: Path) -> None:
    ahead = ReadAhead()
    ahead.ask(entries[1])
    while ahead.busy:
        pass
    write(tmp_path / "20.nii.gz", 25)
    assert ahead.take(entries[1]).hu.max() == 25


def test_reading_ahead_changes_nothing_on_disk(entries: list[ScanEntry], tmp_path: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    ahead = ReadAhead()
    ahead.ask(entries[0])
    ahead.take(entries[0])
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
