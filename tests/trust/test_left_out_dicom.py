"""What was left out of a DICOM folder is told with the scan it may belong to."""

from pathlib import Path

import pytest

from napari_uld.ct import find_scans, read_scan
from napari_uld.errors import MissingSlicesError, ScanError

from .dicom_series import body, write

DAMAGE = {
    "empty": lambda data: b"",
    "cut in its preamble": lambda data: data[:100],
    "cut in its header": lambda data: data[:300],
    "not DICOM any more": lambda data: b"<html>404</html>" * 40,
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_last_slice_is_told_with_the_scan_and_with_each_of_its_files(tmp_path: Path, damage) -> None:
    files = write(tmp_path)
    files[-1].write_bytes(damage(files[-1].read_bytes()))
    for path in (tmp_path, files[0]):
        volume = read_scan(path)
        assert volume.shape[0] == 11
        assert any("IM0012.dcm" in said and "may be part of this scan" in said for said in volume.corrections)
        assert [file for left in find_scans(path).left_out for file in left.files] == [files[-1]]


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_slice_that_leaves_a_hole_refuses_the_scan_and_is_named(tmp_path: Path, damage) -> None:
    files = write(tmp_path)
    files[5].write_bytes(damage(files[5].read_bytes()))
    with pytest.raises(MissingSlicesError, match=r"IM0006\.dcm"):
        read_scan(tmp_path)
    with pytest.raises(ScanError, match=r"IM0006\.dcm"):
        read_scan(files[5])


def test_damage_in_another_folder_and_other_files_are_no_matter_of_a_scan(tmp_path: Path) -> None:
    write(tmp_path / "one")
    write(tmp_path / "two", body(6), uid="1.2.3.9")[-1].write_bytes(b"")
    (tmp_path / "one" / "notes.txt").write_text("hello")
    volume = read_scan(tmp_path / "one")
    assert volume.corrections == ()
    both = {entry.path.name: entry.said for entry in find_scans(tmp_path)}
    assert both["one"] == ()
    assert "IM0006.dcm" in both["two"][0]
