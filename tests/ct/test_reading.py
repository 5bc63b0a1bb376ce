import subprocess
import sys
from pathlib import Path

import pytest

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import ScanError, UnsupportedScanError

from .conftest import pixels_of


def test_a_path_that_does_not_exist_is_refused(tmp_path):
    with pytest.raises(ScanError, match="nowhere does not exist"):
        find_scans(tmp_path / "nowhere")


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ScanError, match="is empty; required is a CT"):
        read_scan(tmp_path)


def test_a_file_that_is_no_scan_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnsupportedScanError, match=r"notes\.txt is not DICOM; required is a CT"):
        read_scan(tmp_path / "notes.txt")


def test_a_folder_of_other_files_is_refused_naming_them(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(UnsupportedScanError, match=r"holds no CT \(notes\.txt: not DICOM\)"):
        find_scans(tmp_path)


def test_paths_may_be_text(write_series, tmp_path):
    write_series(pixels_of(3))
    assert read_scan(str(tmp_path)).shape == (3, 6, 8)


def test_finding_scans_reads_no_pixels(write_series, tmp_path):
    for file in write_series(pixels_of(3)):
        file.write_bytes(file.read_bytes()[:-20])
    assert [entry.slices for entry in find_scans(tmp_path)] == [3]


def test_the_room_knows_neither_torch_nor_qt_nor_napari():
    code = (
        "import sys, napari_uld.ct; "
        "print([name for name in sys.modules if name.split('.')[0] in "
        "('torch', 'torchvision', 'napari', 'qtpy', 'PyQt5', 'PyQt6', 'PySide6')"
        " or name.startswith('napari_uld.') and not name.startswith('napari_uld.ct')])"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "['napari_uld.errors']"


def test_a_file_that_cannot_be_opened_is_left_out_and_said(write_series, tmp_path, monkeypatch):
    files = write_series(pixels_of(3))
    (tmp_path / "closed.dcm").write_bytes(b"x")

    def opened(self, *rest, original=Path.open, **options):
        if self.name == "closed.dcm":
            raise PermissionError("it is somebody else's")
        return original(self, *rest, **options)

    monkeypatch.setattr(Path, "open", opened)
    for found in (find_scans(tmp_path), find_scans(files[0])):
        assert [entry.slices for entry in found] == [3]
        assert [file.name for file in found.left_out[0].files] == ["closed.dcm"]
        assert "it is somebody else's" in found.left_out[0].reason
