from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from napari_uld.errors import CaseListError
from napari_uld.lesions.storage import damaged_path
from napari_uld.viewer.state.case_store import CaseStore, Known

ROOT = Path("/data/study")


@pytest.fixture
def store(tmp_path: Path) -> CaseStore:
    return CaseStore(tmp_path / "kept" / "cases.json")


def test_a_folder_that_was_never_looked_through_is_empty(store: CaseStore) -> None:
    assert store.folder(ROOT).scans == {}
    assert not store.path.exists()


def test_what_is_known_is_there_after_a_restart(store: CaseStore) -> None:
    store.look_through(ROOT)
    opened = "2024-05-06T07:08:09+00:00"
    store.update(ROOT, "b#", is_last=True, annotated=3, found=20, decided=12, counted=5.0, opened=opened)
    store.update(ROOT, "a#", done=True)
    again = CaseStore(store.path).folder(ROOT)
    assert again.last == "b#"
    assert again.opened
    assert again.scans["a#"] == Known(done=True)
    counts = again.scans["b#"].counts
    assert counts is not None
    assert (counts.annotated, counts.found, counts.decided) == (3, 20, 12)
    assert again.scans["b#"].opened == opened


def write_many(path: Path, name: str) -> None:
    store = CaseStore(path)
    for i in range(8):
        store.update(ROOT, f"{name}{i}", done=True)


def test_windows_that_write_at_once_lose_nothing_of_each_other(store: CaseStore) -> None:
    with ThreadPoolExecutor(3) as pool:
        list(pool.map(partial(write_many, store.path), "abc"))
    assert set(store.folder(ROOT).scans) == {f"{name}{i}" for name in "abc" for i in range(8)}


def test_another_window_s_mark_on_the_same_scan_stays(store: CaseStore) -> None:
    CaseStore(store.path).update(ROOT, "a", done=True)
    store.update(ROOT, "a", annotated=2, counted=1.0)
    assert store.folder(ROOT).scans["a"] == Known(done=True, annotated=2, counted=1.0)


def test_a_damaged_file_is_kept_beside_and_its_backup_goes_on(store: CaseStore) -> None:
    store.update(ROOT, "a", done=True)
    store.update(ROOT, "b", done=True)
    store.path.write_text('{"format": "napari-uld cases", "vers')
    assert "damaged" in store.damage
    assert str(store.path) in store.damage
    assert set(store.folder(ROOT).scans) == {"a"}
    store.update(ROOT, "c", done=True)
    assert set(store.folder(ROOT).scans) == {"a", "c"}
    assert damaged_path(store.path).read_text().endswith('"vers')
    assert store.damage == ""


def test_a_newer_version_s_file_is_not_touched(store: CaseStore) -> None:
    store.path.parent.mkdir()
    newer = '{"format": "napari-uld cases", "version": 99, "folders": {}, "more": 1}'
    store.path.write_text(newer)
    with pytest.raises(CaseListError, match="version 99"):
        store.folders()
    with pytest.raises(CaseListError, match="version 99"):
        store.update(ROOT, "a", done=True)
    assert store.path.read_text() == newer


def test_where_nothing_can_be_written_the_folder_and_the_file_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CaseListError, match=r"/data/study cannot be written.*file"):
        CaseStore(tmp_path / "file" / "cases.json").update(ROOT, "a", done=True)
